"""The polls of one account: ask for the list, publish what it says, then ask for what it leaves out.

The list goes by its own clock. Calls about single jobs run beside it, each in a thread of its own, a few at a time and
within a budget, and what comes of one is published when it comes: a slow or failing call for one job delays nothing.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf
from random import random as uniform
from typing import Literal

from exporter.api import ApiError, Client
from exporter.models import (
    REASONS,
    BodyError,
    JobFields,
    JobList,
    UnknownValue,
    parse_events,
    parse_job,
    parse_jobs,
    parse_training,
)
from exporter.snapshot import (
    AccountState,
    Board,
    Call,
    JobState,
    Polls,
    Selection,
    Snapshot,
    detailed,
    listed,
    take,
    trained,
)

log = logging.getLogger(__name__)

LONGEST_BACKOFF = 300.0
_RETRY_ENDED = 600.0  # seconds until a failed call for a job that has ended is tried again

Endpoint = Literal["retrieve", "events", "metrics"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How an account is polled; times are seconds."""

    active: float = 30.0
    """From list to list while any job is active."""
    idle: float = 120.0
    """The same while none is."""
    details: Literal["auto", "always", "off"] = "auto"
    concurrency: int = 4
    """Most calls about single jobs at a time."""
    requests_per_minute: int = 120
    """Most calls about single jobs in any minute."""
    training: bool = False
    """Whether training metrics are asked for."""
    selection: Selection = field(default_factory=Selection)


@dataclass(frozen=True, slots=True)
class Task:
    """A call about one job. `ended` says whether the job has ended, `step` is the first training step wanted."""

    endpoint: Endpoint
    job_id: str
    ended: bool
    step: int = 0

    @property
    def key(self) -> tuple[str, str, bool]:
        """What is remembered of tasks: a job is asked about anew after its end."""
        return self.endpoint, self.job_id, self.ended


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a task: `after` takes the job's state and the time to its state with what was told, or there is an
    error."""

    task: Task
    call: Call
    after: Callable[[JobState, float], JobState] | None = None
    unknown_values: tuple[UnknownValue, ...] = ()
    error: ApiError | None = None


def plan(snapshot: Snapshot, schedule: Schedule, asked: Mapping[tuple[str, str, bool], float]) -> list[Task]:
    """The calls to make after a list, most urgent first: active jobs from the one that was asked about longest ago,
    then jobs that ended, from the newest, each until it was answered once. `asked` has when a task was last done (unix
    seconds; infinite: never again)."""
    active = [state for state in snapshot.jobs.values() if not state.job.terminal]
    ended = [state for state in snapshot.jobs.values() if state.job.terminal]
    active.sort(key=lambda state: asked.get(("retrieve", state.job.id, False), 0.0))
    ended.sort(key=lambda state: state.finished or 0.0, reverse=True)
    tasks = [task for state in (*active, *ended) for task in _tasks(state, schedule)]
    return [task for task in tasks if asked.get(task.key, -inf) < (snapshot.at - _RETRY_ENDED if task.ended else inf)]


def _tasks(state: JobState, schedule: Schedule) -> Iterator[Task]:
    job, ended = state.job, state.job.terminal
    if _wants_details(state, schedule) and not state.final:
        yield Task("retrieve", job.id, ended)
    elif _wants_events(state, schedule):
        yield Task("events", job.id, ended)
    if schedule.training and (job.status == "running" or (ended and state.training)):
        yield Task("metrics", job.id, ended, _next_step(state))


def _wants_details(state: JobState, schedule: Schedule) -> bool:
    return schedule.details == "always" or (schedule.details == "auto" and not state.listed_whole)


def _wants_events(state: JobState, schedule: Schedule) -> bool:
    return schedule.details != "off" and not state.fields.get("events")


def _next_step(state: JobState) -> int:
    if state.training is None:
        return 0
    done = state.fields.get("steps_completed")
    begun_anew = done is not None and done < state.training.step
    return 0 if begun_anew else state.training.step + 1


class Poller:
    """Polls one account for the board. `clock` gives unix seconds, `stopwatch` seconds that only go forward,
    `random` a number from 0 to 1."""

    def __init__(
        self,
        account: str,
        client: Client,
        board: Board,
        schedule: Schedule,
        *,
        clock: Callable[[], float] = time.time,
        stopwatch: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = uniform,
    ) -> None:
        self._account = account
        self._client = client
        self._board = board
        self._schedule = schedule
        self._clock = clock
        self._stopwatch = stopwatch
        self._random = random
        self._failures = 0
        self._told: set[tuple[str, str]] = set()
        self._failing: set[str] = set()
        self._plan: deque[Task] = deque()
        self._asked: dict[tuple[str, str, bool], float] = {}
        self._flying: set[str] = set()
        self._calls: deque[float] = deque()
        self._paused_until = -inf
        self._inbox: queue.SimpleQueue[Outcome | None] = queue.SimpleQueue()

    def run(self, delay: float = 0.0) -> None:
        """Polls until it is stopped, for the first time after `delay` seconds."""
        due = self._stopwatch() + delay
        while True:
            if self._stopwatch() >= due:
                due = self._stopwatch() + self._cycle_whatever_happens()
            self._launch()
            wait = due - self._stopwatch()
            try:
                # With calls left over, look once a second whether the budget allows one.
                outcome = self._inbox.get(timeout=max(min(wait, 1.0) if self._plan else wait, 0.0))
                if outcome is None:
                    break
                self._absorb(outcome)
            except queue.Empty:
                pass
            except Exception:
                log.exception("answer crashed", extra={"account": self._account})
        self._client.close()

    def stop(self) -> None:
        """Ends `run`, at once but for a call of the list that is under way."""
        self._inbox.put(None)

    def _cycle_whatever_happens(self) -> float:
        try:
            return self.cycle()
        except Exception:
            # A slip of ours must not end the polls in silence: it is a failed poll like any other.
            log.exception("poll crashed", extra={"account": self._account})
            with suppress(KeyError):
                state = self._board.read().accounts[self._account]
                self._board.publish(self._account, replace(state, polls=replace(state.polls, up=False, trouble=None)))
            return LONGEST_BACKOFF

    def cycle(self) -> float:
        """One poll of the list: publishes what came of it, plans the calls about single jobs, and returns the seconds
        to wait before the next."""
        at, began = self._clock(), self._stopwatch()
        before = self._board.read().accounts.get(self._account, AccountState())
        try:
            answer = self._client.jobs()
            found = parse_jobs(answer.body)
        except (ApiError, BodyError) as error:
            return self._failed(_as_api_error(error), before, at, self._stopwatch() - began)
        seconds = self._stopwatch() - began
        snapshot = self._snapshot(found, at, before.snapshot)
        polls = replace(before.polls, rate_limit_remaining=answer.rate_limit_remaining)
        wait = self._succeeded(found, snapshot, replace(before, polls=polls), seconds)
        listed_ids = snapshot.jobs.keys()
        self._asked = {key: at for key, at in self._asked.items() if key[1] in listed_ids}
        self._plan = deque(plan(snapshot, self._schedule, self._asked))
        return max(0.0, wait - seconds)  # polls keep their rhythm, however long one takes

    def settle(self) -> None:
        """Makes the planned calls, as far as the budget allows, and publishes what comes of them, before it returns."""
        self._launch()
        while self._flying:
            if outcome := self._inbox.get():
                self._absorb(outcome)
                self._launch()

    # ------------------------------------------------------------------------------------------------------- the list

    def _snapshot(self, found: JobList, at: float, before: Snapshot | None) -> Snapshot:
        known = before.jobs if before else {}
        details = self._schedule.details != "off"
        states = [listed(job.fields, at, known.get(job.id), details=details) for job in found.jobs]
        return take(states, at, self._schedule.selection)

    def _succeeded(self, found: JobList, snapshot: Snapshot, before: AccountState, seconds: float) -> float:
        self._failures = 0
        wait = (self._schedule.active if snapshot.active else self._schedule.idle) * (0.95 + 0.1 * self._random())
        there = snapshot.jobs.keys() | {rejected.job_id for rejected in found.rejected}
        self._told = {(job_id, about) for job_id, about in self._told if job_id in there}
        log.info(
            "poll",
            extra={
                "account": self._account,
                "jobs": len(found.jobs),
                "rejected": len(found.rejected),
                "duration": f"{seconds:.3f}s",
                "next": f"{wait:.0f}s",
            },
        )
        for rejected in found.rejected:
            if self._is_new(rejected.job_id, rejected.reason):
                extra = {"account": self._account, "job_id": rejected.job_id, "reason": rejected.reason}
                log.warning("job rejected", extra=extra)
        polls = replace(
            before.polls.counting(Call("list", "200", seconds)),
            up=True,
            trouble=None,
            last=snapshot.at,
            last_good=snapshot.at,
            duration=seconds,
            interval=wait,
            rejected={reason: sum(rejected.reason == reason for rejected in found.rejected) for reason in REASONS},
        )
        polls = self._noting(found.unknown_values, polls)
        self._board.publish(self._account, replace(before, polls=polls).showing(snapshot, snapshot.jobs.values()))
        return wait

    def _failed(self, error: ApiError, before: AccountState, at: float, seconds: float) -> float:
        self._failures += 1
        self._plan.clear()  # an API that fails is not asked for more
        # A refused key is not refused less for being asked again soon, but one day it is another key.
        doublings = 10 if error.status in (401, 403) else min(self._failures - 1, 10)
        backoff = min(self._schedule.active * 2.0**doublings, LONGEST_BACKOFF) * (0.5 + 0.5 * self._random())
        wait = max(backoff, error.retry_after or 0.0)
        log.warning(
            "poll failed",
            extra={
                "account": self._account,
                "code": error.code,
                "error": str(error),
                "duration": f"{seconds:.3f}s",
                "next": f"{wait:.0f}s",
            },
        )
        polls = before.polls.counting(Call("list", error.code, seconds))
        polls = replace(polls, up=False, trouble=error.code, last=at, duration=seconds, interval=wait)
        self._board.publish(self._account, replace(before, polls=polls))
        return wait

    def _noting(self, values: Iterable[UnknownValue], polls: Polls) -> Polls:
        counts = dict(polls.unknown_values)
        for value in values:
            if self._is_new(value.job_id, value.field):
                counts[value.field] = counts.get(value.field, 0) + 1
                extra = {"account": self._account, "job_id": value.job_id, "field": value.field, "value": value.value}
                log.warning("unknown value", extra=extra)
        return replace(polls, unknown_values=counts)

    def _is_new(self, job_id: str, about: str) -> bool:
        known = (job_id, about) in self._told
        self._told.add((job_id, about))
        return not known

    # --------------------------------------------------------------------------------------------- calls about one job

    def _launch(self) -> None:
        """Begins planned calls, as many as may be under way at a time and in a minute."""
        waiting: list[Task] = []
        while self._plan and len(self._flying) < self._schedule.concurrency and self._may_call():
            task = self._plan.popleft()
            if task.job_id in self._flying:
                waiting.append(task)
                continue
            self._flying.add(task.job_id)
            self._asked[task.key] = self._clock()
            self._calls.append(self._stopwatch())
            # A daemon: a call may last longer than the end of the program should.
            threading.Thread(target=self._deliver, args=(task,), name=f"call {self._account}", daemon=True).start()
        self._plan.extendleft(reversed(waiting))

    def _may_call(self) -> bool:
        now = self._stopwatch()
        while self._calls and self._calls[0] <= now - 60:
            self._calls.popleft()
        return now >= self._paused_until and len(self._calls) < self._schedule.requests_per_minute

    def _deliver(self, task: Task) -> None:
        began = self._stopwatch()
        after, error = None, None
        unknown: tuple[UnknownValue, ...] = ()
        try:
            after, unknown = self._ask(task)
        except (ApiError, BodyError) as refusal:
            error = _as_api_error(refusal)
        except Exception as slip:
            log.exception("call crashed", extra={"account": self._account, "job_id": task.job_id})
            error = ApiError("body", repr(slip))
        call = Call(task.endpoint, error.code if error else "200", self._stopwatch() - began)
        self._inbox.put(Outcome(task, call, after, unknown, error))

    def _ask(self, task: Task) -> tuple[Callable[[JobState, float], JobState], tuple[UnknownValue, ...]]:
        match task.endpoint:
            case "retrieve":
                found = parse_job(self._client.job(task.job_id).body)
                if [job.id for job in found.jobs] != [task.job_id]:
                    raise BodyError("the answer is not the job that was asked for")
                fields = found.jobs[0].fields
                return lambda state, at: detailed(state, fields, at), found.unknown_values
            case "events":
                events, unknown = parse_events(self._client.events(task.job_id).body, task.job_id)
                return lambda state, at: detailed(state, {**_same(state), "events": events}, at), unknown
            case "metrics":
                points = parse_training(self._client.metrics(task.job_id, task.step).body)
                return lambda state, at: trained(state, points, at), ()

    def _absorb(self, outcome: Outcome) -> None:
        task, at = outcome.task, self._clock()
        self._flying.discard(task.job_id)
        before = self._board.read().accounts.get(self._account)
        if before is None or before.snapshot is None:
            return  # the account was removed meanwhile
        state = replace(before, polls=self._noting(outcome.unknown_values, before.polls.counting(outcome.call)))
        known = before.snapshot.jobs.get(task.job_id)
        if outcome.error is not None:
            self._call_failed(outcome.error, task)
        elif known is not None and outcome.after is not None:
            self._failing.discard(task.endpoint)
            if task.ended:
                self._asked[task.key] = inf
            after = outcome.after(known, at)
            if after is not known:
                jobs = {**before.snapshot.jobs, task.job_id: after}
                state = state.showing(take(jobs.values(), before.snapshot.at, self._schedule.selection), [after])
            if task.endpoint == "retrieve" and _wants_events(after, self._schedule):
                self._plan.appendleft(Task("events", task.job_id, task.ended))
        self._board.publish(self._account, state)

    def _call_failed(self, error: ApiError, task: Task) -> None:
        if error.status == 404 and task.ended:
            self._asked[task.key] = inf
        if error.retry_after is not None or error.status == 429:
            self._paused_until = self._stopwatch() + (error.retry_after or self._schedule.active)
        level = logging.DEBUG if task.endpoint in self._failing else logging.WARNING
        self._failing.add(task.endpoint)
        extra = {"account": self._account, "endpoint": task.endpoint, "job_id": task.job_id, "code": error.code}
        log.log(level, "call failed", extra={**extra, "error": str(error)})


def _same(state: JobState) -> JobFields:
    """No more than which job it is, so that nothing but what is added is told."""
    return {"id": state.job.id, "status": state.fields["status"]}


def _as_api_error(error: ApiError | BodyError) -> ApiError:
    return error if isinstance(error, ApiError) else ApiError("body", str(error))
