"""What follows from the state of an account and its settings: verdicts, the jobs with series of their own, their order,
and the price of the month."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

from exporter.models import Job, JobFields
from exporter.state.account import AccountState
from exporter.state.attention import Attention, attention, groups, rank
from exporter.state.job import JobState
from exporter.state.settings import AccountSettings
from exporter.state.verdict import Verdict, is_past, judge

UNEXPORTED = ("retention", "limit")
"""Why a job has no series of its own."""

_FINE = Verdict(failed=False)


@dataclass(frozen=True, slots=True)
class JobView:
    """A job and the verdict on it."""

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
    """A job as people see it: with its mark, if any, and the groups that it is in."""

    view: JobView
    mark: Attention | None
    groups: tuple[str, ...]

    @property
    def rank(self) -> tuple[int, int, float]:
        """What jobs are sorted by."""
        return rank(self.view.state, self.mark)


@dataclass(frozen=True)
class AccountView:
    """An account: its settings, its state, and what follows from both, computed when it is first needed."""

    settings: AccountSettings = field(default_factory=AccountSettings)
    state: AccountState = field(default_factory=AccountState)

    @cached_property
    def verdicts(self) -> Mapping[str, Verdict]:
        """The verdict on each job, by id."""
        state, settings, last_list = self.state, self.settings, self.state.last_list or 0.0
        return {
            job_id: judge(job, settings, last_list, state.now) if _is_judged(job) else _FINE
            for job_id, job in state.jobs.items()
        }

    @cached_property
    def shown(self) -> tuple[JobView, ...]:
        """The jobs with series of their own: within the limit those that need attention, the active, the newest."""
        kept = [JobView(self.state.jobs[job_id], self.verdicts[job_id]) for job_id in self._retained]
        if len(kept) > self.settings.limit:
            kept = sorted(kept, key=lambda view: rank(view.state, self._mark(view)))[: self.settings.limit]
        return tuple(kept)

    @cached_property
    def entries(self) -> tuple[Entry, ...]:
        """The same jobs as people see them, those that need attention first."""
        return tuple(sorted(map(self._entry, self.shown), key=lambda entry: entry.rank))

    def entry(self, job_id: str) -> Entry | None:
        """One job as people see it, even if it has no series; `None` if it is not known."""
        state = self.state.jobs.get(job_id)
        return self._entry(JobView(state, self.verdicts[job_id])) if state else None

    @cached_property
    def month_start(self) -> float:
        """The start of the calendar month (UTC) of the last list, in unix seconds."""
        now = datetime.fromtimestamp(self.state.last_list or 0.0, UTC)
        return now.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()

    @cached_property
    def month_price_usd(self) -> float | None:
        """US dollars of the jobs created in that month."""
        states = self.state.jobs.values()
        return total(state.job.price_usd for state in states if (state.job.created or 0.0) >= self.month_start)

    @cached_property
    def unexported(self) -> Mapping[str, int]:
        """The number of jobs without series of their own, by reason."""
        retained = len(self._retained)
        return dict(zip(UNEXPORTED, (len(self.state.jobs) - retained, retained - len(self.shown)), strict=True))

    def count(self, choose: Callable[[Verdict], object]) -> dict[str, int]:
        """The number of jobs with such a verdict, by status."""
        counts: dict[str, int] = {}
        for job_id, verdict in self.verdicts.items():
            if choose(verdict):
                name = self.state.jobs[job_id].job.status.name
                counts[name] = counts.get(name, 0) + 1
        return counts

    def _entry(self, view: JobView) -> Entry:
        mark = self._mark(view)
        return Entry(view, mark, tuple(groups(view.state, mark, self.month_start)))

    def _mark(self, view: JobView) -> Attention | None:
        return attention(view.state, view.verdict, self.state.now)

    @cached_property
    def _retained(self) -> list[str]:
        limit = (self.state.last_list or 0.0) - self.settings.retention
        return [
            job_id for job_id, job in self.state.jobs.items() if self.verdicts[job_id].failed or not is_past(job, limit)
        ]


def total(values: Iterable[float | None]) -> float | None:
    """The sum of the known values; none if all of several values are unknown."""
    values = list(values)
    known = [value for value in values if value is not None]
    return sum(known) if known or not values else None


def _is_judged(state: JobState) -> bool:
    return not state.job.status.ended or state.job.status.failed
