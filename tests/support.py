"""What several tests need: an API that answers as told, and an exporter around it whose time stands still."""

import io
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, AnyStr, ClassVar, Self

import requests
from prometheus_client.parser import text_string_to_metric_families
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3 import HTTPResponse

from exporter.api import Client
from exporter.exposition import Exposition
from exporter.models import parse_jobs
from exporter.poller import Poller, Schedule
from exporter.simulator import Plan, Script, Shape, Simulator
from exporter.snapshot import Board, Exporter, Selection, Snapshot, Terms, listed, take

ABOUT = Exporter("1.2.3", "abc", "3.11.0")
NOW = 1_790_000_000.0  # 2026-09-21T14:13:20Z
KEY = "secret-key-of-the-tests"
PREFIX = "together_finetune_"

Answer = bytes | Callable[[socket.socket], object]


def job(job_id: str = "ft-1", status: str = "running", **fields: Any) -> dict[str, Any]:
    """A job of the list with the fields that are sure, and those given."""
    times = {"created_at": "2026-09-21T12:00:00Z", "updated_at": "2026-09-21T13:00:00Z"}
    return {"id": job_id, "status": status, **times, **fields}


def jobs_json(*jobs: Any) -> bytes:
    """The body of a list with these jobs."""
    return json.dumps({"data": jobs}).encode()


def new_board(*accounts: str) -> Board:
    """A board with these accounts, `default` where none is named."""
    return Board(ABOUT, {account: Terms() for account in accounts or ["default"]})


def snapshot(body: bytes, before: Snapshot | None = None) -> Snapshot:
    """The snapshot of a list's body at NOW."""
    known = before.jobs if before else {}
    jobs = parse_jobs(body).jobs
    return take([listed(job.fields, NOW, known.get(job.id), details=False) for job in jobs], NOW, Selection())


def http(body: bytes | str, status: str = "200 OK", **headers: str) -> bytes:
    """An HTTP answer; a header's underscores stand for dashes."""
    body = body if isinstance(body, bytes) else body.encode()
    headers = {"Content_Length": str(len(body)), "Connection": "close"} | headers
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Wire:
    """A server on loopback that gives every request the same answer, `answer`, byte for byte; keeps the requests."""

    def __init__(self, answer: Answer = b"") -> None:
        self.answer = answer
        self.requests: list[str] = []
        self.read_first = True
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}/v1"
        self._threads = [threading.Thread(target=self._accept)]
        self._over = threading.Event()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._over.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join()

    def hold(self, connection: socket.socket) -> None:
        """An answer that never comes: holds the connection until the client gives up, or the test is over."""
        del connection
        self._over.wait()

    def drip(self, start: bytes) -> Callable[[socket.socket], None]:
        """An answer of `start` and then a byte now and then, for much longer than any time limit of a test."""

        def answer(connection: socket.socket) -> None:
            connection.sendall(start)
            for _ in range(500):
                if self._over.wait(0.02):
                    return
                connection.sendall(b"x")

        return answer

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                if self.read_first:
                    self.requests.append(connection.recv(65536).decode(errors="replace"))
                if callable(self.answer):
                    self.answer(connection)
                else:
                    connection.sendall(self.answer)
            except OSError:
                pass  # the client went away, as some tests want it to


class SimulatorAdapter(BaseAdapter):
    """Answers requests from a simulator, without a socket and at once; a fault slower than the timeout is a timeout."""

    url: ClassVar[str] = "http://simulator.invalid/v1"

    def __init__(self, simulator: Simulator) -> None:
        super().__init__()
        self._simulator = simulator
        self._build = HTTPAdapter().build_response

    def send(
        self, request: requests.PreparedRequest, stream: bool = False, timeout: Any = None, *_: Any, **__: Any
    ) -> requests.Response:
        """The simulator's answer as a response."""
        del stream
        answer = self._simulator.answer(request.path_url, request.headers["Authorization"])
        if answer.delay > timeout:
            raise requests.ReadTimeout("timed out")
        raw = HTTPResponse(io.BytesIO(answer.body), answer.headers, answer.status, preload_content=False)
        return self._build(request, raw)

    def close(self) -> None:
        """Nothing is open."""


def hide_key(text: AnyStr, /) -> AnyStr:
    """The redaction of the tests: it knows one key."""
    return text.replace(KEY, "[API key]") if isinstance(text, str) else text.replace(KEY.encode(), b"[API key]")


class Samples(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """The samples of an exposition, asked for by the name without prefix and the labels."""

    def get_one(self, name: str, /, **labels: str) -> float | None:
        """The value of one series, or None where it is not there."""
        return self.get((PREFIX + name, frozenset(labels.items())))

    def names(self) -> set[str]:
        """The names of all series, without the prefix where they have it."""
        return {name.removeprefix(PREFIX) for name, _ in self}


def parse(text: str) -> Samples:
    """The samples of an exposition in Prometheus's text format."""
    families = text_string_to_metric_families(text)
    return Samples({(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples})


@dataclass
class World:
    """An exporter of one account, whose polls and scrapes happen when a test says so."""

    url: str
    now: float = NOW
    timeout: float = 5.0
    max_bytes: int = 2**20
    luck: float = 0.5
    schedule: Schedule = field(default_factory=lambda: Schedule(details="off"))
    exclude: str = ""
    stopwatch: Callable[[], float] = time.monotonic
    board: Board = field(default_factory=new_board)
    opened: ClassVar[list["World"]] = []  # a fixture closes them

    def __post_init__(self) -> None:
        self.opened.append(self)
        self.client = Client(
            self.url,
            lambda: KEY,
            user_agent="test/1",
            timeout=self.timeout,
            max_bytes=self.max_bytes,
            clock=lambda: self.now,
            redact=hide_key,
        )
        self.poller = Poller(
            "default",
            self.client,
            self.board,
            self.schedule,
            clock=lambda: self.now,
            stopwatch=self.stopwatch,
            random=lambda: self.luck,
        )
        self.exposition = Exposition(self.board, max_staleness=600, exclude=self.exclude, clock=lambda: self.now)

    def poll(self) -> float:
        """One poll with the calls that follow it; the wait before the next, in seconds."""
        wait = self.poller.cycle()
        self.poller.settle()
        return wait

    def scrape(self) -> Samples:
        """One scrape, in the text format."""
        return parse(self.exposition.page().body.decode())

    def value(self, name: str, /, **labels: str) -> float | None:
        """The value of one series of the account, scraped now."""
        return self.scrape().get_one(name, account="default", **labels)


@contextmanager
def simulated(
    *plans: Plan, schedule: Schedule | None = None, shape: Shape = "live", **options: Any
) -> Iterator[tuple[Simulator, World]]:
    """A simulator of hand-made jobs, and an exporter of it that asks for details; both go by the world's `now`."""
    worlds: list[World] = []
    fleet = Script(plans)
    with Simulator(fleet, key=KEY, shape=shape, clock=lambda: worlds[0].now if worlds else NOW, **options) as simulator:
        worlds.append(World(simulator.url, schedule=schedule or Schedule()))
        yield simulator, worlds[0]


def restarted(world: World) -> World:
    """Another exporter of the same account at the same moment, which knows nothing of what the first one saw."""
    return World(world.url, now=world.now, schedule=world.schedule)
