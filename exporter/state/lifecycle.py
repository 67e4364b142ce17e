"""What the exporter observed of jobs since it started: counters and histograms, each start and end once.

A start or an end is observed if the job was seen before it, or if it lies between the list that first had the job and
the list before that. So whatever happened before the exporter started does not count, and neither does a job that is
deleted and reappears.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate

from exporter.state.job import JobState
from exporter.statuses import STATUSES

_MINUTE, _HOUR = 60.0, 3600.0
QUEUE_SECONDS = (_MINUTE, 5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR, 24 * _HOUR)
RUN_SECONDS = (5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR, 24 * _HOUR, 72 * _HOUR)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Observations counted in buckets: `counts` has one more entry than `bounds`, for values above them all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float = 0.0

    @classmethod
    def empty(cls, *bounds: float) -> "Histogram":
        """A histogram with these upper bounds, ascending, without observations."""
        return cls(bounds, (0,) * (len(bounds) + 1))

    def observe(self, value: float) -> "Histogram":
        """A histogram with one more observation."""
        bucket = bisect_left(self.bounds, value)
        counts = tuple(count + (i == bucket) for i, count in enumerate(self.counts))
        return replace(self, counts=counts, sum=self.sum + value)

    @property
    def cumulative(self) -> tuple[int, ...]:
        """The counts as Prometheus has them, each including those of the smaller buckets; the last is the total."""
        return tuple(accumulate(self.counts))


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Jobs observed to finish, by status; how long jobs waited and, by their last status, ran (seconds)."""

    finished: Mapping[str, int] = field(
        default_factory=lambda: {name: 0 for name, status in STATUSES.items() if status.ended}
    )
    queued: Histogram = field(default_factory=lambda: Histogram.empty(*QUEUE_SECONDS))
    ran: Mapping[str, Histogram] = field(default_factory=dict)

    def counting(self, state: JobState) -> tuple["Lifecycle", JobState]:
        """With what was observed of a job and not counted yet; the job as counted."""
        counted, status, run = set(state.counted), state.job.status.name, f"run {state.job.status.name}"
        after = self
        if _saw_start(state) and "start" not in counted:
            counted.add("start")
            after = replace(after, queued=after.queued.observe(_seconds(state.job.created, state.run_started)))
        if _saw_end(state):
            if status not in counted:
                counted.add(status)
                after = replace(after, finished={**after.finished, status: after.finished[status] + 1})
            if state.run_started and state.finished and run not in counted:
                counted.add(run)
                histogram = after.ran.get(status) or Histogram.empty(*RUN_SECONDS)
                ran = histogram.observe(_seconds(state.run_started, state.finished))
                after = replace(after, ran={**after.ran, status: ran})
        return (self, state) if after is self else (after, replace(state, counted=frozenset(counted)))


def _saw_start(state: JobState) -> bool:
    if state.run_started is None or state.job.created is None:
        return False
    return state.first_status.waiting or state.is_new(state.run_started)


def _saw_end(state: JobState) -> bool:
    return state.job.status.ended and (not state.first_status.ended or state.is_new(state.finished))


def _seconds(start: float | None, end: float | None) -> float:
    return max((end or 0.0) - (start or 0.0), 0.0)
