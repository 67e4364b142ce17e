"""What several tests need: an API with given responses, and an exporter whose clock stands still."""

import io
import json
import socket
import threading
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
from exporter.simulator.traffic import Request, Response
from exporter.state import AccountSettings, Call, Exporter, ListAnswered, Store

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


def new_store(*accounts: str) -> Store:
    """A store with these accounts, `default` if none is named."""
    return Store(ABOUT, {account: AccountSettings() for account in accounts or ["default"]})


def list_answered(*jobs: Any, at: float = NOW) -> ListAnswered:
    """The event of a list with these jobs."""
    return ListAnswered(Call(at, "list", "200", 0.3), parse_jobs(jobs_json(*jobs)), 30.0)


def http(body: bytes | str, status: str = "200 OK", **headers: str) -> bytes:
    """An HTTP answer; a header's underscores stand for dashes."""
    body = body if isinstance(body, bytes) else body.encode()
    headers = {"Content_Length": str(len(body)), "Connection": "close"} | headers
    lines = [f"HTTP/1.1 {status}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Wire:
    """A server on loopback that sends the same bytes, `answer`, to every request, and keeps the requests."""

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
        """An answer of `start` and then a byte now and then, for a minute, or until the test is over."""

        def answer(connection: socket.socket) -> None:
            connection.sendall(start)
            for _ in range(3000):
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


class AnswerAdapter(BaseAdapter):
    """Answers requests with `answer(target, authorization)`, without a socket and at once; a response that is delayed
    longer than the timeout is a timeout."""

    url: ClassVar[str] = "http://simulator.invalid/v1"

    def __init__(self, answer: Callable[[str, str | None], Response]) -> None:
        super().__init__()
        self._answer = answer
        self._build = HTTPAdapter().build_response

    def send(
        self, request: requests.PreparedRequest, stream: bool = False, timeout: Any = None, *_: Any, **__: Any
    ) -> requests.Response:
        """The answer as a response."""
        del stream
        answer = self._answer(request.path_url, request.headers["Authorization"])
        if answer.delay > timeout:
            raise requests.ReadTimeout("timed out")
        raw = HTTPResponse(io.BytesIO(answer.body), answer.headers, answer.status, preload_content=False)
        return self._build(request, raw)

    def close(self) -> None:
        """Nothing is open."""


class SimulatorAdapter(AnswerAdapter):
    """Answers requests from a simulator."""

    def __init__(self, simulator: Simulator) -> None:
        super().__init__(simulator.answer)


Canned = bytes | Response


class Api:
    """An API in this process. `answers` maps an endpoint, or an endpoint and a job's id, to a body, to a response, or
    to a function of the request that returns one of them; everything else is a 404. Keeps the requests."""

    def __init__(self, *jobs: Any, **answers: Canned | Callable[[Request], Canned]) -> None:
        self.answers: dict[Any, Canned | Callable[[Request], Canned]] = {**answers}
        self.requests: list[Request] = []
        if "list" not in answers:
            self.set_jobs(*jobs)

    def set_jobs(self, *jobs: Any) -> None:
        """From now on the list has these jobs."""
        self.answers["list"] = jobs_json(*jobs)

    def __call__(self, target: str, authorization: str | None) -> Response:
        """The response to a request."""
        request = Request.parse(target, authorization, NOW)
        self.requests.append(request)
        endpoint = str(request.endpoint)
        answer = self.answers.get((endpoint, request.job_id or "")) or self.answers.get(endpoint) or Response(404, b"")
        answer = answer(request) if callable(answer) else answer
        return answer if isinstance(answer, Response) else Response(200, answer)

    def asked(self, endpoint: str = "") -> list[str]:
        """The ids of the jobs that were asked about, at one endpoint or at all, in order."""
        return [r.job_id for r in self.requests if r.job_id is not None and endpoint in ("", r.endpoint)]

    def harness(self, **options: Any) -> "Harness":
        """An exporter of this API."""
        return Harness(AnswerAdapter.url, adapter=AnswerAdapter(self), **options)


def hide_key(text: AnyStr, /) -> AnyStr:
    """The redaction of the tests: it knows one key."""
    return text.replace(KEY, "[API key]") if isinstance(text, str) else text.replace(KEY.encode(), b"[API key]")


class Samples(dict[tuple[str, frozenset[tuple[str, str]]], float]):
    """The samples of an exposition, by name without the prefix and labels."""

    def get_one(self, name: str, /, **labels: str) -> float | None:
        """The value of one series; None if there is no such series."""
        return self.get((PREFIX + name, frozenset(labels.items())))

    def names(self) -> set[str]:
        """The names of all series, without the prefix where they have it."""
        return {name.removeprefix(PREFIX) for name, _ in self}


def parse(text: str) -> Samples:
    """The samples of an exposition in Prometheus's text format."""
    families = text_string_to_metric_families(text)
    return Samples({(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples})


@dataclass
class Harness:
    """An exporter of one account, whose polls and scrapes happen when a test says so."""

    url: str
    now: float = NOW
    timeout: float = 30.0
    max_bytes: int = 2**20
    luck: float = 0.5
    schedule: Schedule = field(default_factory=lambda: Schedule(details="off"))
    exclude: str = ""
    settings: AccountSettings | None = None
    stopwatch: Callable[[], float] | None = None  # by default it follows `now`
    adapter: BaseAdapter | None = None  # by default requests go over the network
    opened: ClassVar[list["Harness"]] = []  # a fixture closes them

    def __post_init__(self) -> None:
        self.opened.append(self)
        settings = self.settings or AccountSettings(details=self.schedule.details != "off")
        self.store = Store(ABOUT, {"default": settings})
        self.client = Client(
            self.url,
            lambda: KEY,
            user_agent="test/1",
            adapter=self.adapter,
            timeout=self.timeout,
            max_bytes=self.max_bytes,
            clock=lambda: self.now,
            redact=hide_key,
        )
        self.poller = Poller(
            self.client,
            self.store.publisher("default"),
            self.schedule,
            clock=lambda: self.now,
            stopwatch=self.stopwatch or (lambda: self.now),
            random=lambda: self.luck,
        )
        self.exposition = Exposition(self.store, max_staleness=600, exclude=self.exclude, clock=lambda: self.now)

    def poll(self) -> float:
        """One poll with the requests that follow it. Returns the seconds to the next."""
        wait = self.poller.poll()
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
) -> Iterator[tuple[Simulator, Harness]]:
    """A simulator of hand-made jobs, and an exporter that requests their details; both follow the harness's `now`."""
    harnesses: list[Harness] = []
    fleet = Script(plans)
    with Simulator(
        fleet, key=KEY, shape=shape, clock=lambda: harnesses[0].now if harnesses else NOW, **options
    ) as simulator:
        harnesses.append(Harness(simulator.url, schedule=schedule or Schedule(), adapter=SimulatorAdapter(simulator)))
        yield simulator, harnesses[0]


def restarted(harness: Harness) -> Harness:
    """Another exporter of the same account at the same moment, which does not know what the first one saw."""
    return Harness(
        harness.url,
        now=harness.now,
        schedule=harness.schedule,
        settings=harness.settings,
        adapter=harness.adapter,
    )
