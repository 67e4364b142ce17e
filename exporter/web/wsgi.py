"""Between the bytes of HTTP/1.1 and WSGI: the head of a request, and the parts of an answer."""

import io
import logging
import re
import sys
from collections.abc import Callable, Iterable
from email.utils import formatdate
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIApplication, WSGIEnvironment

log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 2**14

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(%s) (?! )(?:[A-Za-z][A-Za-z0-9+.-]*://[^/? ]*)?([!-~\x80-\xff]*) HTTP/(\d\.\d)" % _TOKEN)
_HEADER = re.compile(rb"(%s):[ \t]*([\t -~\x80-\xff]*)" % _TOKEN)

Headers = list[tuple[str, str]]


class BadRequestError(Exception):
    """A request that the application does not see; the text is the status of the answer."""


def environ(head: bytes) -> WSGIEnvironment:
    """What WSGI says of a request, from its head; `BadRequestError` if it is not one."""
    if len(head) > MAX_HEAD_BYTES:
        raise BadRequestError("431 Request Header Fields Too Large")
    first, *lines = re.split(rb"\r?\n", head)
    request = _REQUEST_LINE.fullmatch(first)
    if not request:
        raise BadRequestError("400 Bad Request")
    method, target, version = request[1].decode(), request[2], request[3].decode()
    if not version.startswith("1."):
        raise BadRequestError("505 HTTP Version Not Supported")
    path, _, query = target.partition(b"?")
    variables: WSGIEnvironment = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1") or "/",
        "QUERY_STRING": query.decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{version}",
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for line in lines:
        header = _HEADER.fullmatch(line)
        if not header:
            raise BadRequestError("400 Bad Request")
        name, value = header[1].decode(), header[2].decode("latin-1").rstrip(" \t")
        if "_" in name:  # in WSGI it would look like the name with a dash
            continue
        key = name.upper().replace("-", "_")
        key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
        variables[key] = f"{variables[key]},{value}" if key in variables else value
    if version != "1.0" and "," in variables.get("HTTP_HOST", ","):
        raise BadRequestError("400 Bad Request")
    return variables


def call(app: WSGIApplication, environ: WSGIEnvironment) -> tuple[str, Headers, list[bytes]]:
    """The answer of the application, or a 500 if it fails."""
    started: list[tuple[str, Headers]] = []
    body: list[bytes] = []

    def start_response(status: str, headers: Headers, _: object = None, /) -> Callable[[bytes], object]:
        started.append((status, headers))
        return body.append

    try:
        parts = app(environ, start_response)
        try:
            body.extend(parts)
        finally:
            getattr(parts, "close", lambda: None)()
        status, headers = started[-1]
    except Exception:
        log.exception("application failed", extra={"path": environ["PATH_INFO"]})
        return "500 Internal Server Error", [("Content-Length", "0")], []
    bare = environ["REQUEST_METHOD"] == "HEAD" or status.startswith(("204", "304"))
    return status, headers, [] if bare else body


def response(status: str, headers: Headers, body: Iterable[bytes], *, last: bool) -> list[bytes]:
    """The parts of an answer as they are sent; `last` if the connection is closed after it."""
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers), f"Date: {formatdate(usegmt=True)}"]
    if last:
        lines.append("Connection: close")
    return ["\r\n".join([*lines, "", ""]).encode("latin-1"), *body]


def has_body(environ: WSGIEnvironment) -> bool:
    """Whether the request has a body, which is not read: another request cannot be found behind it."""
    return environ.get("CONTENT_LENGTH", "0") != "0" or "HTTP_TRANSFER_ENCODING" in environ


def is_last(environ: WSGIEnvironment, headers: Headers) -> bool:
    """Whether the connection ends with the answer that has these headers."""
    options = {option.strip() for option in environ.get("HTTP_CONNECTION", "").lower().split(",")}
    has_length = any(name.lower() == "content-length" for name, _ in headers)
    return has_body(environ) or not has_length or "close" in options or environ["SERVER_PROTOCOL"] == "HTTP/1.0"
