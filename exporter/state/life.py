"""Signs of life of a job in its current status.

- A sign of life is a time of the API (start of the stage, events, training rows), an observed change of status, or a
  new extreme of a counter: a higher step, epoch or evaluation, a lower place in the queue. A time in the future counts
  as the moment at which it was first received. `updated_at` is no sign of life.
- A new status, a restart event, or a counter that moves more than one against its extreme starts the count again. A
  move of one back is nothing: two caches that disagree.
- The first observed value of a counter counts as a sign of life too, unless the age of the job's last progress is
  known: from its training rows, from the start of the status while all counters are zero, or because that start was
  observed. So a restart of the exporter makes nothing look old that is not. Nor are counters signs of life if their
  step is that of a training row which is newer than the last answer without it: the row tells when it was.
- A gap without signs of life counts as far as answers showed it: an outage of the API is no gap.
- An estimate counts as first given at or after the last sign of life: one that moves with the clock proves nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from exporter.models import Job, TrainingPoint

_COUNTERS = ("steps_completed", "epochs_completed", "evals_completed")
_DAY = 86400.0  # no clock is further ahead than that
_UNSEEN = 1800.0  # seconds between answers after which nobody can tell when a step moved
_AGE = 10 * 365 * _DAY  # no job is older: an earlier time is a sentinel, or in another unit


@dataclass(frozen=True, slots=True)
class Life:
    """Signs of life in one status. Times are unix seconds, durations seconds."""

    since: float | None
    """When the count started, if that was observed: with the status, or with a job that went back."""
    last: float | None = None
    """The newest sign of life, but for `first_sight`."""
    first_sight: float | None = None
    """When a value whose age is unknown was first received."""
    start: float | None = None
    """The start of the status according to the API."""
    longest_gap: float = 0.0
    moves: int = 0
    """Observed moves of a step or a training row; a step and its row are one move."""
    extremes: Mapping[str, int] = field(default_factory=dict)
    newest_time: float = 0.0
    """The newest time that the API sent, even if it was in the future."""
    newest_row: float | None = None
    """The newest time of a training row, even if it was in the future."""
    row_step: int = -1
    """The newest step of a training row that has a time."""
    restarts: int | None = None
    estimate: float | None = None
    """Estimated end of the stage."""
    stage_seconds: float = 0.0
    """Estimated length of the stage."""

    @property
    def observed(self) -> bool:
        """Whether the start of the count was observed."""
        return self.since is not None

    @property
    def progress(self) -> float | None:
        """The newest sign of life; `None` while there is none."""
        began = self.start is not None and not any(self.extremes.values())
        aged = self.newest_row is not None or self.observed or began
        signs = (self.last, None if aged else self.first_sight)
        return max((sign for sign in signs if sign is not None), default=None)

    def after(self, job: Job, at: float, last_answer: float | None = None) -> "Life":
        """After an answer, received at `at`, that left the job as `job`; the one before that had its counters and
        events was received at `last_answer`."""
        restarts = job.events.types.get("job_restarted", 0) if job.events else self.restarts
        values = dict(_counters(job))
        restarted = restarts is not None and self.restarts is not None and restarts > self.restarts
        if restarted or any(_went_back(name, self.extremes.get(name), value) for name, value in values.items()):
            life = Life(at, last=at, start=self.start, extremes=values, restarts=restarts)
            known = max(self.newest_time, _newest_time(job, at) or 0.0)
            return replace(life, newest_time=known)._with_estimate(job, at)
        life = self if restarts == self.restarts else replace(self, restarts=restarts)
        start = _start(job, at)
        if start != life.start:
            life = replace(life, start=start)
        newest = _newest_time(job, at)
        if newest is not None and newest > life.newest_time:
            life = replace(life._sign(min(newest, at), last_answer), newest_time=newest)
        return life._with_counters(values, at, last_answer)._with_estimate(job, at)

    def after_rows(self, rows: Sequence[TrainingPoint], job: Job, at: float, *, advanced: bool) -> "Life":
        """After training rows of `job` were received at `at`; `advanced` tells whether they brought a new step, which
        is a sign of life where they have no times."""
        dated = {time: row.step for row in rows if (time := _plausible(row.time, at)) is not None}
        if not dated:
            return replace(self._sign(at, at), moves=self.moves + 1)._with_estimate(job, at) if advanced else self
        known = self.since or 0.0 if self.newest_row is None else self.newest_row
        new = sorted(time for time in dated if time > known)
        if not new:
            return self
        gaps = [later - earlier for earlier, later in pairwise(new if self.newest_row is None else (known, *new))]
        steps = [dated[time] for time in new]
        done = self.extremes.get("steps_completed", -1)
        if self.newest_row is None and not self.observed:
            moves = len(gaps)
        else:
            moves = sum(step is None or step > done for step in steps)
        life = replace(
            self,
            newest_row=new[-1],
            row_step=max(self.row_step, *(step for step in steps if step is not None), -1),
            moves=self.moves + moves,
            longest_gap=max((self.longest_gap, *gaps)),
        )
        if life.last is None or new[-1] > life.last:
            life = replace(life, last=min(new[-1], at), estimate=None)
        return life._with_estimate(job, at)

    def _sign(self, time: float, last_answer: float | None) -> "Life":
        """After a sign of life at `time`; the answer before was received at `last_answer`."""
        if self.last is not None and time <= self.last:
            return self
        gap = min(time, last_answer or 0.0) - (self.progress or time)
        return replace(self, last=time, longest_gap=max(self.longest_gap, gap), estimate=None)

    def _with_counters(self, values: Mapping[str, int], at: float, last_answer: float | None) -> "Life":
        better = {name: value for name, value in values.items() if _is_better(name, self.extremes.get(name), value)}
        if not better:
            return self
        life = replace(self, extremes={**self.extremes, **better})
        step, row = values.get("steps_completed", -1), self.newest_row or 0.0
        if 0 <= step <= self.row_step and (last_answer or 0.0) < row:
            return life  # what moved since the last answer may have moved before that row
        # In a status that was observed from its start, a first value other than zero may be a move.
        new = {name for name, value in better.items() if name in self.extremes or (self.observed and value > 0)}
        if new:
            timed = last_answer is None or at - last_answer <= _UNSEEN
            moved = timed and "steps_completed" in new and step > self.row_step
            life = replace(life._sign(at, last_answer), moves=life.moves + moved)
        elif not self.observed:
            life = replace(life, first_sight=at)
        return life

    def _with_estimate(self, job: Job, at: float) -> "Life":
        end = estimated_end(job, at)
        if self.estimate is not None or end is None or end <= at:
            return self
        return replace(self, estimate=end, stage_seconds=job.stage_seconds or 0.0)


def begin(job: Job, at: float, *, observed: bool) -> Life:
    """The signs of life of a job that was received with a new status at `at`; `observed` tells whether another status
    of it was known before."""
    life = Life(at, last=at) if observed else Life(None, first_sight=at)
    return life.after(job, at)


def estimated_end(job: Job, at: float) -> float | None:
    """The end of the current stage as the API estimates it (unix seconds); a stage that starts in the future has
    none."""
    if job.status.ended or job.started is None or job.started > at or job.stage_seconds is None:
        return None
    return job.started + job.stage_seconds


def _start(job: Job, at: float) -> float | None:
    """The start of the status according to the API."""
    if job.status.name == "pending":
        return _plausible(job.created, at)
    last = job.events.last if job.events else {}
    of_stage = job.started if job.status.phase in ("running", "finishing") else None
    times = [_plausible(time, at) for time in (of_stage, *map(last.get, job.status.starts_with))]
    return next((time for time in times if time is not None), None)


def _newest_time(job: Job, at: float) -> float | None:
    return max(filter(None, (_plausible(time, at) for time in _times(job, at))), default=None)


def _times(job: Job, at: float) -> Iterator[float | None]:
    yield _start(job, at)
    if job.events:
        yield from job.events.last.values()


def _plausible(time: float | None, at: float) -> float | None:
    return time if time is not None and time > 0 and at - _AGE <= time <= at + _DAY else None


def _counters(job: Job) -> Iterator[tuple[str, int]]:
    """The counters that move in the status of the job."""
    names = ("queue_depth",) if job.status.waiting else _COUNTERS if job.status.phase == "running" else ()
    for name in names:
        value: int | None = job.fields.get(name)  # type: ignore[assignment]  # the names are those of counts
        if value is not None:
            yield name, value


def _is_better(name: str, extreme: int | None, value: int) -> bool:
    return extreme is None or (value < extreme if name == "queue_depth" else value > extreme)


def _went_back(name: str, extreme: int | None, value: int) -> bool:
    return extreme is not None and (value > extreme + 1 if name == "queue_depth" else value < extreme - 1)
