"""The client of the API: what a call gives, whatever comes back, and how long it may take."""

import gzip
import io
import json
import logging
import os
import socket
import ssl
import subprocess
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPResponse

from exporter.api import ApiError, BadKeyError, Client, KeyFile, clean_key
from tests.conftest import need
from tests.support import KEY, NOW, Answer, Wire, hide_key, http

API = "http://api.example/v1"
MIB = 2**20


def client_of(url: str, **options: Any) -> Client:
    """A client with the key and the redaction of the tests, and a limit of 1 MiB."""
    defaults = {"user_agent": "test/1", "redact": hide_key, "max_bytes": MIB, "clock": lambda: NOW}
    return Client(url, lambda: KEY, **{**defaults, **options})


def error_of(url: str, **options: Any) -> ApiError:
    """The error of a call."""
    with closing(client_of(url, **options)) as client, pytest.raises(ApiError) as caught:
        client.jobs()
    assert caught.value.__cause__ is None
    return caught.value


def error_json(message: object) -> str:
    return json.dumps({"error": {"message": message, "type": "t", "param": None, "code": "c"}})


# ------------------------------------------------------------------------------------------------- what comes back

REDIRECTED = "HTTP 302: redirected to {}, which would receive the API key: set --together.base-url"
BOMB = gzip.compress(bytes(64 * MIB))
GZIP = {"Content-Encoding": "gzip"}

# status, headers, body; the code, the pause in seconds and the message of the error. NOW is 21 Sep 2026 14:13:20 GMT
TABLE: list[tuple[int, dict[str, str], str | bytes | Exception, str, float | None, str]] = [
    (401, {}, error_json("Invalid API key"), "401", None, "HTTP 401: Invalid API key"),
    (401, {}, "Unauthorized", "401", None, "HTTP 401: Unauthorized"),
    (401, {}, error_json(f"bad key {KEY}"), "401", None, "HTTP 401: bad key [API key]"),
    (401, {}, f"bad key {KEY}", "401", None, "HTTP 401: bad key [API key]"),
    (402, {}, error_json("Credit limit exceeded"), "402", None, "HTTP 402: Credit limit exceeded"),
    (403, {}, "", "403", None, "HTTP 403: Forbidden"),
    (408, {}, '{"error": "too slow"}', "408", None, "HTTP 408: too slow"),
    (409, {}, '{"error": {"code": 7}}', "409", None, 'HTTP 409: {"error": {"code": 7}}'),
    (429, {"Retry-After": "77"}, error_json("Slow down"), "429", 77, "HTTP 429: Slow down"),
    (500, {}, "oops\n\n  oops", "500", None, "HTTP 500: oops oops"),
    (500, {}, error_json("half \ud83d a pair"), "500", None, "HTTP 500: half ? a pair"),
    (500, {}, b"\xff\xfe", "500", None, "HTTP 500: \ufffd\ufffd"),
    (500, {}, "[" * 60_000, "500", None, "HTTP 500: " + "[" * 199 + "…"),
    (500, {}, "[" * 100_000, "500", None, "HTTP 500: Internal Server Error"),
    (500, {}, "x" * 190 + KEY, "500", None, "HTTP 500: " + "x" * 190 + "[API key]"),
    (500, {}, "x" * 195 + KEY, "500", None, "HTTP 500: " + "x" * 195 + "[API…"),
    (500, {}, "see http://me:secret@proxy/x", "500", None, "HTTP 500: see http://proxy/x"),
    (500, GZIP, BOMB, "500", None, "HTTP 500: Internal Server Error"),
    (500, GZIP, b"no gzip", "500", None, "HTTP 500: Internal Server Error"),
    (503, {"Retry-After": "1.5"}, "<html>busy</html>", "503", 1.5, "HTTP 503: <html>busy</html>"),
    (529, {}, "", "529", None, "HTTP 529: no reason given"),
    (204, {}, "", "204", None, "HTTP 204: No Content"),
    (304, {}, "", "304", None, "HTTP 304: Not Modified"),
    (302, {"Location": "http://other.example/x?token=y"}, "", "302", None, REDIRECTED.format("http://other.example/x")),
    (302, {"Location": "http://me:secret@other.example"}, "", "302", None, REDIRECTED.format("http://other.example")),
    (302, {"Location": f"/{KEY}"}, "", "302", None, REDIRECTED.format("/[API key]")),
    (302, {"Location": "http://[::1"}, "", "302", None, REDIRECTED.format("http://[::1")),
    (302, {"Location": "/\xff\xfe"}, "", "302", None, REDIRECTED.format("/\xff\xfe")),
    (302, {"Location": "/" + "x" * 999}, "", "302", None, REDIRECTED.format("/" + "x" * 198 + "…")),
    (302, {"Location": "/v2"} | GZIP, BOMB, "302", None, REDIRECTED.format("/v2")),
    (200, {}, " " * (MIB + 1), "body", None, "the response is larger than 1048576 bytes"),
    (200, GZIP, BOMB, "body", None, "the response is larger than 1048576 bytes"),
    (200, {}, requests.ConnectionError(f"no {KEY} {'x' * 300}"), "connection", None, "no [API key] " + "x" * 186 + "…"),
    (200, {}, requests.exceptions.SSLError("bad certificate"), "tls", None, "bad certificate"),
    (200, {}, requests.ReadTimeout("timed out"), "timeout", None, "timed out"),
    *[
        (429, headers, "", "429", pause, "HTTP 429: Too Many Requests")
        for headers, pause in [
            ({"Retry-After": "0"}, 0),
            ({"Retry-After": "-5"}, 0),
            ({"Retry-After": "3600"}, 300),
            ({"Retry-After": "1e400"}, None),
            ({"Retry-After": "nan"}, None),
            ({"Retry-After": "soon"}, None),
            ({"Retry-After": ""}, None),
            ({"retry-after-ms": "88000", "Retry-After": "1"}, 88),
            ({"retry-after-ms": "x", "Retry-After": "1"}, 1),
            ({"retry-after-ms": "1e300"}, 300),
            ({"Retry-After": "Mon, 21 Sep 2026 14:15:00 GMT"}, 100),
            ({"Retry-After": "Mon, 21 Sep 2026 14:15:00 GMT", "Date": "Mon, 21 Sep 2026 14:14:00 GMT"}, 60),
            ({"Retry-After": "Mon, 21 Sep 2020 14:15:00 GMT"}, 0),
            ({"Retry-After": "Mon, 21 Sep 9999 14:15:00 GMT"}, 300),
            ({"Retry-After": "Mon, 21 Sep 99999 14:15:00 GMT"}, None),
            ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 -2359"}, 300),
            ({"Retry-After": f"Mon, 21 Sep {'9' * 30} 14:15:00 GMT"}, None),
        ]
    ],
]


@pytest.mark.parametrize(
    ("status", "headers", "body", "code", "pause", "message"),
    TABLE,
    ids=[f"{number}-{code}" for number, (*_, code, _, _) in enumerate(TABLE)],
)
def test_a_call_that_fails_says_why(
    status: int, headers: dict[str, str], body: Any, code: str, pause: float | None, message: str
) -> None:
    with responses.RequestsMock() as mock:
        mock.get(f"{API}/fine-tunes", body, status=status, headers=headers)
        error = error_of(API)
    assert (error.code, error.retry_after, str(error)) == (code, pause, message)
    assert error.status == (None if body and code in {"body", "connection", "tls", "timeout"} else status)


class Fixed(BaseAdapter):
    """An adapter with one response, or one exception."""

    def __init__(self, status: int, headers: dict[str, str], body: Any) -> None:
        super().__init__()
        self._response = status, headers, body

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        """The response."""
        status, headers, body = self._response
        if isinstance(body, Exception):
            raise body
        stream = io.BytesIO(body) if isinstance(body, bytes) else body
        return HTTPAdapter().build_response(request, HTTPResponse(stream, headers, status, preload_content=False))

    def close(self) -> None:
        """Nothing is open."""


header_values = st.text(st.characters(max_codepoint=255)) | st.sampled_from([KEY, "gzip", "deflate", "gzip, gzip"])
header_names = st.sampled_from(
    ["Retry-After", "retry-after-ms", "Date", "Location", "Content-Encoding", "Content-Length", "x-ratelimit-remaining"]
)


@given(
    status=st.sampled_from([200, 301, 302, 401, 429, 500]),
    headers=st.dictionaries(header_names, header_values),
    body=st.binary() | st.text().map(lambda text: error_json(text + KEY).encode()),
)
def test_any_response_gives_bytes_or_an_error(status: int, headers: dict[str, str], body: bytes) -> None:
    client = client_of(API, adapter=Fixed(status, headers, body))
    try:
        assert KEY.encode() not in client.jobs().body
    except ApiError as caught:
        error = caught
    else:
        assert status == 200
        return
    assert error.code == ("body" if status == 200 else str(status))
    assert KEY not in str(error)
    assert len(str(error)) <= 300
    assert error.retry_after is None or 0 <= error.retry_after <= 300


class FailingBody:
    """A body with a bug in it."""

    closed = False

    def read(self, *_: object) -> bytes:
        """Fails."""
        raise ZeroDivisionError(f"oops {KEY}")

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (KeyError(f"oops {KEY}"), "connection", "'oops [API key]'"),
        (RecursionError(), "connection", "RecursionError"),
        (FailingBody(), "body", "the response cannot be read: oops [API key]"),
    ],
)
def test_an_unexpected_exception_is_an_error_and_one_traceback_at_debug(
    body: Any, code: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "exporter"):
        error = error_of(API, adapter=Fixed(200, {}, body))
    assert (error.code, str(error)) == (code, message)
    [record] = caplog.records
    assert record.levelno == logging.DEBUG
    assert record.exc_info


def test_a_body_is_redacted() -> None:
    reply = client_of(API, adapter=Fixed(200, {}, f"you sent {KEY}".encode())).jobs()
    assert reply.body == b"you sent [API key]"


@pytest.mark.parametrize(("value", "remaining"), [("59", 59), ("0", 0), ("many", None), ("inf", None), (None, None)])
def test_the_calls_that_remain_are_a_number_or_unknown(value: str | None, remaining: float | None) -> None:
    headers = {} if value is None else {"x-ratelimit-remaining": value}
    assert client_of(API, adapter=Fixed(200, headers, b"")).jobs().rate_limit_remaining == remaining


@pytest.mark.parametrize("status", [200, 302, 500])
def test_a_small_response_that_unpacks_to_a_large_one_does_not_fill_the_memory(status: int) -> None:
    adapter = Fixed(status, {"Location": "/x", **GZIP}, BOMB)
    tracemalloc.start()
    try:
        error_of(API, adapter=adapter)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * MIB


def test_a_response_about_a_single_job_may_be_a_quarter_of_a_list() -> None:
    with closing(client_of(API, adapter=Fixed(200, {}, bytes(20 * MIB)), max_bytes=64 * MIB)) as client:
        assert len(client.jobs().body) == 20 * MIB
    with closing(client_of(API, adapter=Fixed(200, {}, bytes(20 * MIB)), max_bytes=64 * MIB)) as client:
        for call in (client.job, client.events, lambda job_id: client.metrics(job_id, 1)):
            with pytest.raises(ApiError, match="larger than 16777216 bytes"):
                call("ft-1")


def test_an_error_does_not_keep_the_body() -> None:
    tracemalloc.start()
    try:
        error = error_of(API, adapter=Fixed(200, GZIP, BOMB), max_bytes=32 * MIB)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert error.code == "body"
    assert kept < 8 * MIB


# ------------------------------------------------------------------------------------------ what only sockets show


def flood(piece: bytes) -> Callable[[socket.socket], None]:
    """An answer that repeats a piece until the client has enough."""

    def answer(connection: socket.socket) -> None:
        while True:
            connection.sendall(piece)

    return answer


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

# what the API sends; the code and words of the error
SENT: list[tuple[str, bytes, str, str]] = [
    ("less than promised", http("{}", Content_Length="99"), "body", "cannot be read"),
    ("a chunk cut off", CHUNKED + b"400\r\nabc", "body", "cannot be read"),
    ("a chunk of negative size", CHUNKED + b"-5\r\nabc\r\n0\r\n\r\n", "body", "cannot be read"),
    ("a chunk of no size", CHUNKED + b"x\r\nabc\r\n0\r\n\r\n", "body", "cannot be read"),
    ("a chunk size without end", CHUNKED + b"1" * 200_000, "body", "cannot be read"),
    ("gzip that is none", http(b"abc", Content_Encoding="gzip"), "body", "cannot be read"),
    ("something other than HTTP", b"SSH-2.0-OpenSSH\r\n", "body", "cannot be read"),
    ("a header without end", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "body", "cannot be read"),
    ("closed without a word", b"", "connection", "closed connection without response"),
]


@pytest.mark.parametrize(("answer", "code", "words"), [pytest.param(*case, id=name) for name, *case in SENT])
def test_odd_bytes_are_one_error(wire: Wire, answer: bytes, code: str, words: str) -> None:
    wire.answer = answer
    error = error_of(wire.url, timeout=60)
    assert error.code == code
    assert words in str(error)


# what the API does for a minute; without a limit on the whole call, the error would come after that and be another one
ENDLESS: dict[str, Callable[[Wire], Answer]] = {
    "silence": lambda wire: wire.hold,
    "a head that drips": lambda wire: wire.drip(b"HTTP/1.1 200 OK\r\nX: "),
    "a body that drips": lambda wire: wire.drip(b"HTTP/1.1 200 OK\r\n\r\n"),
    "chunks that drip": lambda wire: wire.drip(CHUNKED + b"ffff\r\n"),
    "100 Continue without end": lambda _: flood(b"HTTP/1.1 100 Continue\r\n\r\n"),
}


@pytest.mark.parametrize("answer", ENDLESS.values(), ids=ENDLESS)
def test_a_response_that_does_not_end_is_a_timeout(wire: Wire, answer: Callable[[Wire], Answer]) -> None:
    wire.answer = answer(wire)
    assert error_of(wire.url, timeout=0.1).code == "timeout"


@pytest.mark.parametrize(
    ("head", "code", "words"),
    [
        (b"HTTP/1.1 500 No\r\n\r\n", "500", "HTTP 500: No"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://\xff\r\n\r\n", "302", "redirected to http://\xff, which"),
    ],
    ids=["an error", "a redirect"],
)
def test_a_refusal_whose_body_does_not_end_is_still_a_refusal(wire: Wire, head: bytes, code: str, words: str) -> None:
    wire.answer = wire.drip(head)
    error = error_of(wire.url, timeout=1)
    assert error.code == code
    assert words in str(error)


def test_a_call_that_took_all_of_its_time_says_how_long_that_is() -> None:
    error = error_of(API, adapter=Fixed(200, {}, requests.ReadTimeout("timed out")), timeout=0)
    assert (error.code, str(error)) == ("timeout", "no complete response within 0s")


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("http://127.0.0.1:1/v1", "connection", "Connection refused"),
        (f"http://{'x' * 300}/v1", "connection", ""),
        ("http://[::1", "connection", ""),
        ("ftp://api.example/v1", "connection", ""),
        ("nonsense", "connection", ""),
    ],
)
def test_an_api_that_cannot_be_reached_is_a_connection_error(url: str, code: str, words: str) -> None:
    error = error_of(url)
    assert error.code == code
    assert words in str(error)


def test_a_host_that_is_unknown_is_a_connection_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert error_of(API).code == "connection"


def test_an_api_that_does_not_speak_tls_is_a_tls_error(wire: Wire) -> None:
    wire.answer = http("no TLS here", "400 Bad Request")
    assert error_of(wire.url.replace("http:", "https:")).code == "tls"


def test_a_handshake_that_drips_ends_with_the_call(wire: Wire) -> None:
    wire.answer = wire.drip(b"\x16\x03\x03\x40\x00")  # the head of a record of 16 KiB
    assert error_of(wire.url.replace("http:", "https:"), timeout=0.1).code == "timeout"


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A key and a certificate for 127.0.0.1, which the client trusts."""
    file = tmp_path / "tls.pem"
    options = ["-nodes", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    command = [need("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", *options]
    subprocess.run([*command, "-keyout", file, "-out", tmp_path / "cert"], check=True, capture_output=True)
    file.write_bytes(file.read_bytes() + (tmp_path / "cert").read_bytes())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    return file


def over_tls(certificate: Path, answer: Callable[[socket.socket], object]) -> Callable[[socket.socket], None]:
    """The answer, after a handshake and a request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def serve(connection: socket.socket) -> None:
        connection.setblocking(True)
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(65536)
            answer(secure)

    return serve


def test_a_body_over_tls_that_drips_ends_with_the_call(wire: Wire, certificate: Path) -> None:
    wire.read_first = False
    wire.answer = over_tls(certificate, wire.drip(b"HTTP/1.1 200 OK\r\n\r\n"))
    assert error_of(wire.url.replace("http:", "https:"), timeout=0.3).code == "timeout"


def test_a_body_over_tls_is_read(wire: Wire, certificate: Path) -> None:
    wire.read_first = False
    wire.answer = over_tls(certificate, lambda connection: connection.sendall(http("good")))
    with closing(client_of(wire.url.replace("http:", "https:"))) as client:
        assert client.jobs().body == b"good"


def test_a_proxy_that_drips_its_answer_to_connect_ends_with_the_call(
    wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", wire.url)
    wire.answer = wire.drip(b"HTTP/1.1 200 OK\r\nX: ")
    assert error_of("https://api.example/v1", timeout=1).code == "timeout"
    assert wire.requests[0].startswith("CONNECT api.example:443 ")


def test_a_proxy_over_tls_that_drips_ends_with_the_call(
    wire: Wire, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", wire.url.replace("http:", "https:"))
    wire.read_first = False

    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        connection.recv(65536)
        wire.drip(b"\x16\x03\x03\x40\x00")(connection)  # the head of a record of 16 KiB

    wire.answer = over_tls(certificate, answer)
    assert error_of("https://api.example/v1", timeout=0.3).code == "timeout"


def test_a_proxy_over_tls_that_cannot_be_trusted_is_a_tls_error(
    wire: Wire, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    monkeypatch.setenv("https_proxy", wire.url.replace("http:", "https:"))
    wire.read_first = False
    wire.answer = over_tls(certificate, wire.hold)
    assert error_of("https://api.example/v1").code == "tls"


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port on loopback that neither accepts nor refuses a connection: its queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server, ExitStack() as stack:
        port: int = server.getsockname()[1]
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        yield port


def resolve_to(monkeypatch: pytest.MonkeyPatch, *ports: int) -> None:
    """Every host has these ports of loopback as its addresses."""
    kind = (socket.AF_INET, socket.SOCK_STREAM, 0, "")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(*kind, ("127.0.0.1", port)) for port in ports])


def test_a_silent_address_is_a_timeout(monkeypatch: pytest.MonkeyPatch, silent_port: int) -> None:
    resolve_to(monkeypatch, silent_port)
    assert error_of(API, timeout=0.1).code == "timeout"


def test_seven_silent_addresses_leave_time_for_the_eighth(
    monkeypatch: pytest.MonkeyPatch, silent_port: int, wire: Wire
) -> None:
    wire.answer = http("good")
    resolve_to(monkeypatch, *[silent_port] * 7, int(wire.url.split(":")[2].split("/")[0]))
    with closing(client_of(API, timeout=2)) as client:
        assert client.jobs().body == b"good"


def test_a_host_with_many_addresses_is_tried_a_few_times(monkeypatch: pytest.MonkeyPatch, wire: Wire) -> None:
    wire.answer = http("good")
    resolve_to(monkeypatch, *[1] * 8, int(wire.url.split(":")[2].split("/")[0]))
    assert error_of(API).code == "connection"


def test_a_resolver_that_does_not_answer_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [over.wait()])
    error = error_of(API, timeout=0.1)
    over.set()
    assert error.code == "timeout"


def test_a_thread_that_cannot_be_started_is_a_connection_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    error = error_of(API)
    assert (error.code, str(error)) == ("connection", "can't start new thread")


# ----------------------------------------------------------------------------------------------------- what is sent


def requests_of(client: Client, wire: Wire, calls: int = 1) -> list[str]:
    """The requests of some calls for the list."""
    with closing(client):
        for _ in range(calls):
            client.jobs()
    return wire.requests


def test_a_request_carries_the_key_and_the_user_agent(wire: Wire) -> None:
    wire.answer = http("")
    [request] = requests_of(client_of(wire.url), wire)
    lines = request.split("\r\n")
    assert lines[0] == "GET /v1/fine-tunes HTTP/1.1"
    assert f"Authorization: Bearer {KEY}" in lines
    assert "User-Agent: test/1" in lines


@pytest.mark.parametrize(
    ("call", "target"),
    [
        (lambda client: client.job("a/b?c"), "/v1/fine-tunes/a%2Fb%3Fc"),
        (lambda client: client.events("ft-1"), "/v1/fine-tunes/ft-1/events"),
        (lambda client: client.metrics("ft-1", 0), "/v1/fine-tunes/ft-1/metrics"),
        (lambda client: client.metrics("ft-1", 7), "/v1/fine-tunes/ft-1/metrics?global_step_from=7"),
    ],
)
def test_each_call_has_its_path(call: Callable[[Client], object], target: str) -> None:
    with responses.RequestsMock() as mock:
        mock.get(f"http://api.example{target}", "")
        call(client_of(API))
        assert mock.calls[0].request.path_url == target


def test_the_key_is_asked_for_at_each_call(wire: Wire) -> None:
    wire.answer = http("")
    keys = iter(["first", "second"])
    client = Client(wire.url, lambda: next(keys), user_agent="test/1")
    first, second = requests_of(client, wire, calls=2)
    assert "Bearer first\r\n" in first
    assert "Bearer second\r\n" in second


def test_a_netrc_does_not_replace_the_key(wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    wire.answer = http("")
    [request] = requests_of(client_of(wire.url), wire)
    assert f"Authorization: Bearer {KEY}\r\n" in request


def test_cookies_are_not_sent_back(wire: Wire) -> None:
    wire.answer = http("", Set_Cookie="session=1")
    _, second = requests_of(client_of(wire.url), wire, calls=2)
    assert "cookie" not in second.lower()


def test_a_redirect_is_not_followed(wire: Wire) -> None:
    with Wire(http("")) as other:
        wire.answer = http("", "307 Temporary Redirect", Location=f"{other.url}/fine-tunes")
        assert error_of(wire.url).code == "307"
        assert len(wire.requests) == 1
        assert other.requests == []


def test_calls_share_a_connection() -> None:
    connections = set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            connections.add(self.client_address)
            self.send_response(200 if len(connections) % 2 else 500)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"good")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        with closing(client_of(f"http://127.0.0.1:{server.server_port}/v1")) as client:
            for _ in range(3):
                client.jobs()
        server.shutdown()
    assert len(connections) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost"])
def test_loopback_is_called_directly_whatever_the_proxy(wire: Wire, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    resolve_to(monkeypatch, int(wire.url.split(":")[2].split("/")[0]))
    wire.answer = http("")
    [request] = requests_of(client_of(wire.url.replace("127.0.0.1", host)), wire)
    assert request.startswith("GET /v1/fine-tunes ")


def test_a_proxy_from_the_environment_serves_other_hosts(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", wire.url)
    wire.answer = http("")
    [request] = requests_of(client_of(API), wire)
    assert request.startswith("GET http://api.example/v1/fine-tunes ")


@pytest.mark.parametrize("proxy", ["http://me:secret@127.0.0.1:1", "http://me:secret@:x", "socks5://me:secret@x"])
def test_the_password_of_a_proxy_is_in_no_error(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("http_proxy", proxy)
    error = error_of(API)
    assert error.code == "connection"
    assert "secret" not in str(error)


# --------------------------------------------------------------------------------------------------------- key files


def key_file(folder: Path, content: str, mode: int = 0o600) -> Path:
    """A file with this content."""
    file = folder / "key"
    file.write_text(content)
    file.chmod(mode)
    return file


def fifo(folder: Path) -> Path:
    """A FIFO that nobody writes to."""
    os.mkfifo(folder / "fifo")
    return folder / "fifo"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(fifo, "the key file: not a regular file", id="a FIFO"),
        pytest.param(lambda _: Path("/dev/zero"), "the key file: not a regular file", id="/dev/zero"),
        pytest.param(lambda folder: folder, "the key file: Is a directory", id="a directory"),
        pytest.param(lambda folder: folder / "none", "the key file: No such file or directory", id="no file"),
        pytest.param(lambda _: Path("/x\0y"), "the key file: embedded null byte", id="a NUL in the path"),
        pytest.param(
            lambda folder: key_file(folder, "x" * 4097), "the key file: larger than 4096 bytes", id="a large file"
        ),
        pytest.param(lambda folder: key_file(folder, " \n"), "the key file is empty", id="an empty file"),
        pytest.param(
            lambda folder: key_file(folder, "two words"), "the key file holds something other than one word", id="words"
        ),
        pytest.param(
            lambda folder: key_file(folder, "ключ"), "the key file holds something other than one word", id="unicode"
        ),
    ],
)
def test_a_file_without_a_key_is_one_clear_error(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    path = make(tmp_path)
    with pytest.raises(BadKeyError) as caught:
        KeyFile(path, "the key file")
    assert str(caught.value).startswith(message)
    assert not any(text in str(caught.value) for text in (str(path), "two words"))


def test_a_key_is_stripped_of_white_space() -> None:
    assert clean_key(" abc\n", "the variable") == "abc"


def test_a_key_file_is_read_at_every_call_and_its_last_usable_key_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = key_file(tmp_path, "first")
    key = KeyFile(file, "the key file")
    file.write_text("second\n")
    assert key() == "second"
    file.unlink()
    assert [key(), key()] == ["second", "second"]
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert vars(record)["error"] == "the key file: No such file or directory"
    key_file(tmp_path, "third")
    assert key() == "third"


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 0), (0o644, 1)])
def test_a_key_file_that_every_user_can_read_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warnings: int
) -> None:
    key = KeyFile(key_file(tmp_path, "abc", mode), "the key file")
    key()
    assert len(caplog.records) == warnings
