"""Scrapes while 2,000 hostile clients of each kind are connected, on loopback: `make load`, some six minutes.

The server, the hostile clients and the client that scrapes are a process each. A row has the duration of scrapes, each
over a connection of its own; the 99th percentile as a multiple of that at rest; the most threads, memory and open files
of the server; and how long it took until a scrape was as fast as at rest again. In the rows marked `busy` a thread
beside the server does nothing but Python, as a poll does while it reads a long list.
"""

import base64
import http.client
import json
import multiprocessing
import os
import shutil
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from wsgiref.types import StartResponse, WSGIEnvironment

import bcrypt

from exporter.web import Server
from exporter.web.guard import Guard
from exporter.web.server import SWITCH_SECONDS
from tests.certificates import Authority

CLIENTS = 2_000
SCRAPES = 200
SECONDS = 5.0  # for the scrapes of a row

PAGE = [b"# one line of a scrape\n" * 10_000]
BIG = [b"x" * 2**20] * 9
HEADINGS = "   p50      p99    worst  p99/rest threads memory files normal"
USER = "prometheus:correct"

spawn = multiprocessing.get_context("spawn")


def main() -> None:
    """Prints a table for HTTP and one for TLS with passwords; arguments are the kinds of clients, without any all."""
    kinds = {name: kind for name, kind in KINDS.items() if name in sys.argv[1:] or len(sys.argv) == 1}
    with tempfile.TemporaryDirectory() as folder:
        for tls in (False, True):
            print(f"{'TLS, password' if tls else 'HTTP':<24}{HEADINGS}")
            for busy in (False, True):
                with serving(Path(folder), tls=tls, busy=busy) as server:
                    rest = measure(server)
                    show("at rest", busy, rest, rest, 0.0)
                    for name, kind in kinds.items():
                        with attacking(kind, server.target):
                            found = measure(server)
                        show(name, busy, found, rest, seconds_until_normal(server, rest))


@dataclass
class Target:
    """Where to connect, and with which authority's certificate; none without TLS."""

    port: int
    authority: Path | None

    def connect(self) -> socket.socket:
        """A connection, after the handshake."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        if self.authority is None:
            return connection
        return ssl.create_default_context(cafile=self.authority).wrap_socket(connection, server_hostname="localhost")

    def request(self, path: str, user: str = USER) -> bytes:
        """A request with the password of a user."""
        credentials = base64.b64encode(user.encode()).decode()
        return f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n\r\n".encode()


@dataclass
class Serving:
    """A server in a process of its own."""

    process: SpawnProcess
    target: Target

    def figures(self) -> tuple[int, int, int]:
        """Threads, resident memory in MiB, open files."""
        of_process = Path(f"/proc/{self.process.pid}")
        status = dict(line.split(":", 1) for line in (of_process / "status").read_text().splitlines())
        return int(status["Threads"]), int(status["VmRSS"].split()[0]) // 1024, len(os.listdir(of_process / "fd"))


@dataclass
class Found:
    """What a row shows: the durations in seconds, and the most threads, memory and files."""

    durations: list[float]
    most: list[int]

    def percentile(self, percent: float) -> float:
        """So many percent of the scrapes took no longer."""
        return self.durations[int((len(self.durations) - 1) * percent / 100)]


def measure(server: Serving) -> Found:
    """Scrapes for a while."""
    durations: list[float] = []
    most = [0, 0, 0]
    deadline = time.monotonic() + SECONDS
    while len(durations) < SCRAPES and time.monotonic() < deadline:
        durations.append(scrape(server.target))
        most = [max(pair) for pair in zip(most, server.figures(), strict=True)]
        time.sleep(0.01)
    return Found(sorted(durations), most)


def show(name: str, busy: bool, found: Found, rest: Found, normal: float) -> None:
    """Prints a row."""
    p50, p99, worst = (f"{found.percentile(percent) * 1000:6.1f}ms" for percent in (50, 99, 100))
    ratio = found.percentile(99) / rest.percentile(99)
    threads, memory, files = found.most
    name = f"{name}, busy" if busy else name
    print(f"{name:<24}{p50} {p99} {worst} {ratio:9.1f} {threads:7} {memory:3}MiB {files:5} {normal:5.2f}s", flush=True)


def scrape(target: Target) -> float:
    """The duration of one scrape in seconds; 20 if it fails."""
    began = time.perf_counter()
    try:
        with target.connect() as connection:
            connection.sendall(target.request("/metrics"))
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            if answer.read() == PAGE[0]:
                return time.perf_counter() - began
    except (OSError, http.client.HTTPException):
        pass
    return 20.0


def seconds_until_normal(server: Serving, rest: Found) -> float:
    """How long scrapes take longer than at rest, when the hostile clients have gone."""
    began = time.monotonic()
    while scrape(server.target) > rest.percentile(99):
        pass
    return time.monotonic() - began


def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
    """A page of the size of a scrape, and a big one."""
    body = BIG if environ["PATH_INFO"] == "/big" else PAGE
    start_response("200 OK", [("Content-Length", str(sum(map(len, body))))])
    return body


@contextmanager
def serving(folder: Path, *, tls: bool, busy: bool) -> Iterator[Serving]:
    """Starts a server."""
    config = folder / "web.yml"
    authority = None
    settings: dict[str, object] = {}
    if tls:
        made = Authority(str(shutil.which("openssl")), folder)
        certificate, key = made.issue("server", "DNS:localhost")
        authority = made.certificate
        user, _, password = USER.partition(":")
        hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(10)).decode()
        settings = {
            "tls_server_config": {"cert_file": str(certificate), "key_file": str(key)},
            "basic_auth_users": {user: hashed},
        }
    config.write_text(json.dumps(settings))
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve, args=(theirs, config, busy), daemon=True)
    process.start()
    yield Serving(process, Target(ours.recv(), authority))
    ours.send("stop")
    process.join()


def serve(pipe: Connection, config: Path, busy: bool) -> None:
    """The process of the server."""
    sys.setswitchinterval(SWITCH_SECONDS)
    guard = Guard(config)
    server = Server("127.0.0.1:0", guard.protect(app), guard.context)
    pipe.send(server.port)
    if busy:
        threading.Thread(target=hold_the_interpreter, daemon=True).start()
    pipe.recv()
    server.stop()


def hold_the_interpreter() -> None:
    """Does nothing but Python."""
    while True:
        sum(range(1000))


@contextmanager
def attacking(kind: Callable[[Target], None], target: Target) -> Iterator[None]:
    """Starts hostile clients, and ends them."""
    process = spawn.Process(target=attack, args=(kind, target), daemon=True)
    process.start()
    time.sleep(0.5)  # until the process has begun
    yield
    process.kill()
    process.join()


def attack(kind: Callable[[Target], None], target: Target) -> None:
    """The process of the hostile clients."""
    kind(target)
    time.sleep(60)


def connected(target: Target, sends: bytes) -> list[socket.socket]:
    """All clients, having sent this."""
    clients = []
    for _ in range(CLIENTS):
        with suppress(OSError):
            client = target.connect()
            client.sendall(sends)
            clients.append(client)
    return clients


def forever(clients: list[socket.socket], sends: bytes, pause: float) -> None:
    """Sends more and more, without waiting for a client that does not take it."""
    for client in clients:
        client.setblocking(False)
    while True:
        time.sleep(pause)
        for client in clients:
            with suppress(OSError):
                client.send(sends)


def silent(target: Target) -> None:
    """Connects and sends nothing, not even for a handshake."""
    with ExitStack() as stack:
        for _ in range(CLIENTS):
            stack.enter_context(socket.create_connection(("127.0.0.1", target.port)))
        time.sleep(60)


def halves(target: Target) -> None:
    """Sends half a head."""
    kept = connected(target, b"GET /metrics HTTP/1.1\r\n")
    time.sleep(60 + len(kept))


def drips(target: Target) -> None:
    """Sends a byte a second."""
    forever(connected(target, b"G"), b"x", 1.0)


def slow_readers(target: Target) -> None:
    """Requests a big page and reads nothing."""
    kept = connected(target, target.request("/big"))
    time.sleep(60 + len(kept))


def pipelining(target: Target) -> None:
    """Sends a hundred requests at once and reads nothing."""
    kept = connected(target, target.request("/metrics") * 100)
    time.sleep(60 + len(kept))


def huge_heads(target: Target) -> None:
    """Sends heads without end."""
    forever(connected(target, b"GET / HTTP/1.1\r\n"), b"x" * 4096, 0.0)


def resets(target: Target) -> None:
    """Connects and resets, as fast as it can."""
    while True:
        with socket.create_connection(("127.0.0.1", target.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def passwords(target: Target) -> None:
    """Tries passwords, from sixteen connections at a time."""

    def guess(first: int) -> None:
        for number in range(first, 10**9, 16):
            with suppress(OSError), target.connect() as client:
                client.sendall(target.request("/metrics", f"prometheus:{number}"))
                client.recv(1024)

    for first in range(16):
        threading.Thread(target=guess, args=(first,), daemon=True).start()


KINDS: dict[str, Callable[[Target], None]] = {
    "silent": silent,
    "half a head": halves,
    "a byte a second": drips,
    "slow readers": slow_readers,
    "pipelining": pipelining,
    "huge heads": huge_heads,
    "resets": resets,
    "wrong passwords": passwords,
}

if __name__ == "__main__":
    main()
