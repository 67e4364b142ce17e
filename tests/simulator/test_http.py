import socket
import struct
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from exporter.simulator import Script, Simulator
from tests.simulator.support import KEY, PLAN, START, call, get, simulator


@pytest.fixture
def connection() -> Iterator[HTTPConnection]:
    with simulator(PLAN, at=700) as running:
        http = HTTPConnection(urlsplit(running.url).netloc, timeout=60)
        yield http
        http.close()


@pytest.mark.parametrize("path", ["", f"/{PLAN.id}", f"/{PLAN.id}/events", f"/{PLAN.id}/metrics"])
def test_every_endpoint_works_over_http(connection: HTTPConnection, path: str) -> None:
    status, body = call(connection, f"/v1/fine-tunes{path}")
    assert status == 200
    assert body == get(simulator(PLAN, at=700), f"/fine-tunes{path}")


@pytest.mark.parametrize("key", [None, "", "wrong", KEY + "x"])
def test_without_a_valid_key_a_request_is_refused(connection: HTTPConnection, key: str | None) -> None:
    status, body = call(connection, "/v1/fine-tunes", key=key)
    assert status == 401
    assert body["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "path",
    ["/", "/fine-tunes", "/v1/models", "/v1/fine-tunes/", "/v1/fine-tunes/ft-none", f"/v1/fine-tunes/{PLAN.id}/x"],
)
def test_an_unknown_path_is_not_found(connection: HTTPConnection, path: str) -> None:
    status, body = call(connection, path)
    assert status == 404
    assert body["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_get_is_allowed(connection: HTTPConnection, method: str) -> None:
    status, body = call(connection, "/v1/fine-tunes", method)
    assert status == 405
    assert "message" in body["error"]


def test_a_head_request_is_refused_without_a_body(connection: HTTPConnection) -> None:
    connection.connect()
    connection.sock.sendall(b"HEAD /v1/fine-tunes HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head = b"".join(iter(lambda: connection.sock.recv(4096), b""))
    assert head.startswith(b"HTTP/1.1 405 ")
    assert head.endswith(b"\r\n\r\n")


def test_a_connection_is_kept_alive_whatever_the_response(connection: HTTPConnection) -> None:
    call(connection, "/v1/fine-tunes")
    kept = connection.sock
    assert kept is not None
    call(connection, "/v1/nothing")
    call(connection, "/v1/fine-tunes", key=None)
    status, _ = call(connection, "/v1/fine-tunes")
    assert status == 200
    assert connection.sock is kept


def test_nothing_is_written_to_the_terminal(connection: HTTPConnection, capfd: pytest.CaptureFixture[str]) -> None:
    call(connection, "/v1/fine-tunes")
    call(connection, "/v1/fine-tunes", "POST")
    assert capfd.readouterr() == ("", "")


def test_a_client_that_disconnects_early_affects_no_other(capfd: pytest.CaptureFixture[str]) -> None:
    asked, left = threading.Event(), threading.Event()

    def clock() -> float:
        asked.set()
        left.wait()
        return START

    with Simulator(Script((PLAN,)), key=KEY, clock=clock) as running:
        client = HTTPConnection(urlsplit(running.url).netloc, timeout=60)
        client.request("GET", "/v1/fine-tunes", headers={"Authorization": f"Bearer {KEY}"})
        asked.wait()
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leaves with a reset
        client.close()
        left.set()
        other = HTTPConnection(urlsplit(running.url).netloc, timeout=60)
        assert call(other, "/v1/fine-tunes")[0] == 200
        other.close()
    assert capfd.readouterr() == ("", "")


def test_stopping_ends_idle_connections_and_every_thread() -> None:
    before = set(threading.enumerate())
    running = simulator(PLAN, at=700).start()
    clients = [HTTPConnection(urlsplit(running.url).netloc, timeout=60) for _ in range(5)]
    for client in clients:
        call(client, "/v1/fine-tunes")
    assert set(threading.enumerate()) - before
    running.stop()
    assert set(threading.enumerate()) - before == set()
    for client in clients:
        assert client.sock is not None
        assert client.sock.recv(1) == b""
        client.close()


def test_a_stopped_simulator_can_start_again_on_its_port() -> None:
    with simulator(PLAN, at=700) as first:
        port = urlsplit(first.url).port
        assert port
        client = HTTPConnection("127.0.0.1", port, timeout=60)
        call(client, "/v1/fine-tunes")
    client.close()
    with Simulator(Script((PLAN,)), key=KEY, port=port, clock=lambda: START) as again:
        assert urlsplit(again.url).port == port
