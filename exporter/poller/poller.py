"""The polls of one account: request the list, publish the answer, then request what the list omits.

The list follows its own clock. Requests about single jobs run next to it, each in its own thread, a few at a time and
within a budget, and each answer is published when it arrives: a slow or failing request delays nothing else.
"""

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from random import random as uniform

from exporter.api import ApiError, Client
from exporter.models import BodyError, JobList, UnknownValue, parse_events, parse_job, parse_jobs, parse_training
from exporter.poller.backoff import Backoff, Budget
from exporter.poller.plan import Schedule, Task, plan
from exporter.state import (
    AccountView,
    Call,
    DetailsAnswered,
    Event,
    EventsAnswered,
    JobCallFailed,
    ListAnswered,
    ListFailed,
    PollFailed,
    Publisher,
    RowsAnswered,
)

log = logging.getLogger(__name__)

_GRACE = 60.0  # seconds that a poll may be late, on top of the longest call
_MAX_LINES = 20  # of the same message for one poll
_NO_THREAD = 5.0  # seconds until a thread that could not be started is tried again


@dataclass(frozen=True, slots=True)
class _Outcome:
    task: Task
    event: Event
    error: ApiError | None = None


def _in_thread(work: Callable[[], None]) -> None:
    # A daemon thread: a request may take longer than the exporter may take to stop.
    threading.Thread(target=work, name="call", daemon=True).start()


class Poller:
    """Polls one account and publishes what it learns.

    `clock` returns unix seconds, `stopwatch` seconds that only go forward, `random` a number from 0 to 1. `start` runs
    a request about a single job, by default in a thread of its own.
    """

    def __init__(
        self,
        client: Client,
        publisher: Publisher,
        schedule: Schedule,
        *,
        clock: Callable[[], float] = time.time,
        stopwatch: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = uniform,
        start: Callable[[Callable[[], None]], None] = _in_thread,
    ) -> None:
        self._client = client
        self._publisher = publisher
        self._schedule = schedule
        self._clock = clock
        self._stopwatch = stopwatch
        self._random = random
        self._backoff = Backoff(schedule)
        self._start = start
        self._budget = Budget(schedule)
        self._tasks: deque[Task] = deque()
        self._running: set[str] = set()
        self._inbox: queue.SimpleQueue[_Outcome | None] = queue.SimpleQueue()
        self._failing: set[str] = set()
        self._due = stopwatch()
        self._content: JobList | None = None

    def run(self, delay: float = 0.0) -> None:
        """Polls until it is stopped or its publisher is revoked, for the first time after `delay` seconds."""
        self._due = self._stopwatch() + delay
        while True:
            if self._stopwatch() >= self._due:
                wait = self._poll_safely()
                self._due = self._stopwatch() + wait
            try:
                wait = self._start_tasks()
                outcome = self._inbox.get(timeout=max(min(wait, self._due - self._stopwatch()), 0.0))
                if outcome is None:
                    break
                self._receive(outcome)
            except queue.Empty:
                pass
            except Exception as error:
                self._tasks.clear()  # until the next list, so that a bug cannot repeat at once
                self._log_bug(error)
        self._client.close()

    def stop(self) -> None:
        """Ends `run`, at once unless the list is being requested."""
        self._inbox.put(None)

    @property
    def overdue(self) -> bool:
        """Whether the next poll of a running poller should have happened long ago."""
        return self._stopwatch() > self._due + self._client.longest_call + _GRACE

    def report_overdue(self) -> None:
        """Publishes that the poll is overdue."""
        if self._publisher.read().state.polls.up is not False:
            self._publish(PollFailed(self._clock(), "overdue"))
            log.error("poll overdue", extra={"account": self._publisher.account})

    def poll(self) -> float:
        """Requests the list, publishes the answer and plans requests about single jobs. Returns the seconds to the
        next poll."""
        at, start = self._clock(), self._stopwatch()
        try:
            reply = self._client.jobs()
            content = parse_jobs(reply.body, self._content)
        except (ApiError, BodyError) as error:
            return self._list_failed(_as_api_error(error), at, self._stopwatch() - start)
        self._content = content
        seconds = self._stopwatch() - start
        active = any(not job.status.ended for job in content.by_id.values())
        interval = (self._schedule.active if active else self._schedule.idle) * (0.95 + 0.1 * self._random())
        call = Call(at, "list", "200", seconds)
        before = self._publisher.read()
        view = self._publish(ListAnswered(call, content, interval, reply.rate_limit_remaining))
        if view is not None:
            self._log_list(content, seconds, interval, before)
            self._budget.forget_all_but(view.state.jobs)
            self._tasks = deque(plan(view, self._schedule, lambda task: self._budget.asked(task, at)))
        self._backoff.succeeded()
        return max(0.0, interval - seconds)  # the interval does not depend on how long a poll takes

    def settle(self) -> None:
        """Makes the planned requests, as far as the budget allows, and publishes their answers before it returns."""
        self._start_tasks()
        while self._running:
            if outcome := self._inbox.get():
                self._receive(outcome)
                self._start_tasks()

    def _poll_safely(self) -> float:
        try:
            return self.poll()
        except Exception as error:
            self._log_bug(error)
            self._publish(PollFailed(self._clock(), "internal"))
            return self._backoff.failed(None, self._random())

    def _list_failed(self, error: ApiError, at: float, seconds: float) -> float:
        self._tasks.clear()  # an API that fails is not asked for more
        interval = self._backoff.failed(error, self._random())
        self._publish(ListFailed(Call(at, "list", error.code, seconds), interval))
        extra = {"account": self._publisher.account, "code": error.code, "error": str(error)}
        log.warning("poll failed", extra={**extra, "duration": f"{seconds:.3f}s", "next": f"{interval:.0f}s"})
        return interval

    # ------------------------------------------------------------------------------------ requests about single jobs

    def _start_tasks(self) -> float:
        """Starts planned requests, as many as may run. Returns the seconds until it is worth to look again."""
        waiting: list[Task] = []
        wait = 1.0 if self._tasks else 3600.0
        while self._tasks and len(self._running) < self._schedule.concurrency:
            if self._budget.is_spent(self._stopwatch()):
                break
            task = self._tasks.popleft()
            if task.job_id in self._running or not self._budget.allows(task, self._stopwatch()):
                waiting.append(task)
                continue
            try:
                self._start(partial(self._work, task))
            except RuntimeError as error:  # the limit on threads
                waiting.append(task)
                wait = _NO_THREAD
                log.debug("thread not started", extra={"account": self._publisher.account, "error": str(error)})
                break
            self._running.add(task.job_id)
            self._budget.sent(task, self._clock(), self._stopwatch())
        self._tasks.extendleft(reversed(waiting))
        return wait

    def _work(self, task: Task) -> None:
        at, start = self._clock(), self._stopwatch()

        def call(code: str) -> Call:
            return Call(at, task.endpoint, code, self._stopwatch() - start, task.job_id)

        try:
            outcome = _Outcome(task, self._request(task, call))
        except (ApiError, BodyError) as refusal:
            error = _as_api_error(refusal)
            outcome = _Outcome(task, JobCallFailed(call(error.code)), error)
        except Exception as bug:
            self._log_bug(bug)
            error = ApiError("body", "internal error")
            outcome = _Outcome(task, JobCallFailed(call(error.code)), error)
        self._inbox.put(outcome)

    def _request(self, task: Task, call: Callable[[str], Call]) -> Event:
        match task.endpoint:
            case "retrieve":
                found = parse_job(self._client.job(task.job_id).body, task.job_id)
                return DetailsAnswered(call("200"), found.jobs[0], found.unknown_values)
            case "events":
                events, unknown = parse_events(self._client.events(task.job_id).body, task.job_id)
                return EventsAnswered(call("200"), events, unknown)
            case _:
                return RowsAnswered(call("200"), parse_training(self._client.metrics(task.job_id, task.step).body))

    def _receive(self, outcome: _Outcome) -> None:
        task, event = outcome.task, outcome.event
        self._running.discard(task.job_id)
        before = self._publisher.read()
        view = self._publish(event)
        if view is None:
            return
        if outcome.error is not None:
            self._budget.failed(task, outcome.error, self._stopwatch())
            self._log_failed_call(task, outcome.error)
            return
        detailed = view.state.jobs.get(task.job_id) if isinstance(event, DetailsAnswered) else None
        self._budget.succeeded(task, outdated=detailed is not None and task.ended and not detailed.final)
        self._failing.discard(task.endpoint)
        if isinstance(event, DetailsAnswered | EventsAnswered):
            self._log_unknown(event.unknown_values, before)
        if detailed is not None and detailed.job.events is None:
            events = Task("events", task.job_id, task.ended)
            if self._budget.asked(events, self._clock()) == 0.0:
                self._tasks.appendleft(events)

    def _publish(self, event: Event) -> AccountView | None:
        view = self._publisher.apply(event)
        if view is None:  # another poller has replaced this one
            self.stop()
        return view

    # ----------------------------------------------------------------------------------------------------------- log

    def _log_list(self, content: JobList, seconds: float, interval: float, before: AccountView) -> None:
        extra = {"account": self._publisher.account, "jobs": len(content.by_id)}
        timing = {"duration": f"{seconds:.3f}s", "next": f"{interval:.0f}s"}
        log.info("poll", extra={**extra, "rejected": sum(content.rejected.values()), **timing})
        new = [rejected for rejected in content.rejections if rejected not in before.state.polls.rejections]
        lines = [{"job_id": rejected.job_id, "reason": rejected.reason} for rejected in new]
        self._log_each("job rejected", lines, sum(content.rejected.values()))
        self._log_unknown(content.unknown_values, before)

    def _log_unknown(self, values: Sequence[UnknownValue], before: AccountView) -> None:
        jobs = before.state.jobs
        new = [value for value in values if value.job_id not in jobs or value.field not in jobs[value.job_id].noted]
        lines = [{"job_id": value.job_id, "field": value.field, "value": value.value} for value in new]
        self._log_each("unknown value", lines, len(lines))

    def _log_each(self, message: str, lines: Sequence[dict[str, str]], total: int) -> None:
        account = self._publisher.account
        for line in lines[:_MAX_LINES]:
            log.warning(message, extra={"account": account, **line})
        if len(lines) > _MAX_LINES:
            log.warning(f"{message}, further lines left out", extra={"account": account, "total": total})

    def _log_failed_call(self, task: Task, error: ApiError) -> None:
        level = logging.DEBUG if task.endpoint in self._failing else logging.WARNING
        self._failing.add(task.endpoint)
        extra = {"account": self._publisher.account, "endpoint": task.endpoint, "job_id": task.job_id}
        log.log(level, "call failed", extra={**extra, "code": error.code, "error": str(error)})

    def _log_bug(self, error: Exception) -> None:
        log.error("internal error", extra={"account": self._publisher.account, "error": repr(error)})
        log.debug("traceback of the internal error", exc_info=error)


def _as_api_error(error: ApiError | BodyError) -> ApiError:
    return error if isinstance(error, ApiError) else ApiError("body", str(error))
