"""The state of an account, and how each event changes it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from operator import eq, is_
from types import MappingProxyType

from exporter.models import Job, JobList, Rejection, UnknownValue
from exporter.state.events import (
    Call,
    DetailsAnswered,
    Event,
    EventsAnswered,
    JobCallFailed,
    ListAnswered,
    ListFailed,
    PollFailed,
    RowsAnswered,
)
from exporter.state.job import MAX_NAMES, JobState, detailed, listed, missing, set_back, trained, with_events
from exporter.state.lifecycle import Histogram, Lifecycle
from exporter.state.settings import AccountSettings

CALL_SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# Seconds that a job is kept after the last list that had it, and for two lists at least: three minutes but for the
# jitter of three polls, so that an alert about a deleted job ends within 15 minutes.
_KEPT_MISSING = 170.0
_REMEMBERED = 86400.0  # seconds that a vanished job is remembered
_MAX_REMEMBERED = 1_000
_TRIM_INTERVAL = 3600.0  # seconds from one look at all jobs to the next, for texts that nobody sees any more

_Vanished = tuple[float, JobState]
"""A job that left the list, with the time since when (unix seconds)."""


@dataclass(frozen=True, slots=True)
class Polls:
    """How the polls of an account went. Times are unix seconds, durations seconds."""

    up: bool | None = None
    failure: str | None = None
    """Why the last poll failed: the HTTP status, or the reason as in `Call` or `PollFailed`."""
    last: float | None = None
    duration: float | None = None
    interval: float | None = None
    rate_limit_remaining: float | None = None
    rejected: Mapping[str, int] = field(default_factory=dict)
    rejections: frozenset[Rejection] = frozenset()
    unknown_values: Mapping[str, int] = field(default_factory=dict)
    requests: Mapping[tuple[str, ...], int] = field(default_factory=dict)
    request_seconds: Mapping[str, Histogram] = field(default_factory=dict)

    def counting(self, call: Call) -> "Polls":
        """With one more call."""
        key = (call.endpoint, call.code)
        seconds = self.request_seconds.get(call.endpoint) or Histogram.empty(*CALL_SECONDS)
        return replace(
            self,
            requests={**self.requests, key: self.requests.get(key, 0) + 1},
            request_seconds={**self.request_seconds, call.endpoint: seconds.observe(call.seconds)},
        )

    def noting(self, fields: Iterable[str]) -> "Polls":
        """With one more unknown value for each field."""
        counts = dict(self.unknown_values)
        for name in fields:
            counts[name] = counts.get(name, 0) + 1
        return replace(self, unknown_values=counts) if counts != self.unknown_values else self


@dataclass(frozen=True, slots=True)
class AccountState:
    """What is known of an account. It changes through `after` alone. Times are unix seconds."""

    polls: Polls = field(default_factory=Polls)
    jobs: Mapping[str, JobState] = field(default_factory=dict)
    last_list: float | None = None
    """When the list last arrived."""
    now: float = 0.0
    """When the newest event happened, or the list that followed after the clock was set back."""
    lifecycle: Lifecycle | None = None
    """`None` until a list arrived."""
    vanished: Mapping[str, _Vanished] = field(default_factory=dict)
    """Jobs that left the list."""
    content: JobList | None = None
    """The last list."""
    unsettled: frozenset[str] = frozenset()
    """Jobs that changed since that list, or with it: what it says of the others would change nothing."""

    def after(self, event: Event, settings: AccountSettings) -> "AccountState":
        """The state after an event; the state itself is not changed."""
        if isinstance(event, PollFailed):
            return replace(self, now=max(self.now, event.at), polls=replace(self.polls, up=False, failure=event.reason))
        call = event.call
        # Lists come one after the other, so the time of one may only be earlier if the clock was set back.
        now = call.at if isinstance(event, ListAnswered | ListFailed) else max(self.now, call.at)
        state = replace(self, now=now, polls=self.polls.counting(call))
        match event:
            case ListAnswered():
                return state._with_list(event, settings)
            case ListFailed():
                polls = replace(state.polls, up=False, failure=call.code)
                return replace(state, polls=_timed(polls, call, event.interval))
            case JobCallFailed():
                return state._with_failure(call)
        before = state.jobs.get(call.job_id or "")
        if before is None:
            return state  # the job has vanished meanwhile
        match event:
            case DetailsAnswered():
                changed = detailed(before, event.job, call.at, self.last_list)
                return state._with_job(changed)._noting(event.unknown_values)
            case EventsAnswered():
                if event.events is None:
                    return state
                changed = with_events(before, event.events, call.at, self.last_list)
                return state._with_job(changed)._noting(event.unknown_values)
            case RowsAnswered():
                changed = trained(before, event.rows, call.at)
                full = changed.training is not None and len(changed.training.values) >= MAX_NAMES
                beyond = [UnknownValue(before.job.id, "metrics", f"{MAX_NAMES} names or more")] if full else []
                return state._with_job(changed)._noting(beyond)

    def _with_list(self, event: ListAnswered, settings: AccountSettings) -> "AccountState":
        at, content = event.call.at, event.content
        if content is self.content and not self.unsettled:
            state = replace(self, vanished=_remembered(self.vanished, at))
        else:
            state = self._reading(content, at, settings)
        jobs, was_set_back = state.jobs, at < (self.last_list or 0.0)
        if was_set_back:
            jobs = MappingProxyType({job_id: set_back(job, at) for job_id, job in jobs.items()})
        if at // _TRIM_INTERVAL != (self.last_list or 0.0) // _TRIM_INTERVAL:
            limit = at - settings.retention
            jobs = _unless_same({job_id: _trimmed(job, limit) for job_id, job in jobs.items()}, jobs)
        polls = replace(
            state.polls,
            up=True,
            failure=None,
            rate_limit_remaining=event.rate_limit_remaining,
            rejected=content.rejected,
            rejections=frozenset(content.rejections),
        )
        return replace(
            state,
            polls=_timed(polls, event.call, event.interval),
            jobs=jobs,
            last_list=at,
            content=content,
            # A clock that was set back may turn what has begun into what will begin.
            unsettled=frozenset(jobs) if was_set_back else state.unsettled,
        )

    def _reading(self, content: JobList, at: float, settings: AccountSettings) -> "AccountState":
        """With what a list received at `at` says of the jobs."""
        lifecycle = self.lifecycle or Lifecycle()
        jobs: dict[str, JobState] = {}
        limit = at - settings.retention
        known, unsettled = dict(self.jobs), self.unsettled
        last = dict(self.content.by_id) if self.content else {}
        changed = set()
        for job_id, job in content.by_id.items():
            if job is last.get(job_id) and job_id not in unsettled:
                jobs[job_id] = known[job_id]
                continue
            before = known.get(job_id) or self.vanished.get(job_id, (0.0, None))[1]
            state = listed(job, at, before, self.last_list)
            if state is not before:
                changed.add(job_id)
                lifecycle, state = lifecycle.counting(_trimmed(state, limit))
            jobs[job_id] = state
        vanished = {job_id: left for job_id, left in _remembered(self.vanished, at).items() if job_id not in jobs}
        for job_id, before in self.jobs.items():
            if job_id not in jobs:
                state = missing(before, at, self.last_list)
                absent = abs(at - (state.last_present or 0.0))  # a clock may be set back
                if state.missing_lists < 3 or absent < _KEPT_MISSING:
                    jobs[job_id] = state
                    changed.add(job_id)
                else:
                    vanished[job_id] = state.missing_since or at, state
        vanished = dict(list(vanished.items())[-_MAX_REMEMBERED:])
        read = replace(
            self,
            jobs=_unless_same(jobs, self.jobs),
            vanished=vanished,
            lifecycle=lifecycle,
            unsettled=frozenset(changed),
        )
        return read._noting(content.unknown_values)

    def _with_failure(self, call: Call) -> "AccountState":
        before = self.jobs.get(call.job_id or "")
        if before is None or call.endpoint != "metrics":
            return self
        return self._with_job(replace(before, rows_failures=before.rows_failures + 1))

    def _with_job(self, state: JobState) -> "AccountState":
        lifecycle, state = (self.lifecycle or Lifecycle()).counting(state)
        jobs = MappingProxyType({**self.jobs, state.job.id: state})
        return replace(self, jobs=jobs, lifecycle=lifecycle, unsettled=self.unsettled | {state.job.id})

    def _noting(self, values: Iterable[UnknownValue]) -> "AccountState":
        """With the unknown values that were not counted yet: each field of a job once."""
        new = [value for value in values if self._is_new(value)]
        if not new:
            return self
        jobs = dict(self.jobs)
        for value in new:
            if state := jobs.get(value.job_id):
                jobs[value.job_id] = replace(state, noted=state.noted | {value.field})
        polls = self.polls.noting(value.field for value in new)
        return replace(self, jobs=MappingProxyType(jobs), polls=polls)

    def _is_new(self, value: UnknownValue) -> bool:
        state = self.jobs.get(value.job_id)
        return state is not None and value.field not in state.noted


def _remembered(vanished: Mapping[str, _Vanished], at: float) -> Mapping[str, _Vanished]:
    """The vanished jobs that are still remembered at `at`."""
    return {job_id: left for job_id, left in vanished.items() if left[0] > at - _REMEMBERED}


def _unless_same(jobs: dict[str, JobState], before: Mapping[str, JobState]) -> Mapping[str, JobState]:
    """The jobs; if they are the same objects as before in the same order, then `before` itself."""
    same = len(jobs) == len(before) and all(map(is_, jobs.values(), before.values())) and all(map(eq, jobs, before))
    return before if same else MappingProxyType(jobs)


def _timed(polls: Polls, call: Call, interval: float) -> Polls:
    return replace(polls, last=call.at, duration=call.seconds, interval=interval)


def _trimmed(state: JobState, limit: float) -> JobState:
    """Without the texts of its events if the job finished before `limit`: nobody sees them any more."""
    events = state.job.events
    if events is None or not events.recent or state.finished is None or state.finished >= limit:
        return state
    return replace(state, job=Job(state.fields, replace(events, recent=())))
