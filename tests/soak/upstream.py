"""An API on loopback that can fail in every way, and that shows jobs which move on from list to list."""

import base64
import json
import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from exporter.statuses import STATUSES
from tests.support import http

Job = dict[str, Any]

_PATH = ("pending", "queued", "running", "compressing", "uploading")
_ENDS = [status.name for status in STATUSES.values() if status.ended]


@dataclass(frozen=True)
class Call:
    """A request that a fault answers: its connection, the body that the API would send, its key, and how many requests
    the fault has answered, this one included."""

    connection: socket.socket
    body: bytes
    key: str
    number: int

    def send(self, data: bytes) -> None:
        """Sends bytes."""
        self.connection.sendall(data)


Answer = Callable[[Call], object]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What goes wrong, and how the exporter should report it: the values of `code`, any of which is right.

    `answer` replaces the answer to a request, `edit` the list of jobs, `greet` the TLS handshake, `connect` a proxy's
    answer to CONNECT. `certificate` names the server's. `url` is a base URL that leads elsewhere. A `closed` port
    refuses connections. `more` is by how many jobs the list grows, `empty` whether it has none at all; `ways` are the
    kinds of upstream it happens on.
    """

    codes: frozenset[str]
    ways: tuple[str, ...] = ("plain", "tls", "proxy", "tunnel")
    answer: Answer | None = None
    edit: Callable[[list[Job]], bytes] | None = None
    greet: Answer | None = None
    connect: Answer | None = None
    certificate: str = "good"
    url: str = ""
    closed: bool = False
    more: int = 0
    empty: bool = False


NO_FAULT = Fault(codes=frozenset({"200"}))


def stamp(seconds: float) -> str:
    """A time as the API writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03}Z"


@dataclass
class Jobs:
    """The jobs of an account. `move` lets time pass: active jobs change, and may end; ended ones may be replaced."""

    random: random.Random
    name: str
    shown: list[Job] = field(default_factory=list)
    moves: int = 0

    def move(self) -> None:
        """The next list: every active job has news, so that an old list is never mistaken for a new one."""
        self.moves += 1
        count = self.random.randint(3, 12)
        kept = [job for job in self.shown if job["status"] not in _ENDS or self.random.random() < 0.7][:count]
        new = [self._new(number) for number in range(max(count - len(kept), 1))]
        self.shown = [self._moved(job) for job in kept] + new

    def _new(self, number: int) -> Job:
        return {
            "id": f"ft-{self.name}-{self.moves}-{number}",
            "status": "pending",
            "created_at": stamp(time.time()),
            "updated_at": stamp(time.time()),
            "model": self.random.choice(["meta-llama/Llama-3", "Qwen/Qwen3", 'odd "name"\n\\']),
            "token_count": self.moves,
            "events": [],
        }

    def _moved(self, job: Job) -> Job:
        if job["status"] in _ENDS:
            return job
        status = job["status"]
        if self.random.random() < 0.5:
            position = _PATH.index(status) + 1
            ends = position == len(_PATH) or self.random.random() < 0.2
            status = self.random.choice(_ENDS) if ends else _PATH[position]
        return {**job, "status": status, "updated_at": stamp(time.time()), "token_count": self.moves}


def listed(jobs: list[Job]) -> bytes:
    """The body of a list."""
    return json.dumps({"data": jobs}).encode()


def detailed(job: Job) -> bytes:
    """The body of a single job: it has a number that the list lacks."""
    return json.dumps({**job, "param_count": 7_000_000_000, "queue_depth": 0, "epochs_completed": 0}).encode()


class Upstream:
    """An API, or a proxy to it, on a free port of loopback; a context manager.

    `contexts` are the TLS contexts by certificate, if it speaks TLS, and `tunnel` says whether CONNECT comes first.
    """

    def __init__(self, jobs: Jobs, contexts: Mapping[str, ssl.SSLContext], *, tunnel: bool = False) -> None:
        self.jobs = jobs
        self.secrets: set[str] = set()
        self._contexts = contexts
        self._tunnel = tunnel
        self._fault, self._endpoint, self._number = NO_FAULT, "list", 0
        self._body = listed(jobs.shown)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._holder = _bound(("127.0.0.1", 0))  # bound and not listening: it keeps the port while that is closed
        self.port = int(self._holder.getsockname()[1])
        self._listening: socket.socket | None = None

    def __enter__(self) -> Self:
        self._listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self._holder.close()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    @property
    def listed_jobs(self) -> list[Job]:
        """The jobs of its list, but for those that a fault adds."""
        return self.jobs.shown

    def begin(self, fault: Fault, endpoint: str) -> None:
        """From now on requests at that endpoint meet the fault; all do if it is not about their answers."""
        with self._lock:
            self._fault, self._endpoint, self._number = fault, endpoint, 0
            self._body = fault.edit(self.jobs.shown) if fault.edit else self._body
        if fault.closed:
            self._close()

    def end(self) -> None:
        """From now on all is well, and the jobs have moved on."""
        with self._lock:
            closed, self._fault = self._fault.closed, NO_FAULT
            self.jobs.move()
            self._body = listed(self.jobs.shown)
        if closed:
            self._listen()

    def _listen(self) -> None:
        self._listening = _bound(("127.0.0.1", self.port))
        self._listening.listen(128)
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def _close(self) -> None:
        if self._listening is not None:
            self._listening.shutdown(socket.SHUT_RDWR)
            self._listening.close()
            self._listening = None
        with self._lock:
            for connection in self._open:  # those that are kept alive would still be answered
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with self._lock:
            self._open.add(connection)
            fault = self._fault
        try:
            self._talk(connection, fault)
        except OSError:
            pass  # the exporter went away, or did not trust the certificate
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _talk(self, connection: socket.socket, fault: Fault) -> None:
        if self._tunnel:
            head = _head(connection)
            self._note_proxy_password(head)
            if fault.connect:
                fault.connect(Call(connection, b"", "", 1))
                return
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        if not self._contexts:
            while head := _head(connection):
                self._note_proxy_password(head)
                if not self._answer(connection, head):
                    return
            return
        if fault.greet:
            fault.greet(Call(connection, b"", "", 1))
            return
        with self._contexts[fault.certificate].wrap_socket(connection, server_side=True) as secure:
            if head := _head(secure):
                self._answer(secure, head, last=True)  # the next request may have to meet another certificate

    def _answer(self, connection: socket.socket, head: bytes, *, last: bool = False) -> bool:
        """Answers one request. Returns whether another may follow."""
        target = head.split(b" ")[1].decode()
        key = (re.search(rb"(?i)\r\nauthorization: bearer (\S+)", head) or [b"", b""])[1].decode()
        self.secrets.add(key)
        name = target.partition("/fine-tunes")[2].strip("/")
        endpoint = "list" if not name else "retrieve" if "/" not in name else "other"
        with self._lock:
            fault = self._fault if endpoint == self._endpoint else NO_FAULT
            self._number += fault.answer is not None
            call = Call(connection, self._body_of(endpoint, name), key, self._number)
        if fault.answer:
            fault.answer(call)
            return False
        call.send(http(call.body, Connection="close" if last else "keep-alive", Content_Type="application/json"))
        return True

    def _body_of(self, endpoint: str, name: str) -> bytes:
        if endpoint == "list":
            return self._body
        if endpoint == "retrieve":
            return next((detailed(job) for job in self.jobs.shown if job["id"] == name), b"{}")
        return b'{"data": [], "metrics": []}'

    def _note_proxy_password(self, head: bytes) -> None:
        found = re.search(rb"(?i)\r\nproxy-authorization: basic (\S+)", head)
        if found:
            self.secrets.add(base64.b64decode(found[1]).decode().partition(":")[2])


def _bound(address: tuple[str, int]) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(address)
    return bound


def _head(connection: socket.socket) -> bytes:
    """The head of a request; empty at the end of the stream."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(65536)
        if not data:
            return b""
        head += data
    return head


def context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What a server with that certificate needs."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate, key)
    return made
