"""A process that polls and is scraped: what it costs, from the outside."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from exporter.simulator import Response
from exporter.simulator.server import Server
from tests.bench.lists import Listing

_LOOKS, _BETWEEN = 8, 0.02  # a process rests if none of its threads wants to run, so many times, so many seconds apart
_LONGEST = 300.0  # seconds to wait for anything

ACCEPT = "text/plain; version=0.0.4"


class Upstream:
    """The API: answers requests for the list when it is told to, and the first `details` requests for single jobs at
    once; the others wait."""

    def __init__(self, listing: Listing, details: int) -> None:
        self._listing = listing
        self._asked, self._allowed = threading.Semaphore(0), threading.Semaphore(0)
        self._over = threading.Event()
        self._lock = threading.Lock()
        self.details = details
        self._server = Server(0, self._answer)
        self.url = f"http://127.0.0.1:{self._server.port}/v1"
        self.body = listing.body

    def close(self) -> None:
        """Ends, whoever waits."""
        self._over.set()
        self._allowed.release()
        self._server.close()

    def wait_for_poll(self) -> None:
        """Returns once the list has been requested, which the next `answer` answers."""
        if not self._asked.acquire(timeout=_LONGEST):
            raise TimeoutError("no poll")

    def answer(self, body: bytes, times: int = 1) -> None:
        """Answers so many requests for the list, of those that wait or those to come."""
        self.body = body
        self._allowed.release(times)

    def _answer(self, target: str, _: str | None) -> Response:
        job_id = target.partition("/fine-tunes")[2].strip("/")
        if job_id:
            with self._lock:
                self.details -= 1
                waits = self.details < 0
            if waits:
                self._over.wait()
            known = "/" not in job_id  # not its events or training rows
            return Response(200, self._listing.detail(job_id)) if known else Response(404, b"{}")
        self._asked.release()
        self._allowed.acquire()
        return Response(200, self.body)


@contextmanager
def upstream(listing: Listing, *, details: int = 0) -> Iterator[Upstream]:
    """An API with this list, which answers so many requests for single jobs."""
    serving = Upstream(listing, details)
    try:
        yield serving
    finally:
        serving.close()


@contextmanager
def answering(serving: Upstream, bodies: Iterator[bytes], pause: float) -> Iterator[None]:
    """Meanwhile each poll is answered with the next of these, `pause` seconds after it was asked for."""
    over = threading.Event()

    def run() -> None:
        for body in bodies:
            if over.wait(pause):
                return
            serving.answer(body)
            serving.wait_for_poll()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


class Costs:
    """The processor time and the memory of a running process, of all its threads."""

    def __init__(self, pid: int) -> None:
        self._clock = ~pid << 3 | 2  # as clock_getcpuclockid(3) makes it; to the nanosecond, unlike /proc/PID/stat
        self._status = Path(f"/proc/{pid}/status")
        self._threads = Path(f"/proc/{pid}/task")

    def seconds(self) -> float:
        """User and system time so far."""
        return time.clock_gettime(self._clock)

    def memory(self) -> float:
        """Resident memory in bytes."""
        lines = dict(line.split(":", 1) for line in self._status.read_text().splitlines())
        return float(lines["VmRSS"].split()[0]) * 1024

    def settled(self) -> float:
        """User and system time so far, once the process only waits."""
        deadline, quiet = time.monotonic() + _LONGEST, 0
        while quiet < _LOOKS:
            if time.monotonic() > deadline:
                raise TimeoutError("the process does not come to rest")
            time.sleep(_BETWEEN)
            quiet = 0 if self._wants_to_run() else quiet + 1
        return self.seconds()

    def _wants_to_run(self) -> bool:
        """Whether a thread runs, or would if it got a processor: on a busy machine, time alone does not tell."""
        found = []
        for thread in self._threads.iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
                found.append((thread / "stat").read_text().rpartition(") ")[2][0])
        return any(state in "RD" for state in found)


class Scraper:
    """Scrapes over one connection that stays open."""

    def __init__(self, port: int, path: str = "/metrics", *, gzip: bool = True) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_LONGEST)
        self._path = path
        self._headers = {"Accept": ACCEPT, **({"Accept-Encoding": "gzip"} if gzip else {})}

    def __call__(self) -> bytes:
        """One scrape: its body, compressed or not."""
        self._connection.request("GET", self._path, headers=self._headers)
        response = self._connection.getresponse()
        if response.status != http.HTTPStatus.OK:
            raise ValueError(f"{self._path}: {response.status} {response.reason}")
        return response.read()

    def seconds(self) -> float:
        """How long a scrape takes."""
        began = time.perf_counter()
        self()
        return time.perf_counter() - began

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()
