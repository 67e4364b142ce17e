"""Requests and responses, faults and the rate limit, without HTTP."""

import json
import math
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Literal, NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit

from exporter.simulator.plan import draws

Endpoint = Literal["list", "retrieve", "events", "metrics"]
MINUTE = 60.0


@dataclass(frozen=True)
class Request:
    """A request: `endpoint` is None if the path is unknown, `key` None if there was none.

    `job_id` comes from the path, `query` has the options after it, `at` is the simulator's time (unix seconds).
    """

    endpoint: Endpoint | None
    job_id: str | None
    key: str | None
    query: Mapping[str, str]
    at: float

    @classmethod
    def parse(cls, target: str, authorization: str | None, at: float) -> Self:
        """The request for `target` (path and query) with that Authorization header."""
        url = urlsplit(target)
        endpoint, job_id = _route(url.path)
        scheme, _, key = (authorization or "").partition(" ")
        return cls(endpoint, job_id, key if scheme == "Bearer" else None, dict(parse_qsl(url.query)), at)


def _route(path: str) -> tuple[Endpoint | None, str | None]:
    match path.split("/"):
        case ["", "v1", "fine-tunes"]:
            return "list", None
        case ["", "v1", "fine-tunes", job_id]:
            return "retrieve", job_id
        case ["", "v1", "fine-tunes", job_id, "events"]:
            return "events", job_id
        case ["", "v1", "fine-tunes", job_id, "metrics"]:
            return "metrics", job_id
    return None, None


class Response(NamedTuple):
    """A status, the bytes of a body, headers (in lower case) in addition to the standard ones, and a delay in seconds.

    The delay is what passes before the response is sent.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = {}
    delay: float = 0.0


def ok(body: object) -> Response:
    """A response 200 with `body` as JSON."""
    return Response(200, json.dumps(body).encode())


def error(status: int, message: str, kind: str = "invalid_request_error") -> Response:
    """A response with the API's error body."""
    content = {"message": message, "type": kind, "param": None, "code": None}
    return Response(status, json.dumps({"error": content}).encode())


def edit(change: Callable[[Any], Any]) -> Callable[[Response], Response]:
    """A change of a response as a change of its JSON: `edit(lambda body: {"data": body["data"][::2]})`."""
    return lambda response: response._replace(body=json.dumps(change(json.loads(response.body))).encode())


@dataclass(frozen=True)
class Fault:
    """What goes wrong at an endpoint: which requests it affects, and what becomes of the response.

    It affects the requests for `job_id` and with `key`, where given; of those, each job's and key's counted on their
    own, every `every`th, with a `probability`, drawn by `seed`.

    The response is sent after `latency` seconds. It shows what was true `lag` seconds ago, or is `status` with `body`
    (by default the API's error body) and `headers`. Then `change` is applied to it.
    """

    endpoint: Endpoint
    status: int | None = None
    latency: float = 0.0
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    job_id: str | None = None
    key: str | None = None
    lag: float = 0.0
    change: Callable[[Response], Response] | None = None
    every: int = 1
    probability: float = 1.0
    seed: int = 0

    def affects(self, request: Request, number: int) -> bool:
        """Whether the fault affects a request, the `number`th (from 1 on) of its kind."""
        return (
            self.endpoint == request.endpoint
            and self.job_id in (None, request.job_id)
            and self.key in (None, request.key)
            and number % self.every == 0
            and (self.probability >= 1 or self._draw(request, number) < self.probability)
        )

    def _draw(self, request: Request, number: int) -> float:
        return draws(self.seed, self.endpoint, request.key, request.job_id, number).random()

    def apply(self, respond: Callable[[float], Response]) -> Response:
        """The response, given how the API responds with what was true so many seconds ago."""
        if self.status is None:
            response = respond(self.lag)
        else:
            kind = "server_error" if self.status >= 500 else "invalid_request_error"
            response = error(self.status, f"A fault with status {self.status}", kind)
            headers = {name.lower(): value for name, value in self.headers.items()}
            response = response._replace(body=response.body if self.body is None else self.body, headers=headers)
        response = self.change(response) if self.change else response
        return response._replace(delay=response.delay + self.latency)


class Budget:
    """At most `limit` requests with each key within any minute; None is no limit. A refused request costs nothing."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._requests: defaultdict[str | None, deque[float]] = defaultdict(deque)
        self._lock = Lock()

    def take(self, key: str | None, now: float) -> tuple[bool, dict[str, str]]:
        """Whether a request with `key` at `now` (seconds) is allowed, and the rate limit headers of its response."""
        if self._limit is None:
            return True, {}
        with self._lock:
            recent = self._requests[key]
            while recent and now - recent[0] >= MINUTE:
                recent.popleft()
            allowed = len(recent) < self._limit
            if allowed:
                recent.append(now)
            oldest, remaining = recent[0] if recent else now, self._limit - len(recent)
        reset = str(math.ceil(MINUTE - (now - oldest)))  # whole seconds until `remaining` rises
        headers = {
            "x-ratelimit-limit": str(self._limit),
            "x-ratelimit-remaining": str(remaining),
            "x-ratelimit-reset": reset,
        }
        return allowed, headers if allowed else headers | {"retry-after": reset}
