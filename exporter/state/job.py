"""The state of one job: what is known of it beyond the last answer. Times are unix seconds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from exporter.models import Events, Job, JobFields, TrainingPoint
from exporter.state.life import Life, begin, estimated_end
from exporter.state.merge import loses, merge, usable
from exporter.statuses import Status

MAX_NAMES = 100
"""Training metrics of a job: each is a series."""

_PERSISTENT = 3  # successive lists with an earlier state of a job before they are believed
_CURVES = ("train/loss", "eval/loss")  # training metrics whose course is kept
_MAX_POINTS = 200  # of a curve
_NO_EVENTS: Mapping[str, float] = {}


Curve = tuple[tuple[int, float], ...]
"""The course of a training metric: steps, ascending, each with its value."""


@dataclass(frozen=True, slots=True)
class Training:
    """The newest value of each training metric, with the newest step and its time (unix seconds), and the curves of
    `train/loss` and `eval/loss`, thinned to a bounded number of points."""

    step: int
    time: float | None
    values: Mapping[str, float]
    curves: Mapping[str, Curve] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class JobState:
    """A job and what is known of it beyond the last answer. Times are unix seconds."""

    job: Job
    listed: JobFields
    """The job as the last list had it."""
    whole: bool
    """Whether the list itself has all that the details have."""
    life: Life
    unseen_since: float | None
    """When the last list before the job was first seen arrived."""
    first_status: Status
    """The status with which the job was first seen."""
    entered: float
    """When its status was first received."""
    before: float | None = None
    """When a list last had the job with another status."""
    status_since: float | None = None
    run_started: float | None = None
    finished: float | None = None
    estimated_completion: float | None = None
    detailed_at: float | None = None
    """When details last arrived."""
    final: bool = False
    """Whether details arrived after the job ended."""
    training: Training | None = None
    rows_at: float | None = None
    """When training rows last arrived."""
    rows_failures: int = 0
    """Failed requests for training rows since then."""
    contradictions: int = 0
    """Successive lists with an earlier state of the job."""
    missing_since: float | None = None
    missing_lists: int = 0
    last_present: float | None = None
    """When the last list that had the job arrived, if later ones lack it."""
    noted: frozenset[str] = frozenset()
    """Fields whose unknown values were counted."""
    counted: frozenset[str] = frozenset()
    """What was counted: the start, the run, each end by its status."""

    @property
    def fields(self) -> JobFields:
        """The job's fields, merged from all answers."""
        return self.job.fields

    @property
    def failed_from(self) -> float | None:
        """From when the failure window counts: the end of the job, or its first sight if the job was seen active or
        ended after the list before that."""
        if not self.job.status.failed:
            return None
        seen = self.before is not None or self.is_new(self.finished)
        return max(self.finished or 0.0, self.entered) if seen else self.finished

    def is_new(self, time: float | None) -> bool:
        """Whether what happened at `time` happened after the last list before the job was first seen."""
        return self.unseen_since is not None and (time or 0.0) >= self.unseen_since

    @property
    def progress_ratio(self) -> float | None:
        """The finished part of the training, 0 to 1: by steps, else by epochs."""
        steps = (self.fields.get("steps_completed"), self.fields.get("total_steps"))
        epochs = (self.epochs_completed, self.fields.get("n_epochs"))
        ratios = (min(done / planned, 1.0) for done, planned in (steps, epochs) if done is not None and planned)
        return next(ratios, None)

    @property
    def queue_place(self) -> int | None:
        """The place of a waiting job in the queue; a job that has started may still carry one."""
        return self.fields.get("queue_depth") if self.job.status.waiting else None

    @property
    def epochs_completed(self) -> int | None:
        """Completed epochs; all of them if the job completed and nothing else is known."""
        known = self.fields.get("epochs_completed")
        return self.fields.get("n_epochs") if known is None and self.job.status.name == "completed" else known


def listed(job: Job, at: float, before: JobState | None, last_list: float | None) -> JobState:
    """The state of a job that a list received at `at` has, the last list before that being of `last_list`."""
    if before is None:
        state = JobState(
            job,
            job.fields,
            _is_whole(job),
            begin(job, at, observed=False),
            unseen_since=last_list,
            first_status=job.status,
            entered=at,
        )
        return _with_times(state, at)
    if _is_same(before, job, last_list):
        return before
    lost = before.contradictions + 1 if loses(job, before.job, at) else 0
    merged = merge(before.job, job, at, believed=lost >= _PERSISTENT)
    seen = last_list if before.last_present is None else before.last_present
    return _received(
        before,
        merged,
        at,
        seen,
        listed=job.fields,
        whole=_is_whole(job),
        contradictions=lost,
        missing_since=None,
        missing_lists=0,
        last_present=None,
    )


def _is_same(before: JobState, job: Job, last_list: float | None) -> bool:
    """Whether a list says nothing new of a job; a stage that starts in the future is new once it has started."""
    return (
        (before.listed is job.fields or before.listed == job.fields)
        and before.missing_since is None
        and not before.contradictions
        and (job.events is None or _has_events(before, job.events))
        and (before.job.status.ended or (before.job.started or 0.0) <= (last_list or 0.0))
    )


def _has_events(state: JobState, events: Events) -> bool:
    """Whether these are the events of the job, whose texts may have been dropped."""
    known = state.job.events
    return known is events or known == events or known == replace(events, recent=())


def set_back(state: JobState, at: float) -> JobState:
    """The state once the clock was set back to `at`: what it observed at later times counts as observed now."""
    if state.entered <= at:
        return state
    since, finished = (None if time is None else min(time, at) for time in (state.status_since, state.finished))
    return replace(state, entered=at, status_since=since, finished=finished)


def missing(state: JobState, at: float, last_list: float | None) -> JobState:
    """The state of a job that a list received at `at` lacks."""
    if state.missing_since is None:
        return replace(state, missing_since=at, missing_lists=1, last_present=last_list)
    return replace(state, missing_lists=state.missing_lists + 1)


def detailed(state: JobState, job: Job, at: float, last_list: float | None) -> JobState:
    """The state after details arrived."""
    merged = merge(state.job, job, at)
    final = job.status.ended and merged.status.ended
    return _received(state, merged, at, last_list, detailed_at=at, final=final)


def with_events(state: JobState, events: Events, at: float, last_list: float | None) -> JobState:
    """The state after the events of the job arrived."""
    return _received(state, Job(state.fields, events), at, last_list)


def trained(state: JobState, points: Sequence[TrainingPoint], at: float) -> JobState:
    """The state after training rows arrived."""
    state = replace(state, rows_at=at, rows_failures=0)
    last = max(points, key=lambda point: (point.step or 0, point.time or 0), default=None)
    if last is None:
        return state
    old = state.training or Training(0, None, MappingProxyType({}))
    values = dict(old.values)
    for point in points:
        for name, value in point.values.items():
            if name in values or len(values) < MAX_NAMES:
                values[name] = value
    curves = {name: _extended(old.curves.get(name, ()), points, name) for name in _CURVES}
    training = Training(last.step or old.step, last.time or old.time, MappingProxyType(values), curves)
    life = state.life
    if state.job.status.phase == "running":
        advanced = state.training is not None and training.step > old.step
        life = life.after_rows(points, state.job, at, advanced=advanced)
    return replace(state, training=training, life=life)


def _extended(curve: Curve, points: Sequence[TrainingPoint], name: str) -> Curve:
    """The curve with new rows. Rows that go back to an earlier step, as after a restart, replace what followed it."""
    new = {point.step: point.values[name] for point in points if point.step is not None and name in point.values}
    if not new:
        return curve
    kept = [(step, value) for step, value in curve if step < min(new)]
    return _thinned([*kept, *sorted(new.items())])


def _thinned(curve: Sequence[tuple[int, float]]) -> Curve:
    """The curve with at most `_MAX_POINTS` points: the last one of each of as many equal intervals."""
    if len(curve) <= _MAX_POINTS:
        return tuple(curve)
    (first, _), (last, _) = curve[0], curve[-1]
    width = (last - first + 1) / _MAX_POINTS
    return tuple({int((step - first) / width): (step, value) for step, value in curve}.values())


def _received(state: JobState, job: Job, at: float, last_list: float | None, **changes: Any) -> JobState:
    """`state` with `job`, which an answer brought at `at`, and with further changes."""
    if job.status is not state.job.status:
        changes |= {"life": begin(job, at, observed=True), "entered": at, "before": last_list}
        changes |= {"status_since": None, "finished": None}
    else:
        answers = (state.detailed_at, last_list if state.whole else None)
        last_answer = max((time for time in answers if time is not None), default=None)
        changes["life"] = state.life.after(job, at, last_answer)
    changes.setdefault("final", state.final and job.status.ended)
    return _with_times(replace(state, job=job, **changes), at)


def _with_times(state: JobState, at: float) -> JobState:
    job, last = state.job, state.job.events.last if state.job.events else _NO_EVENTS
    finished = state.finished
    if job.status.ended:
        of_events = max((last[name] for name in job.status.starts_with if name in last), default=None)
        finished = _within(state, usable(of_events, at)) or finished or _end(state, at)
    since = finished or _within(state, state.life.start) or state.status_since or _changed(state, at)
    started, estimate = _run_started(state, at), estimated_end(job, at)
    if (since, finished, started, estimate) == (
        state.status_since,
        state.finished,
        state.run_started,
        state.estimated_completion,
    ):
        return state
    return replace(state, status_since=since, finished=finished, run_started=started, estimated_completion=estimate)


def _within(state: JobState, time: float | None) -> float | None:
    """The time of a change of status, no earlier and no later than the change can have been."""
    return None if time is None else min(max(time, state.before or 0.0), state.entered)


def _changed(state: JobState, at: float) -> float | None:
    """When the status changed, from the time of the job's last change; else when the change was observed."""
    changed = _within(state, usable(state.job.updated, at))
    return state.entered if changed is None and state.before is not None else changed


def _end(state: JobState, at: float) -> float | None:
    """The end of a job without an event for it: its last change, else the newest time known of it."""
    times = (usable(time, at) for time in (state.job.started, state.job.created))
    return _changed(state, at) or _within(state, next((time for time in times if time is not None), None))


def _run_started(state: JobState, at: float) -> float | None:
    first = state.job.events.first if state.job.events else _NO_EVENTS
    start = usable(first.get("job_start"), at)
    if start is None and state.run_started is None and state.job.status.phase == "running":
        start = usable(state.job.started, at)
    return state.run_started if start is None else start


def _is_whole(job: Job) -> bool:
    wanted = ("epochs_completed", "queue_depth", "param_count")
    return job.events is not None and all(name in job.fields for name in wanted)
