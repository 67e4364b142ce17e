"""The API itself: who may ask, what it answers, and the account behind it."""

import json
import time
from collections.abc import Callable, Mapping
from threading import Event
from typing import NamedTuple, Self

from exporter.simulator.fleet import Plans
from exporter.simulator.objects import job
from exporter.simulator.plan import Json, Plan, next_change
from exporter.simulator.server import Server
from exporter.simulator.traffic import Answer, Budget, Fault, Request, bad, good
from exporter.simulator.training import chosen, training_rows
from exporter.simulator.wire import SHAPES, Shape

Clock = Callable[[], float]
REQUESTS_KEPT = 100_000


class Simulator:
    """The API over HTTP on loopback, for clients that know a key of it; a context manager.

    `fleets` maps each key to the jobs it sees; one fleet with its `key` will do. `shape` says how jobs are shown,
    `clock` what time it is (unix seconds), `requests_per_minute` what each key may ask. Port 0 is any free one.

    `faults` may be changed at any time: the first that strikes a request applies. `requests` has what was asked, the
    newest `REQUESTS_KEPT` of it.
    """

    def __init__(
        self,
        fleets: Plans | Mapping[str, Plans],
        *,
        key: str | None = None,
        shape: Shape = "live",
        clock: Clock = time.time,
        port: int = 0,
        requests_per_minute: int | None = None,
    ) -> None:
        if isinstance(fleets, Mapping):
            if key is not None:
                raise TypeError("A mapping has the keys; key= goes with one fleet")
            self.fleets = dict(fleets)
        else:
            if key is None:
                raise TypeError("One fleet needs its key=")
            self.fleets = {key: fleets}
        self.clock, self.port = clock, port
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self._listed, self._detail = SHAPES[shape]
        self._budget = Budget(requests_per_minute)
        self._deleted: set[str] = set()
        self._kept: dict[str, dict[Plan, _Kept]] = {}
        self._stopping = Event()

    def jobs(self, key: str | None = None) -> list[Json]:
        """The full objects of a key's jobs now, without HTTP and whatever the shape: the truth.

        The key may be left out where there is one only.
        """
        if key is None:
            [key] = self.fleets
        now = self.clock()
        return [job(plan, now) for plan in self._plans(key, now)]

    def delete(self, job_id: str) -> None:
        """Have the job gone from the list and not found elsewhere, from now on, whatever the key."""
        self._deleted.add(job_id)

    def restore(self, job_id: str) -> None:
        """Have a deleted job there again, as if nothing had been."""
        self._deleted.discard(job_id)

    def answer(self, target: str, authorization: str | None) -> Answer:
        """The answer to a GET of `target` (path and query) with that Authorization header."""
        request = Request.parse(target, authorization, self.clock())
        self.requests.append(request)
        del self.requests[:-REQUESTS_KEPT]  # a demo may run for weeks
        allowed, headers = self._budget.take(request.key, request.at)
        if allowed:
            answer = self._fault(request) or self._ordinary(request)
        else:
            answer = bad(429, "Too many requests with this API key", "rate_limit_error")
        return answer._replace(headers={**headers, **answer.headers})

    def _fault(self, request: Request) -> Answer | None:
        fault = next((fault for fault in tuple(self.faults) if fault.strikes(request)), None)
        if fault is None:
            return None
        self._stopping.wait(fault.latency)
        return fault.answer()

    def _ordinary(self, request: Request) -> Answer:
        key, now = request.key, self.clock()
        if key is None or key not in self.fleets:
            return bad(401, "Invalid API key provided", "authentication_error")
        if request.endpoint == "list":
            return Answer(200, b'{"data": [' + b", ".join(self._list(key, now)) + b"]}")
        plan = next((plan for plan in self._plans(key, now) if plan.id == request.job_id), None)
        if plan is None:
            return bad(404, "There is nothing at that path", "not_found_error")
        if request.endpoint == "metrics":
            asked = {option: int(value) for option, value in request.query.items() if value.isdecimal()}
            rows = training_rows(plan, now)
            return good({"metrics": chosen(rows, asked.get("global_step_from", 0), asked.get("resolution", 1000))})
        detail = self._detail(job(plan, now))
        return good({"data": detail["events"]} if request.endpoint == "events" else detail)

    def _plans(self, key: str, now: float) -> list[Plan]:
        return [plan for plan in self.fleets[key].plans(now) if plan.id not in self._deleted]

    def _list(self, key: str, now: float) -> list[bytes]:
        """The listed object of each job as JSON; one in which nothing changed since the last list is not made anew."""
        before = self._kept.get(key, {})
        kept = {}
        for plan in self._plans(key, now):
            known = before.get(plan)
            if known is None or not known.since <= now < known.until:
                content = json.dumps(self._listed(job(plan, now))).encode()
                known = _Kept(now, next_change(plan, now), content)
            kept[plan] = known
        self._kept[key] = kept
        return [known.content for known in kept.values()]

    @property
    def url(self) -> str:
        """The base of all calls, once it is started."""
        return f"http://127.0.0.1:{self._server.port}/v1"

    def start(self) -> Self:
        """Answer from now on, in threads of its own."""
        self._stopping.clear()
        self._server = Server(self.port, self.answer)
        return self

    def stop(self) -> None:
        """Close every connection and wait for every thread to end."""
        self._server.hang_up()
        self._stopping.set()  # after it, so that nobody gets an answer before its time
        self._server.close()

    __enter__ = start

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Kept(NamedTuple):
    """A listed job as JSON, and from when to when it holds."""

    since: float
    until: float
    content: bytes
