"""The state of one job, and the rules of its times.

The API's own times come first. Where it has none, what the exporter saw change stands in:

- *Sign of life*: the newest of the API's times (of the job, its events, its training rows) and of the moments at which
  a counter that has no time of its own (queue place; steps, epochs, evaluations) was first seen or seen to change.
  "First seen" is what makes a restart harmless: what such a counter did before is not known any more, and taking it
  for a standstill would wake somebody. A job that stands still is so told late by one threshold at most, after a
  restart only. As long as counters are still to come from the detail call, there is no sign of life at all, rather
  than one that looks old.
- *Since when in its status*: the API's time for it, else `updated_at` as it was when the status was first seen, which
  is the change or later. It stays as long as the status does.
- *End*: the time of the event that ended the job, else `updated_at` as it was when the end was first seen: what is
  changed in a finished job later does not move its end.

Times further ahead than `SKEW` are slips and count for nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from exporter.models import WAITING, Job, JobFields, TrainingPoint
from exporter.snapshot.merge import merge

SKEW = 300.0
"""Seconds by which the API's clock may be ahead of ours."""

Met = Literal["waiting", "running", "ended"]

_BEGINS = {
    "running": ("job_start",),
    "compressing": ("model_compressing",),
    "uploading": ("model_uploading",),
    "cancel_requested": ("cancel_requested",),
}
_STAGES = ("running", "compressing", "uploading")  # those that `started_at` tells of
_ENDS = ("job_complete", "job_error", "job_user_error", "job_stopped")


@dataclass(frozen=True, slots=True)
class Training:
    """The newest value of each name of the training rows, with the newest step and its time (unix seconds)."""

    step: int
    time: float | None
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class JobState:
    """A job, and what is known of it beyond the last answer. Times are unix seconds."""

    job: Job
    met: Met
    """As what it was first seen."""
    met_at: float
    listed_whole: bool
    """Whether the list itself has all that the detail call has."""
    detailed: bool = False
    """Whether a detail call was answered."""
    final: bool = False
    """Whether one was answered after the job's end."""
    moved: float | None = None
    """When a counter without a time of its own was last seen to change."""
    last_progress: float | None = None
    status_since: float | None = None
    run_started: float | None = None
    finished: float | None = None
    estimated_completion: float | None = None
    training: Training | None = None

    @property
    def fields(self) -> JobFields:
        """The job's fields, merged of all answers."""
        return self.job.fields

    @property
    def waiting(self) -> bool:
        """Whether the job waits for its start."""
        return self.job.status in WAITING

    @property
    def progress(self) -> float | None:
        """The part of the training that is done, 0 to 1: by steps, else by epochs."""
        fields = self.fields
        steps = (fields.get("steps_completed"), fields.get("total_steps"))
        epochs = (fields.get("epochs_completed"), fields.get("n_epochs"))
        parts = (min(done / planned, 1.0) for done, planned in (steps, epochs) if done is not None and planned)
        return next(parts, None)


def listed(fields: JobFields, at: float, before: JobState | None, *, details: bool) -> JobState:
    """The state of a job that the list has as `fields`; `details` says whether detail calls fill what it lacks."""
    whole = _is_whole(fields)
    if before is None:
        job = Job(fields)
        met: Met = "ended" if job.terminal else "waiting" if job.status in WAITING else "running"
        return _timed(JobState(job, met, at, whole), at, None, complete=whole or not details)
    fields = merge(before.fields, fields)
    if before.job.terminal and fields == before.fields:
        return before  # most jobs of most accounts ended long ago
    state = replace(before, job=Job(fields), listed_whole=whole)
    return _timed(state, at, before, complete=whole or not details or before.detailed)


def detailed(state: JobState, fields: JobFields, at: float) -> JobState:
    """The state after a detail call was answered with `fields`."""
    job = Job(merge(state.fields, fields))
    after = replace(state, job=job, detailed=True, final=state.final or job.terminal)
    return _timed(after, at, state, complete=True)


def trained(state: JobState, points: tuple[TrainingPoint, ...], at: float) -> JobState:
    """The state after new training rows came in."""
    training = state.training or Training(0, None, MappingProxyType({}))
    values = dict(training.values)
    for point in points:
        values |= point.values
    last = max(points, key=lambda point: (point.step or 0, point.time or 0), default=None)
    if last is None:
        return state
    training = Training(last.step or training.step, last.time or training.time, MappingProxyType(values))
    return _timed(replace(state, training=training), at, state, complete=state.last_progress is not None)


def _is_whole(fields: JobFields) -> bool:
    return bool(fields.get("events")) and all(
        name in fields for name in ("epochs_completed", "queue_depth", "param_count")
    )


def _timed(state: JobState, at: float, before: JobState | None, *, complete: bool) -> JobState:
    """`state` with its times as of `at`; the very object `before` where nothing changed."""
    job = state.job
    same = before if before is not None and before.job.status == job.status else None
    counters = _counters(job)
    moves = counters != (_counters(before.job) if before else ()) and any(counter is not None for counter in counters)
    moved = at if moves else state.moved
    finished = _finished(job, same, at)
    progress = max((*_times(state, at), moved or 0.0, state.last_progress or 0.0))
    after = replace(
        state,
        moved=moved,
        last_progress=progress or None if complete else None,
        status_since=finished if job.terminal else _began(job, at) or _first_seen(same, job, at),
        run_started=_run_started(state, at),
        finished=finished,
        estimated_completion=_completion(job, at),
    )
    return before if after == before and before is not None else after


def _counters(job: Job) -> tuple[int | None, ...]:
    """What changes without the API giving a time for it."""
    if job.status in WAITING:
        return (job.fields.get("queue_depth"),)
    if job.status == "running":
        fields = job.fields
        return fields.get("steps_completed"), fields.get("epochs_completed"), fields.get("evals_completed")
    return ()


def _times(state: JobState, at: float) -> Iterator[float]:
    job, training = state.job, state.training
    times = (job.created, job.updated, job.started, training.time if training else None)
    return (sound for time in (*times, *(event.time for event in job.events)) if (sound := _sound(time, at)))


def _sound(time: float | None, at: float) -> float | None:
    return time if time is not None and time <= at + SKEW else None


def _event_times(job: Job, at: float, types: tuple[str, ...]) -> list[float]:
    return [time for event in job.events if event.type in types and (time := _sound(event.time, at))]


def _began(job: Job, at: float) -> float | None:
    """When the status began, as the API tells it."""
    if job.status == "pending":
        return _sound(job.created, at)
    started = _sound(job.started, at) if job.status in _STAGES else None
    return started or max(_event_times(job, at, _BEGINS.get(job.status, ())), default=None)


def _first_seen(same: JobState | None, job: Job, at: float) -> float | None:
    return same.status_since if same else _sound(job.updated, at)


def _run_started(state: JobState, at: float) -> float | None:
    begins = _event_times(state.job, at, _BEGINS["running"])
    running = state.job.status == "running"
    return min(begins, default=state.run_started or (_sound(state.job.started, at) if running else None))


def _finished(job: Job, same: JobState | None, at: float) -> float | None:
    if not job.terminal:
        return None
    return max(_event_times(job, at, _ENDS), default=same.finished if same else _sound(job.updated, at))


def _completion(job: Job, at: float) -> float | None:
    """The end of the current stage, as the API estimates it; a stage that begins in the future is a slip."""
    if job.terminal or job.started is None or job.started > at or job.stage_seconds is None:
        return None
    return job.started + job.stage_seconds
