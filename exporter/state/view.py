"""What follows from the state of an account and its settings: verdicts, the jobs with series of their own, their order,
and sums.

All of it can be computed from the state alone. But most jobs stay as they are from one event to the next, so `after`
looks only at those that the event changed, and at those for which the time has come.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import inf
from operator import is_not

from exporter.models import dollars
from exporter.state.account import AccountState
from exporter.state.entry import Entry, JobView, Moment, entry_of
from exporter.state.events import Event, ListAnswered, PollFailed
from exporter.state.job import JobState
from exporter.state.settings import AccountSettings
from exporter.state.totals import Totals
from exporter.state.verdict import Verdict

UNEXPORTED = ("retention", "limit")
"""Why a job has no series of its own."""


@dataclass(frozen=True)
class AccountView:
    """An account: its settings, its state, and what follows from both, computed when it is first needed."""

    settings: AccountSettings = field(default_factory=AccountSettings)
    state: AccountState = field(default_factory=AccountState)
    _derived: "_Jobs | None" = field(default=None, repr=False, compare=False)

    def after(self, event: Event) -> "AccountView":
        """The account after an event; the view itself is not changed."""
        before, state = self.state, self.state.after(event, self.settings)
        about: Iterable[str] = ()
        if isinstance(event, ListAnswered):
            about = state.jobs if state.jobs is not before.jobs else ()
        elif not isinstance(event, PollFailed):
            about = (event.call.job_id or "",)
        old, new = map(before.jobs.get, about), map(state.jobs.get, about)
        changed = {job_id for job_id, is_other in zip(about, map(is_not, old, new), strict=True) if is_other}
        return AccountView(self.settings, state, self._jobs.after(before, state, changed))

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The jobs with series of their own as people see them, those that need attention first."""
        return self._jobs.sorted

    def entry(self, job_id: str) -> Entry | None:
        """One job as people see it, even if it has no series; `None` if it is not known."""
        return self._jobs.entries.get(job_id)

    @property
    def shown(self) -> tuple[JobView, ...]:
        """The jobs with series of their own: within the limit those that need attention, the active, the newest."""
        return self._jobs.shown

    @cached_property
    def verdicts(self) -> Mapping[str, Verdict]:
        """The verdict on each job, by id."""
        return {job_id: entry.view.verdict for job_id, entry in self._jobs.entries.items()}

    @property
    def totals(self) -> Totals:
        """The sums over all jobs."""
        return self._jobs.totals

    @cached_property
    def month_start(self) -> float:
        """The start of the calendar month (UTC) of the last list, in unix seconds."""
        return _moment(self.state).month_start

    @property
    def month_price_usd(self) -> float | None:
        """US dollars of the jobs created in that month."""
        return dollars(self.totals.sum("month_price", of="month_jobs"))

    @property
    def unexported(self) -> Mapping[str, int]:
        """The number of jobs without series of their own, by reason."""
        retained = self.totals.count("retained")
        return dict(zip(UNEXPORTED, (len(self.state.jobs) - retained, retained - len(self.shown)), strict=True))

    @cached_property
    def _jobs(self) -> "_Jobs":
        return self._derived or _Jobs.of(self.settings, self.state, {})


@dataclass(frozen=True)
class _Jobs:
    """What follows from the jobs of an account: the same object for as long as nothing changes."""

    settings: AccountSettings
    states: Mapping[str, JobState]
    entries: Mapping[str, Entry]
    totals: Totals
    due: float
    """From when on the time alone may change any of that (unix seconds)."""

    @classmethod
    def of(cls, settings: AccountSettings, state: AccountState, before: Mapping[str, Entry]) -> "_Jobs":
        """Looks at all jobs; those that are as `before` keep their views."""
        moment = _moment(state)
        entries = {
            job_id: entry_of(job, settings, moment, before[job_id].view if job_id in before else None)
            for job_id, job in state.jobs.items()
        }
        totals = Totals().exchanging((), entries.values())
        return cls(settings, state.jobs, entries, totals, _earliest(entries.values()))

    def after(self, before: AccountState, state: AccountState, changed: set[str]) -> "_Jobs":
        """Looks at the jobs that `changed` from `before` to `state`, and at those for which the time has come."""
        moment = _moment(state)
        if not moment.is_next(_moment(before)):
            return self.of(self.settings, state, self.entries)
        gone = self.entries.keys() - state.jobs.keys() if state.jobs is not self.states else set()
        if moment.now >= self.due:
            changed = changed | {job_id for job_id, entry in self.entries.items() if moment.now >= entry.due} - gone
        if not changed and not gone:
            return self if state.jobs is self.states else replace(self, states=state.jobs)
        entries = dict(self.entries)
        old = [entries.pop(job_id) for job_id in gone]
        new: list[Entry] = []
        for job_id in changed:
            known = entries.get(job_id)
            entry = entry_of(state.jobs[job_id], self.settings, moment, known.view if known else None)
            if entry != known:
                new.append(entry)
                entries[job_id] = entry
                if known:
                    old.append(known)
        if not (old or new) and state.jobs is self.states:
            return self
        due = min(self.due, _earliest(new))
        if any(entry.due <= self.due for entry in old):
            due = _earliest(entries.values())
        return _Jobs(self.settings, state.jobs, entries, self.totals.exchanging(old, new), due)

    @cached_property
    def shown(self) -> tuple[JobView, ...]:
        """The jobs with series of their own."""
        kept = [entry for job_id in self.states if (entry := self.entries[job_id]).retained]
        if len(kept) > self.settings.limit:
            kept = sorted(kept, key=lambda entry: entry.rank)[: self.settings.limit]
        return tuple(entry.view for entry in kept)

    @cached_property
    def sorted(self) -> tuple[Entry, ...]:
        """Their entries, those that need attention first."""
        return tuple(sorted((self.entries[view.job.id] for view in self.shown), key=lambda entry: entry.rank))


def _moment(state: AccountState) -> Moment:
    return Moment.of(state.now, state.last_list or 0.0)


def _earliest(entries: Iterable[Entry]) -> float:
    return min((entry.due for entry in entries), default=inf)
