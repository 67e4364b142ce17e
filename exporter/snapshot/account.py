"""The state of an account: its jobs as the last good poll found them, and how its polls went."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from exporter.snapshot.job import JobState
from exporter.snapshot.lifecycle import Histogram, Lifecycle
from exporter.statuses import STATUSES

CALL_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
STUCK_AFTER = {name: status.stuck_after for name, status in STATUSES.items() if status.stuck_after is not None}
"""Seconds without a sign of life after which a job counts as stuck, by status."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which jobs have series of their own: those that ended at most `retention` (seconds) ago, and of these `limit` at
    the most."""

    retention: float = 7 * 86400.0
    limit: int = 5000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The jobs of an account as a poll found them at `at` (unix seconds), by id; `shown` have series of their own,
    `unexported` counts the others by the reason."""

    at: float
    jobs: Mapping[str, JobState]
    shown: tuple[JobState, ...]
    unexported: Mapping[str, int]

    @property
    def active(self) -> bool:
        """Whether any job has not ended yet."""
        return any(not state.job.terminal for state in self.jobs.values())


def take(states: Iterable[JobState], at: float, selection: Selection) -> Snapshot:
    """The snapshot of all jobs at `at`."""
    jobs = {state.job.id: state for state in states}
    kept = [state for state in jobs.values() if not _too_old(state, at - selection.retention)]
    shown = kept
    if len(kept) > selection.limit:
        shown = sorted(kept, key=lambda state: (state.job.terminal, -(state.job.created or 0)))[: selection.limit]
    unexported = {"retention": len(jobs) - len(kept), "limit": len(kept) - len(shown)}
    return Snapshot(at, MappingProxyType(jobs), tuple(shown), unexported)


def _too_old(state: JobState, limit: float) -> bool:
    return state.finished is not None and state.finished < limit


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the API: its endpoint, the HTTP status or the reason of its failure, how long it took (seconds)."""

    endpoint: str
    code: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Polls:
    """What the polls of an account were like, up to now. Times are unix seconds, durations seconds."""

    up: bool | None = None
    trouble: str | None = None
    """Why the last poll failed: the HTTP status, or the reason as in `Call`."""
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
class Terms:
    """What the user laid down for an account, for alerts to compare with."""

    budget_usd: float | None = None
    """Budget of a calendar month in US dollars."""
    stuck_after: Mapping[str, float] = field(default_factory=lambda: STUCK_AFTER)
    """Seconds without a sign of life after which a job counts as stuck, by status."""
    failure_window: float = 6 * 3600.0
    """Seconds after its end for which a job that failed is worth an alert."""
    failure_limit: float = 0.5
    """Part of the jobs that may fail, 0 to 1."""


@dataclass(frozen=True, slots=True)
class AccountState:
    """An account: its terms, how its polls went, the newest good snapshot, what was seen to happen."""

    terms: Terms = field(default_factory=Terms)
    polls: Polls = field(default_factory=Polls)
    snapshot: Snapshot | None = None
    lifecycle: Lifecycle | None = None

    def showing(self, snapshot: Snapshot, changed: Iterable[JobState]) -> "AccountState":
        """The same with a newer snapshot, and with what the jobs that changed in it tell of starts and ends."""
        lifecycle = (self.lifecycle or Lifecycle(snapshot.at)).noting(changed)
        return replace(self, snapshot=snapshot, lifecycle=lifecycle)
