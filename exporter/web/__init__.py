"""HTTP: `/metrics`, service discovery, a landing page, health and readiness, served from the board alone.

The server is prometheus-client's. What is changed: whatever a client can draw out (sending a request, taking an answer)
happens in that connection's own thread, with a deadline, so that no silent client holds up a scrape.
"""

import io
import json
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler

from prometheus_client.exposition import ThreadingWSGIServer, gzip_accepted
from typing_extensions import override

from exporter.exposition import Exposition
from exporter.snapshot import Board
from exporter.web import page

log = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0
"""How long a client may take to send its request."""

ANSWER_SECONDS = 60.0
"""How long it may take to accept the answer."""

_MAX_REQUEST_BYTES = 2**16
_BACKLOG = 128
_TEXT = "text/plain; charset=utf-8"
_NOT_MODIFIED = "304 Not Modified"

Environ = dict[str, Any]
Answer = tuple[str, list[tuple[str, str]], bytes]
Application = Callable[[Environ, Callable[[str, list[tuple[str, str]]], object]], Iterable[bytes]]


def application(board: Board, exposition: Exposition, telemetry_path: str) -> Application:
    """The WSGI application: `exposition` at `telemetry_path`, and the pages beside it."""

    def metrics(environ: Environ) -> Answer:
        gzip = gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING", ""))
        account = next(iter(parse_qs(environ["QUERY_STRING"]).get("account", ())), None)
        try:
            scrape = exposition.page(environ.get("HTTP_ACCEPT", ""), gzip=gzip, account=account)
        except KeyError:
            return _plain("404 Not Found", f"there is no account {account!r}; /sd lists all")
        headers = [("Content-Type", scrape.content_type), ("Vary", "Accept, Accept-Encoding")]
        if scrape.content_encoding:
            headers.append(("Content-Encoding", scrape.content_encoding))
        return "200 OK", headers, scrape.body

    def discovery(environ: Environ) -> Answer:
        here = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
        targets = [
            {
                "targets": [here],
                "labels": {"__metrics_path__": telemetry_path, "__param_account": name, "account": name},
            }
            for name in board.read().accounts
        ]
        return "200 OK", [("Content-Type", "application/json")], json.dumps(targets).encode()

    def healthy(_: Environ) -> Answer:
        return _plain("200 OK", "healthy")

    def ready(_: Environ) -> Answer:
        waiting = [name for name, account in board.read().accounts.items() if account.polls.last is None]
        if waiting:
            return _plain("503 Service Unavailable", f"not polled yet: {', '.join(waiting)}")
        return _plain("200 OK", "ready")

    script, style = page.script(), page.style()
    routes = {
        "/": _showing(page.Landing(board, telemetry_path).document),
        "/jobs.json": _showing(page.Jobs(board).document),
        "/page.js": _showing(lambda: script),
        "/page.css": _showing(lambda: style),
        "/-/healthy": healthy,
        "/-/ready": ready,
        "/sd": discovery,
        telemetry_path: metrics,
    }

    def answer(environ: Environ) -> Answer:
        path = environ["PATH_INFO"]
        if path not in routes:
            return _plain("404 Not Found", "there is nothing here, see /")
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _plain("405 Method Not Allowed", "only GET and HEAD", ("Allow", "GET, HEAD"))
        try:
            return routes[path](environ)
        except Exception:
            log.exception("page failed", extra={"path": path})
            return _plain("500 Internal Server Error", "the exporter failed to make this page, see its log")

    def app(environ: Environ, start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
        status, headers, body = answer(environ)
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        bare = environ["REQUEST_METHOD"] == "HEAD" or status == _NOT_MODIFIED
        return [] if bare else [body]

    return app


class Server:
    """Serves `app` on an address like `:10124`, `127.0.0.1:0` or `[::1]:10124`, in a thread of its own; `OSError`
    where that address is not to be had."""

    def __init__(self, address: str, app: Application) -> None:
        self._server = _Server(_listen(address), app)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name=f"web {address}")
        self._thread.start()

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.server_port

    def stop(self) -> None:
        """Stops listening; what is being answered is not waited for."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not host and socket.has_dualstack_ipv6():
        return socket.create_server(("", int(port)), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG)
    found = socket.getaddrinfo(host or None, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, _, _, _, name = found[0]
    return socket.create_server(name[:2], family=family, backlog=_BACKLOG)


class _Server(ThreadingWSGIServer):
    def __init__(self, listening: socket.socket, app: Application) -> None:
        super().__init__(("", 0), _Handler, bind_and_activate=False)
        self.socket.close()  # the one it made for itself knows only one family of addresses
        self.socket = listening
        self.server_name, self.server_port = listening.getsockname()[:2]
        self.setup_environ()
        self.set_app(app)

    @override
    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        # A client that went away or stayed silent is no trouble of ours.
        level = logging.DEBUG if isinstance(error, OSError) else logging.ERROR
        log.log(level, "request failed", extra={"client": client_address[0], "error": repr(error)})


class _Handler(WSGIRequestHandler):
    disable_nagle_algorithm = True  # head and body go out in two writes

    @override
    def setup(self) -> None:
        # This runs in the connection's own thread: the place for whatever a client can draw out.
        request = _read_request(self.request, time.monotonic() + REQUEST_SECONDS)
        self.request.settimeout(ANSWER_SECONDS)
        super().setup()
        self.rfile = io.BufferedReader(io.BytesIO(request))

    @override
    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


def _read_request(connection: socket.socket, deadline: float) -> bytes:
    """The head of a request. A timeout on the socket alone would bound each read, and a byte now and then hold on."""
    head = b""
    while b"\r\n\r\n" not in head and b"\n\n" not in head and len(head) < _MAX_REQUEST_BYTES:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        chunk = connection.recv(_MAX_REQUEST_BYTES)
        if not chunk:
            break
        head += chunk
    return head


def _showing(document: Callable[[], page.Document]) -> Callable[[Environ], Answer]:
    """The route of what `document` gives: compressed where that is accepted, and a 304 where the client has it."""

    def show(environ: Environ) -> Answer:
        shown = document()
        headers = [("Content-Type", shown.content_type), ("ETag", shown.etag), *page.HEADERS]
        body = shown.body
        if gzip_accepted(environ.get("HTTP_ACCEPT_ENCODING", "")):
            headers.append(("Content-Encoding", "gzip"))
            body = shown.compressed
        known = shown.etag in environ.get("HTTP_IF_NONE_MATCH", "")
        return _NOT_MODIFIED if known else "200 OK", headers, body

    return show


def _plain(status: str, text: str, *headers: tuple[str, str]) -> Answer:
    return status, [("Content-Type", _TEXT), *headers], f"{text}\n".encode()
