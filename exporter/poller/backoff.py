"""How long to wait: the next list, the next request about a job, and the budget of such requests."""

from collections import deque
from collections.abc import Container
from dataclasses import dataclass, field
from math import inf

from exporter.api import ApiError
from exporter.poller.plan import Schedule, Task
from exporter.state import Endpoint

LONGEST = 300.0
"""Seconds of the longest backoff."""

_LONGEST_LIST = 120.0  # so that an API that answers for a minute now and then is noticed
_LONGEST_ENDED = 3600.0  # for requests about a finished job, which nobody waits for
_FAILING_JOBS = 3  # so many jobs in a row make a failing endpoint
_REFUSED = (401, 403)


def exponential(first: float, failures: int, longest: float = LONGEST) -> float:
    """The wait after so many failures in a row, in seconds."""
    return min(first * 2.0 ** min(failures - 1, 30), longest)


@dataclass(slots=True)
class Backoff:
    """How long to wait after lists that failed in a row.

    A refused key is tried again at the usual interval once, in case the API was wrong, and slowly from then on.
    """

    schedule: Schedule
    _failures: int = 0
    _refusals: int = 0

    def succeeded(self) -> None:
        """Starts anew."""
        self._failures = self._refusals = 0

    def failed(self, error: ApiError | None, luck: float) -> float:
        """Seconds to the next list; `luck`, from 0 to 1, spreads the exporters of a fleet."""
        self._failures += 1
        refused = error is not None and error.status in _REFUSED
        self._refusals += refused
        backoff = exponential(self.schedule.active, self._failures, _LONGEST_LIST)
        wait = LONGEST if refused and self._refusals > 1 else backoff
        asked_for = error.retry_after if error is not None else None
        return max(wait * (0.5 + 0.5 * luck), min(asked_for or 0.0, LONGEST))


@dataclass(slots=True)
class _Attempt:
    at: float
    failures: int = 0
    done: bool = False


@dataclass(slots=True)
class Budget:
    """What limits requests about single jobs: a number per minute, pauses that the API asks for, and backoff for a job
    or an endpoint that fails. Times are unix seconds, but for `now`, which only goes forward."""

    schedule: Schedule
    _attempts: dict[tuple[Endpoint, str], _Attempt] = field(default_factory=dict)
    _sent: deque[float] = field(default_factory=deque)
    _paused: dict[Endpoint | None, float] = field(default_factory=dict)
    _failed: dict[Endpoint, set[str]] = field(default_factory=dict)
    _failures: dict[Endpoint, int] = field(default_factory=dict)

    def is_spent(self, now: float) -> bool:
        """Whether nothing may be sent now."""
        while self._sent and self._sent[0] <= now - 60:
            self._sent.popleft()
        return len(self._sent) >= self.schedule.requests_per_minute or now < self._paused.get(None, -inf)

    def allows(self, task: Task, now: float) -> bool:
        """Whether the endpoint of the task is not paused."""
        return now >= self._paused.get(task.endpoint, -inf)

    def asked(self, task: Task, at: float) -> float:
        """When a task was last attempted; infinite while it is not to be attempted, 0 if it never was."""
        attempt = self._attempts.get(task.key)
        if attempt is None:
            return 0.0
        if attempt.done:
            return inf if task.ended else 0.0
        if at < attempt.at:  # the clock was set back
            return 0.0
        longest = _LONGEST_ENDED if task.ended else LONGEST
        backoff = exponential(self.schedule.active, attempt.failures, longest) if attempt.failures else 0.0
        return inf if at < attempt.at + backoff else attempt.at

    def forget_all_but(self, job_ids: Container[str]) -> None:
        """Forgets all other jobs."""
        self._attempts = {key: attempt for key, attempt in self._attempts.items() if key[1] in job_ids}
        self._failed = {
            endpoint: {job_id for job_id in jobs if job_id in job_ids} for endpoint, jobs in self._failed.items()
        }

    def sent(self, task: Task, at: float, now: float) -> None:
        """Notes that a task was sent."""
        self._sent.append(now)
        attempt = self._attempts.setdefault(task.key, _Attempt(at))
        attempt.at, attempt.done = at, False

    def succeeded(self, task: Task, *, outdated: bool = False) -> None:
        """Notes that a task was answered. An `outdated` answer, older than the list, is asked for again later."""
        if attempt := self._attempts.get(task.key):
            attempt.failures = attempt.failures + 1 if outdated else 0
            attempt.done = task.ended and not outdated
        self._failed.pop(task.endpoint, None)
        self._failures.pop(task.endpoint, None)

    def failed(self, task: Task, error: ApiError, now: float) -> None:
        """Notes that a task failed."""
        if attempt := self._attempts.get(task.key):
            attempt.failures += 1
        if error.retry_after is not None or error.status == 429:
            self._paused[None] = now + min(error.retry_after or self.schedule.active, LONGEST)
        if error.status == 404:  # about this job, not the endpoint
            return
        jobs = self._failed.setdefault(task.endpoint, set())
        jobs.add(task.job_id)
        if len(jobs) >= _FAILING_JOBS and self.allows(task, now):  # requests sent before the pause do not prolong it
            failures = self._failures[task.endpoint] = self._failures.get(task.endpoint, 0) + 1
            self._paused[task.endpoint] = now + exponential(self.schedule.active, failures)
