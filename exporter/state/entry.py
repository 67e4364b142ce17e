"""A job as others see it: with the verdict on it, its mark and the groups that it is in."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf

from exporter.models import Job, JobFields
from exporter.state.attention import DAY, Attention, attention, groups, overdue_from, rank
from exporter.state.job import JobState
from exporter.state.settings import AccountSettings
from exporter.state.verdict import OLD_EVIDENCE, Verdict, is_past, judge

_FINE = Verdict(failed=False)
_ROUNDING = 1.0  # seconds, more than what a sum or a difference of times can be off by


@dataclass(frozen=True, slots=True)
class JobView:
    """A job and the verdict on it: the same object for as long as neither changes."""

    state: JobState
    verdict: Verdict

    @property
    def job(self) -> Job:
        """The job itself."""
        return self.state.job

    @property
    def fields(self) -> JobFields:
        """The job's fields, merged from all answers."""
        return self.state.job.fields


@dataclass(frozen=True, slots=True)
class Entry:
    """A job as people see it: with its mark, if any, and the groups that it is in. Times are unix seconds."""

    view: JobView
    mark: Attention | None
    groups: tuple[str, ...]
    retained: bool
    """Whether the job has series of its own, within the limit."""
    due: float
    """From when on the time alone may change any of that."""

    @property
    def rank(self) -> tuple[int, int, float]:
        """What jobs are sorted by."""
        return rank(self.view.state, self.mark)


@dataclass(frozen=True, slots=True)
class Moment:
    """When jobs are looked at. Times are unix seconds."""

    now: float
    last_list: float
    month_start: float
    """The start of the calendar month (UTC) of the last list."""

    @classmethod
    def of(cls, now: float, last_list: float) -> "Moment":
        """The moment `now`, the last list being of `last_list`."""
        last = datetime.fromtimestamp(last_list, UTC)
        return cls(now, last_list, last.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp())

    @property
    def is_late(self) -> bool:
        """Whether the last list is too old to be evidence."""
        return self.last_list < self.now - OLD_EVIDENCE

    def is_next(self, after: "Moment") -> bool:
        """Whether nothing but time has passed since the moment `after` that concerns all jobs at once."""
        same = self.month_start == after.month_start and self.is_late == after.is_late
        return same and self.now >= after.now and self.last_list >= after.last_list


def entry_of(state: JobState, settings: AccountSettings, moment: Moment, before: JobView | None) -> Entry:
    """A job at a moment; `before` is its view before that, if any."""
    judged = not state.job.status.ended or state.job.status.failed
    verdict = judge(state, settings, moment.last_list, moment.now) if judged else _FINE
    view = before if before and before.state is state and before.verdict == verdict else JobView(state, verdict)
    return entry_with(view, settings, moment)


def entry_with(view: JobView, settings: AccountSettings, moment: Moment) -> Entry:
    """A job at a moment, with the verdict of the view."""
    state, last_list = view.state, moment.last_list
    past = min(moment.now, last_list) - _ROUNDING  # while the clock is set back, now is before the last list
    mark = attention(state, view.verdict, moment.now)
    return Entry(
        view,
        mark,
        tuple(groups(state, mark, moment.month_start)),
        retained=bool(view.verdict.failed) or not is_past(state, last_list - settings.retention),
        due=min((time - _ROUNDING for time in _moments(view, settings) if time >= past), default=inf),
    )


def _moments(view: JobView, settings: AccountSettings) -> Iterator[float]:
    """All moments with which the rules for a job compare the time or that of the last list. (Those that depend on the
    last list itself concern all jobs at once.)"""
    state, verdict, job = view.state, view.verdict, view.job
    if (failed := state.failed_from) is not None:
        yield failed + settings.failure_window
        yield failed + DAY
    last = state.finished if job.status.ended else job.updated or job.created
    if last is not None and not job.status.active:
        yield last + settings.retention
    if job.status.active:
        for evidence in (state.detailed_at, state.rows_at, state.last_present):
            if evidence is not None:
                yield evidence + OLD_EVIDENCE
        for time in (verdict.deadline, overdue_from(state)):
            if time is not None:
                yield time
