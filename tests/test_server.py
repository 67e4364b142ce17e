"""HTTP as the server speaks it, and that no client can hold up the others."""

import http.client
import logging
import re
import resource
import select
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from itertools import count
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest

from exporter.web import server as module
from exporter.web.server import Server
from tests.programs import wait_for

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
BIG = [b"x" * 2**20] * 9

Serve = Callable[..., Server]


def echo(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Answers with the path and query of the request."""
    body = f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}".encode("latin-1")
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


def big(_: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """Answers with more than the buffers of a connection take."""
    start_response("200 OK", [("Content-Length", str(sum(map(len, BIG))))])
    return BIG


class Noting:
    """An application that notes the paths that it is asked for."""

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app
        self.paths: list[str] = []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        self.paths.append(environ["PATH_INFO"])
        return list(self.app(environ, start_response))

    def has_answered(self, more_than: int) -> bool:
        """Whether there were more requests than that."""
        return len(self.paths) > more_than


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = []

    def start(app: WSGIApplication = echo, address: str = "127.0.0.1:0") -> Server:
        servers.append(Server(address, app))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def connect(server: Server, sends: bytes = b"") -> socket.socket:
    """A connection that has sent this."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=60)
    connection.sendall(sends)
    return connection


def read(connection: socket.socket) -> bytes:
    """What arrives until the server closes the connection, in whatever way."""
    received = b""
    with suppress(ConnectionError):
        while chunk := connection.recv(2**16):
            received += chunk
    return received


def exchange(server: Server, sends: bytes) -> bytes:
    """What the server answers before it closes the connection, once the client has ended its side."""
    with connect(server, sends) as connection:
        connection.shutdown(socket.SHUT_WR)
        return read(connection)


def has_read(server: Server, sent: bytes, times: int) -> bool:
    """Whether the server has read this from so many connections, and waits for more."""
    connections = list(server._connections)
    return sum(connection.received == sent and not connection.our_turn for connection in connections) == times


def was_cut(connection: socket.socket) -> bool:
    """Whether the server resets the connection soon, although nobody reads from it."""
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(60_000))


def ask(server: Server, path: str = "/", host: str = "127.0.0.1") -> bytes:
    with closing(http.client.HTTPConnection(host, server.port, timeout=60)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read()


@pytest.mark.parametrize("address", [":0", "localhost:0", "127.0.0.1:0"])
def test_it_listens_on_the_address(serve: Serve, address: str) -> None:
    server = serve(address=address)
    assert ask(server, host="localhost") == b"/?"


def test_an_address_without_host_is_both_ipv4_and_ipv6(serve: Serve) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6: enable it on its loopback interface")
    server = serve(address=":0")
    assert ask(server, host="::1") == ask(server, host="127.0.0.1") == b"/?"


@pytest.mark.parametrize(
    "address", ["a..b:80", f"{'a' * 64}.b:80", "127.0.0.1:99999", "127.0.0.1:x", "127.0.0.1:-1", "\0:80", "192.0.2.1:0"]
)
def test_an_address_that_cannot_be_used_is_an_os_error(address: str) -> None:
    with pytest.raises(OSError, match=r".") as raised:
        Server(address, echo)
    assert raised.value.strerror


def test_an_address_in_use_is_an_os_error(serve: Serve) -> None:
    with pytest.raises(OSError, match="in use"):
        Server(f"127.0.0.1:{serve().port}", echo)


def test_a_connection_serves_several_requests(serve: Serve) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", serve().port, timeout=60)) as connection:
        connection.connect()
        connection.auto_open = False  # a second connection would be an error
        for path in ("/a", "/b?c"):
            connection.request("GET", path)
            assert connection.getresponse().read().decode() == path + ("" if "?" in path else "?")


def test_pipelined_requests_are_answered_in_order(serve: Serve) -> None:
    requests = [b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % i for i in range(100)]
    with connect(serve(), b"".join(requests) + b"GET /last HTTP/1.0\r\n\r\n") as connection:
        answers = read(connection)
    assert re.findall(rb"\r\n\r\n/(\w+)\?", answers) == [*(b"%d" % i for i in range(100)), b"last"]


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: TE, close\r\n\r\n",
    ],
    ids=["1.0", "close", "close among others"],
)
def test_the_connection_is_closed_for_clients_that_want_it(serve: Serve, request_: bytes) -> None:
    with connect(serve(), request_) as connection:
        answer = read(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in answer


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        ("/metrics?account=a&b", "/metrics?account=a&b"),
        ("http://elsewhere:1/metrics?a", "/metrics?a"),
        ("https://user@elsewhere", "/?"),
        ("//m", "//m?"),
        ("/a%20b%2Fc%", "/a b/c%?"),
        ("/%C3%A9", "/é?"),
        ("/é", "/é?"),
        ("*", "*?"),
        ("/../etc;x?y?z", "/../etc;x?y?z"),
    ],
)
def test_the_target_of_a_request_in_each_of_its_forms(serve: Serve, target: str, seen: str) -> None:
    answer = exchange(serve(), f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.partition(b"\r\n\r\n")[2].decode() == seen


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"\x16\x03\x01\x00\r\n\r\n", 400),
        (b"GET / / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET  HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"G\xc3\xa9T / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA : b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\0\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 2**15, 431),
    ],
)
def test_what_is_not_a_request_is_refused_and_the_connection_closed(serve: Serve, request_: bytes, status: int) -> None:
    app = Noting(echo)
    server = serve(app)
    with connect(server, request_) as connection:
        assert read(connection).startswith(b"HTTP/1.1 %d " % status)
    assert app.paths == []


def test_empty_lines_before_a_request_and_bare_line_feeds_are_accepted(serve: Serve) -> None:
    assert exchange(serve(), b"\r\n\nGET /a HTTP/1.1\nHost: x\n\n").endswith(b"/a?")


def test_a_header_with_an_underscore_does_not_replace_one_with_a_dash(serve: Serve) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response("200 OK", [])
        return [environ["HTTP_X_Y"].encode()]

    answer = exchange(serve(app), b"GET / HTTP/1.1\r\nHost: x\r\nX-Y: a\r\nX_Y: b\r\nx-y: c\r\n\r\n")
    assert answer.endswith(b"\r\n\r\na,c")


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 27\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n1b\r\nGET /smuggled HTTP/1.1\r\n\r\n\r\n0\r\n\r\n",
    ],
    ids=["length", "chunked"],
)
def test_the_body_of_a_request_is_not_taken_for_another_request(serve: Serve, body: bytes) -> None:
    app = Noting(echo)
    answer = exchange(serve(app), b"POST /a HTTP/1.1\r\nHost: x\r\n" + body)
    assert answer.endswith(b"/a?")
    assert app.paths == ["/a"]


def test_the_end_of_the_stream_inside_a_head_is_not_a_request(serve: Serve) -> None:
    app = Noting(echo)
    assert exchange(serve(app), b"GET / HTTP/1.0\r\nHost: x\r\n") == b""
    assert app.paths == []


def test_a_body_in_thousands_of_parts_arrives_whole(serve: Serve) -> None:
    parts = [b"%d," % i for i in range(5000)] + [b""]

    def app(_: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
        start_response("200 OK", [])
        yield from parts

    assert ask(serve(app)) == b"".join(parts)


def test_an_application_that_fails_is_a_500_and_a_line_in_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    def app(_: WSGIEnvironment, __: StartResponse) -> list[bytes]:
        raise KeyError

    server = serve(app)
    for _ in range(2):
        assert exchange(server, GET).startswith(b"HTTP/1.1 500 ")
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "application failed"
    ] * 2


@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("HEAD", "401 Unauthorized"), ("GET", "304 Not Modified")]
)
def test_an_answer_that_has_no_body_is_sent_without_it(serve: Serve, method: str, status: str) -> None:
    def app(_: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        start_response(status, [("Content-Length", "4")])
        return [b"body"]

    answer = exchange(serve(app), f"{method} / HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("sends", [b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half a request"])
def test_a_client_that_does_not_finish_its_request_is_cut(
    serve: Serve, sends: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.1)
    with connect(serve(), sends) as connection:
        assert read(connection) == b""


def test_a_byte_now_and_then_does_not_keep_a_connection(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.2)

    def drip(connection: socket.socket) -> None:
        for _ in count():
            connection.sendall(b"x")
            time.sleep(0.02)  # the pace of the slow client

    with connect(serve()) as connection, pytest.raises(OSError, match=r"reset|pipe"):
        drip(connection)


def test_a_request_that_has_only_begun_needs_no_thread(serve: Serve) -> None:
    server = serve()
    clients = [connect(server, b"\r\nGET / HTTP/1.1\r\nHost") for _ in range(100)]
    ask(server)
    assert sum(thread.name == f"web {server.port} worker" for thread in threading.enumerate()) < len(clients) / 2
    for client in clients:
        with client:
            client.sendall(b": x\r\n\r\n")
            assert client.recv(2**16).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_connection_without_another_request_is_closed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.1)
    with connect(serve(), GET) as connection:
        assert read(connection).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_client_that_does_not_read_its_answer_is_cut(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.1)
    with connect(serve(big), GET) as connection:
        assert was_cut(connection)


def test_a_slow_reader_needs_no_copy_of_the_body(serve: Serve) -> None:
    app = Noting(big)
    server = serve(app)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        readers = [connect(server, GET) for _ in range(20)]
        wait_for(lambda: len(app.paths) == 20)
        after, _ = tracemalloc.get_traced_memory()
        for reader in readers:
            reader.close()
    finally:
        tracemalloc.stop()
    assert after - before < len(BIG[0])


def test_silent_clients_and_slow_readers_hold_up_no_scrape(serve: Serve) -> None:
    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        return (big if environ["PATH_INFO"] == "/big" else echo)(environ, start_response)

    server = serve(app)
    sends = (b"", b"G", b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    clients = [connect(server, sends[i % 3]) for i in range(150)]
    assert ask(server, "/a") == b"/a?"
    for client in clients:
        client.close()


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """At most four connections, and no deadline that a test could meet."""
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 4)
    monkeypatch.setattr(module, "ROOM", 1)
    monkeypatch.setattr(module, "REQUEST_SECONDS", 600.0)


@pytest.mark.usefixtures("limited")
def test_at_the_limit_the_connection_that_was_silent_longest_is_closed(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ANSWER_LEAD_SECONDS", 600.0)  # the time it takes does not matter
    app = Noting(big)
    server = serve(app)
    answered = connect(server, GET)
    wait_for(lambda: app.paths)
    silent = []
    for number in range(4):
        silent.append(connect(server, b"G"))
        if number < 3:
            wait_for(partial(has_read, server, b"G", number + 1))
    assert read(silent[0]) == b""
    silent[-1].sendall(GET[1:])
    assert silent[-1].recv(8) == b"HTTP/1.1"
    assert answered.recv(8) == b"HTTP/1.1"
    for connection in (answered, *silent):
        connection.close()


@pytest.mark.usefixtures("limited")
def test_at_the_limit_slow_readers_do_not_keep_out_others(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SILENT_SECONDS", 600.0)  # the time it takes does not matter
    monkeypatch.setattr(module, "_ANSWER_LEAD_SECONDS", 0.0)
    app = Noting(big)
    server = serve(app)
    readers = []
    for number in range(4):
        readers.append(connect(server, GET))
        wait_for(partial(app.has_answered, number))
    with connect(server, b"G") as other:
        for number in range(4, 6):
            readers.append(connect(server, GET))
            wait_for(partial(app.has_answered, number))
        other.sendall(GET[1:])
        assert other.recv(8) == b"HTTP/1.1"
    for reader in readers:
        reader.close()


def test_what_clients_do_is_no_line_in_the_log(
    serve: Serve, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.1)
    caplog.set_level(logging.INFO)
    server = serve(big)
    for sends in (b"", b"G", b"\0\r\n\r\n", GET, GET * 3, b"a" * 2**16):
        with suppress(ConnectionError), connect(server, sends) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with connect(server, GET) as connection:
        assert was_cut(connection)
    assert caplog.records == []
    assert capfd.readouterr().err == ""


def test_a_thread_that_does_not_start_costs_the_longest_silent_client_its_connection(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve()
    wait_for(lambda: ask(server) == b"/?")

    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    clients = [connect(server, b"G") for _ in range(20)]
    assert ask(server, "/a") == b"/a?"
    for client in clients:
        client.close()


def test_without_descriptors_clients_wait_until_there_are_some(serve: Serve) -> None:
    server = serve()
    with socket.socket() as client:
        client.settimeout(60)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            client.connect(("127.0.0.1", server.port))
            client.sendall(GET)
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(1)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        client.settimeout(60)
        assert client.recv(8) == b"HTTP/1.1"


def test_it_stops_whatever_its_clients_do() -> None:
    server = Server("127.0.0.1:0", big)
    clients = [connect(server, sends) for sends in (b"G", GET, GET[:-2])]
    clients[1].recv(1)
    server.stop()
    for client in clients:
        read(client)
        client.close()
    with pytest.raises(ConnectionRefusedError):
        connect(server)
    wait_for(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith(f"web {server.port}")])
