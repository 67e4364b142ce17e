"""What the exporter saw happen to jobs since it started: counters and histograms, each job once.

A job counts when it is seen to start or to end: it was first seen before that, or the moment itself lies after the
first good poll. So whatever had happened before the exporter came does not count, a deleted job takes nothing away,
and one that vanishes and reappears does not count twice.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Literal

from exporter.models import TERMINAL
from exporter.snapshot.job import JobState

_MINUTE, _HOUR = 60.0, 3600.0
QUEUE_SECONDS = (_MINUTE, 5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR, 24 * _HOUR)
RUN_SECONDS = (5 * _MINUTE, 15 * _MINUTE, 30 * _MINUTE, _HOUR, 2 * _HOUR, 4 * _HOUR, 8 * _HOUR, 24 * _HOUR, 72 * _HOUR)


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


_What = Literal["start", "end", "run"]


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """Jobs seen to end, by status; how long jobs were seen to wait and, by their last status, to run (seconds)."""

    since: float
    """When the first good poll was (unix seconds)."""
    finished: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(TERMINAL, 0))
    queued: Histogram = field(default_factory=lambda: Histogram.empty(*QUEUE_SECONDS))
    ran: Mapping[str, Histogram] = field(default_factory=dict)
    counted: frozenset[tuple[str, _What]] = frozenset()

    def noting(self, states: Iterable[JobState]) -> "Lifecycle":
        """The same, with what these states tell that was not counted yet."""
        finished, queued, ran, counted = dict(self.finished), self.queued, dict(self.ran), set(self.counted)
        for state in states:
            job, job_id = state.job, state.job.id
            if self._saw_start(state) and (job_id, "start") not in counted:
                counted.add((job_id, "start"))
                queued = queued.observe(max((state.run_started or 0.0) - (job.created or 0.0), 0.0))
            if not self._saw_end(state):
                continue
            if (job_id, "end") not in counted:
                counted.add((job_id, "end"))
                finished[job.status] += 1
            if state.run_started and state.finished and (job_id, "run") not in counted:
                counted.add((job_id, "run"))
                histogram = ran.get(job.status) or Histogram.empty(*RUN_SECONDS)
                ran[job.status] = histogram.observe(max(state.finished - state.run_started, 0.0))
        if len(counted) == len(self.counted):
            return self
        return replace(self, finished=finished, queued=queued, ran=ran, counted=frozenset(counted))

    def _saw_start(self, state: JobState) -> bool:
        if state.run_started is None or state.job.created is None:
            return False
        return state.met == "waiting" or self._happened_since(state.run_started, state)

    def _saw_end(self, state: JobState) -> bool:
        return state.job.terminal and (state.met != "ended" or self._happened_since(state.finished, state))

    def _happened_since(self, time: float | None, state: JobState) -> bool:
        return state.met_at > self.since and (time or 0.0) >= self.since
