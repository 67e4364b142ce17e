"""The API: who may ask what, and how it responds."""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

from exporter.simulator.fleet import Plans
from exporter.simulator.objects import job, next_change
from exporter.simulator.plan import Json, Plan
from exporter.simulator.server import Server
from exporter.simulator.traffic import Budget, Fault, Request, Response, error, ok
from exporter.simulator.training import chosen, training_rows
from exporter.simulator.wire import SHAPES, Shape

Clock = Callable[[], float]
REQUESTS_KEPT = 100_000


class Simulator:
    """The API over HTTP on loopback; a context manager.

    `fleets` maps each API key to the jobs of its account; for one account, give the fleet and its `key`. `shape` is
    how jobs are shown, `clock` the API's time (unix seconds), `requests_per_minute` the limit of each key. Port 0 is
    any free port.

    `faults` may be changed at any time; the first one that affects a request applies. `requests` has the newest
    `REQUESTS_KEPT` requests.
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
                raise TypeError("A mapping contains the keys; key= belongs to a single fleet")
            self.fleets = dict(fleets)
        else:
            if key is None:
                raise TypeError("A single fleet needs key=")
            self.fleets = {key: fleets}
        self.clock, self.port = clock, port
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self._shape = SHAPES[shape]
        self._budget = Budget(requests_per_minute)
        self._deleted: set[str] = set()
        self._newest: dict[str, tuple[float, dict[str, Plan]]] = {}
        self._listed: dict[str, dict[Plan, _Listed]] = {}
        self._counts: Counter[tuple[str | None, str | None, str | None]] = Counter()

    def jobs(self, key: str | None = None) -> list[Json]:
        """The full objects of an account's jobs now, without HTTP, faults and shape.

        The key may be omitted if there is only one.
        """
        if key is None:
            [key] = self.fleets
        now = self.clock()
        return [job(plan, now) for plan in self._plans(key, now).values()]

    def delete(self, job_id: str) -> None:
        """Remove a job from every account."""
        self._deleted.add(job_id)
        self._newest.clear()

    def restore(self, job_id: str) -> None:
        """Bring back a deleted job."""
        self._deleted.discard(job_id)
        self._newest.clear()

    def answer(self, target: str, authorization: str | None) -> Response:
        """The response to a GET of `target` (path and query) with that Authorization header, at once."""
        request = Request.parse(target, authorization, self.clock())
        self.requests.append(request)
        del self.requests[:-REQUESTS_KEPT]  # a demo may run for weeks
        allowed, headers = self._budget.take(request.key, request.at)
        if allowed:
            response = self._respond(request)
        else:
            response = error(429, "Too many requests with this API key", "rate_limit_error")
        return response._replace(headers={**headers, **response.headers}) if headers else response

    def _respond(self, request: Request) -> Response:
        def ordinary(lag: float = 0.0) -> Response:
            return self._ordinary(request, request.at - lag)

        faults = tuple(self.faults)
        if not faults:
            return ordinary()
        kind = request.endpoint, request.key, request.job_id
        self._counts[kind] += 1
        number = self._counts[kind]
        fault = next((fault for fault in faults if fault.affects(request, number)), None)
        return fault.apply(ordinary) if fault else ordinary()

    def _ordinary(self, request: Request, now: float) -> Response:
        key = request.key
        if key is None or key not in self.fleets:
            return error(401, "Invalid API key provided", "authentication_error")
        if request.endpoint == "list":
            return Response(200, b'{"data": [' + b", ".join(self._list(key, now)) + b"]}")
        plan = self._plans(key, now).get(request.job_id or "")
        if plan is None:
            return error(404, "There is nothing at this path", "not_found_error")
        if request.endpoint == "metrics":
            options = {name: int(value) for name, value in request.query.items() if value.isdecimal()}
            rows = training_rows(plan, now)
            return ok({"metrics": chosen(rows, options.get("global_step_from", 0), options.get("resolution", 1000))})
        detail = self._shape.detail(job(plan, now))
        return ok({"data": detail["events"]} if request.endpoint == "events" else detail)

    def _plans(self, key: str, now: float) -> dict[str, Plan]:
        """The plans of an account by job ID, kept for the many calls that a client makes at one time."""
        at, plans = self._newest.get(key, (None, {}))
        if at != now:
            plans = {plan.id: plan for plan in self.fleets[key].plans(now) if plan.id not in self._deleted}
            self._newest[key] = now, plans
        return plans

    def _list(self, key: str, now: float) -> list[bytes]:
        """The listed object of each job as JSON, reused for as long as nothing changes in the job."""
        before = self._listed.get(key, {})
        listed = {}
        for plan in self._plans(key, now).values():
            known = before.get(plan)
            if known is None or not known.since <= now < known.until:
                content = json.dumps(self._shape.listed(job(plan, now))).encode()
                known = _Listed(now, next_change(plan, now), content)
            listed[plan] = known
        self._listed[key] = listed
        return [known.content for known in listed.values()]

    @property
    def url(self) -> str:
        """The base URL, once started."""
        return f"http://127.0.0.1:{self._server.port}/v1"

    def start(self) -> Self:
        """Serve from now on, in threads of its own."""
        self._server = Server(self.port, self.answer)
        return self

    def stop(self) -> None:
        """Close every connection and wait for every thread to end."""
        self._server.close()

    __enter__ = start

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Listed(NamedTuple):
    """A listed job as JSON, and from when to when it is valid (unix seconds)."""

    since: float
    until: float
    content: bytes
