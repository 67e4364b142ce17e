"""What comes in and what goes out, without HTTP: requests, answers, the faults of an API and its rate limit."""

import json
import math
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal, NamedTuple, Self
from urllib.parse import parse_qsl, urlsplit

Endpoint = Literal["list", "retrieve", "events", "metrics"]
MINUTE = 60.0


@dataclass(frozen=True)
class Request:
    """What a client asked: `endpoint` is None where there is nothing, `key` None where it sent none.

    `job_id` is that of the path, `query` the options behind it, `at` the simulator's time (unix seconds).
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
        endpoint, job_id = _place(url.path)
        scheme, _, key = (authorization or "").partition(" ")
        return cls(endpoint, job_id, key if scheme == "Bearer" else None, dict(parse_qsl(url.query)), at)


def _place(path: str) -> tuple[Endpoint | None, str | None]:
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


class Answer(NamedTuple):
    """A status, the bytes of a body, and headers (in lower case) besides those that every answer has."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}


def good(body: object) -> Answer:
    """The answer 200 with `body` as JSON."""
    return Answer(200, json.dumps(body).encode())


def bad(status: int, message: str, kind: str = "invalid_request_error") -> Answer:
    """An answer with the API's error body."""
    error = {"message": message, "type": kind, "param": None, "code": None}
    return Answer(status, json.dumps({"error": error}).encode())


@dataclass(frozen=True)
class Fault:
    """What goes wrong at an endpoint, for one job or key where given: an answer late by `latency` seconds.

    With a `status` it is that status with `headers` and `body` (by default the API's error body), else the ordinary
    answer.
    """

    endpoint: Endpoint
    status: int | None = None
    latency: float = 0.0
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    job_id: str | None = None
    key: str | None = None

    def strikes(self, request: Request) -> bool:
        """Whether the request is one of those that meet this fault."""
        return (
            self.endpoint == request.endpoint
            and self.job_id in (None, request.job_id)
            and self.key in (None, request.key)
        )

    def answer(self) -> Answer | None:
        """What is answered instead of the ordinary; None where nothing is."""
        if self.status is None:
            return None
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        plain = bad(self.status, f"A fault with status {self.status}", kind)
        headers = {name.lower(): value for name, value in self.headers.items()}
        return Answer(self.status, plain.body if self.body is None else self.body, headers)


class Budget:
    """At most `limit` calls of each key within any minute; None is no limit. A call that is refused costs nothing."""

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._calls: defaultdict[str | None, deque[float]] = defaultdict(deque)
        self._lock = Lock()

    def take(self, key: str | None, now: float) -> tuple[bool, dict[str, str]]:
        """Whether a call with `key` at `now` (seconds) is allowed, and the headers that tell of the budget."""
        if self._limit is None:
            return True, {}
        with self._lock:
            calls = self._calls[key]
            while calls and now - calls[0] >= MINUTE:
                calls.popleft()
            allowed = len(calls) < self._limit
            if allowed:
                calls.append(now)
            oldest, remaining = calls[0] if calls else now, self._limit - len(calls)
        reset = str(math.ceil(MINUTE - (now - oldest)))  # whole seconds until `remaining` rises
        headers = {
            "x-ratelimit-limit": str(self._limit),
            "x-ratelimit-remaining": str(remaining),
            "x-ratelimit-reset": reset,
        }
        return allowed, headers if allowed else headers | {"retry-after": reset}
