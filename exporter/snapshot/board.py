"""The state of the accounts: frozen values, and the board where the newest of each hangs."""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from types import MappingProxyType

from exporter.models import WAITING, Job, JobFields


@dataclass(frozen=True, slots=True)
class JobState:
    """A job, and what is known of it at the time of a poll beyond its fields. Times are unix seconds."""

    job: Job
    estimated_completion: float | None

    @property
    def fields(self) -> JobFields:
        """The job's fields as the API gave them."""
        return self.job.fields

    @property
    def waiting(self) -> bool:
        """Whether the job waits for its start."""
        return self.job.status in WAITING

    @property
    def finished(self) -> float | None:
        """When the job ended: its last change (`updated_at`), as nothing happens to it afterwards."""
        return self.job.updated if self.job.terminal else None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The jobs of an account as a poll found them at `at` (unix seconds)."""

    at: float
    jobs: tuple[JobState, ...]

    @property
    def active(self) -> bool:
        """Whether any job has not ended yet."""
        return any(not state.job.terminal for state in self.jobs)


def take(jobs: Iterable[Job], at: float, before: Snapshot | None = None) -> Snapshot:
    """The snapshot of `jobs` at `at`. What did not change is the very object of `before`: the text that was made of
    it can be used again."""
    known = {state.job.id: state for state in before.jobs} if before else {}
    return Snapshot(at, tuple(_same_or_new(JobState(job, _completion(job, at)), known.get(job.id)) for job in jobs))


def _same_or_new(state: JobState, old: JobState | None) -> JobState:
    return old if old is not None and old == state else state


def _completion(job: Job, at: float) -> float | None:
    """The end of the current stage, as the API estimates it; a stage that begins in the future is a slip."""
    if job.terminal or job.started is None or job.started > at or job.stage_seconds is None:
        return None
    return job.started + job.stage_seconds


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations counted in buckets: `counts` has one more entry than `bounds`, for what lies above them all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float = 0.0

    @classmethod
    def empty(cls, *bounds: float) -> "Histogram":
        """A histogram with these upper bounds, ascending, and nothing observed."""
        return cls(bounds, (0,) * (len(bounds) + 1))

    def observe(self, value: float) -> "Histogram":
        """A histogram with one observation more."""
        bucket = bisect_left(self.bounds, value)
        counts = tuple(count + (i == bucket) for i, count in enumerate(self.counts))
        return replace(self, counts=counts, sum=self.sum + value)

    @property
    def cumulative(self) -> tuple[int, ...]:
        """The counts as Prometheus has them, each with those of the smaller buckets; the last is the total."""
        return tuple(accumulate(self.counts))


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the API: its endpoint, the HTTP status or the reason of its failure, how long it took (seconds)."""

    endpoint: str
    code: str
    seconds: float


CALL_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


@dataclass(frozen=True, slots=True)
class Polls:
    """What the polls of an account were like, up to now. Times are unix seconds, durations seconds."""

    up: bool | None = None
    last: float | None = None
    last_good: float | None = None
    duration: float | None = None
    interval: float | None = None
    rate_limit_remaining: float | None = None
    rejected: Mapping[str, int] = field(default_factory=dict)
    unknown_values: Mapping[str, int] = field(default_factory=dict)
    requests: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    request_seconds: Mapping[str, Histogram] = field(default_factory=dict)

    def counting(self, call: Call) -> "Polls":
        """The same with one call more."""
        key = (call.endpoint, call.code)
        seconds = self.request_seconds.get(call.endpoint) or Histogram.empty(*CALL_SECONDS)
        return replace(
            self,
            requests={**self.requests, key: self.requests.get(key, 0) + 1},
            request_seconds={**self.request_seconds, call.endpoint: seconds.observe(call.seconds)},
        )


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account: how its polls went, and the newest good snapshot."""

    polls: Polls = field(default_factory=Polls)
    snapshot: Snapshot | None = None


@dataclass(frozen=True, slots=True)
class Exporter:
    """What this process is: its version, the revision that it was built from, the Python that runs it."""

    version: str
    revision: str
    python_version: str


@dataclass(frozen=True, slots=True)
class State:
    """All there is to show at a moment: the exporter itself, and its accounts by name."""

    exporter: Exporter
    accounts: Mapping[str, AccountState]

    def fresh(self, now: float, max_staleness: float) -> dict[str, Snapshot]:
        """The snapshots by account, without those that are older than `max_staleness` (seconds) at `now`."""
        snapshots = {name: account.snapshot for name, account in self.accounts.items() if account.snapshot}
        return {name: snapshot for name, snapshot in snapshots.items() if now - snapshot.at <= max_staleness}


class Board:
    """Where the newest state hangs: the one thing that changes in time. Safe between threads."""

    def __init__(self, exporter: Exporter, accounts: Iterable[str]) -> None:
        self._lock = threading.Lock()
        self._state = State(exporter, MappingProxyType({name: AccountState() for name in accounts}))

    def read(self) -> State:
        """Everything as it is now; what is returned never changes."""
        return self._state

    def publish(self, account: str, state: AccountState) -> None:
        """Puts the new state of an account in the place of its old one."""
        with self._lock:
            accounts = MappingProxyType({**self._state.accounts, account: state})
            self._state = replace(self._state, accounts=accounts)
