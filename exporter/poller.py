"""The polls of one account: ask for the list, publish what it says, decide when to ask again."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import random as uniform

from exporter.api import Answer, ApiError, Client
from exporter.models import REASONS, BodyError, JobList, Rejected, UnknownValue, parse_jobs
from exporter.snapshot import AccountState, Board, Call, Snapshot, take

log = logging.getLogger(__name__)

LONGEST_BACKOFF = 300.0


@dataclass(frozen=True, slots=True)
class Intervals:
    """Seconds from poll to poll: while any job is active, and while none is."""

    active: float = 30.0
    idle: float = 120.0


class Poller:
    """Polls one account for the board. `clock` gives unix seconds, `stopwatch` seconds that only go forward,
    `random` a number from 0 to 1."""

    def __init__(
        self,
        account: str,
        client: Client,
        board: Board,
        intervals: Intervals,
        *,
        clock: Callable[[], float] = time.time,
        stopwatch: Callable[[], float] = time.monotonic,
        random: Callable[[], float] = uniform,
    ) -> None:
        self._account = account
        self._client = client
        self._board = board
        self._intervals = intervals
        self._clock = clock
        self._stopwatch = stopwatch
        self._random = random
        self._failures = 0
        self._odd: frozenset[Rejected | UnknownValue] = frozenset()

    def run(self, stop: threading.Event) -> None:
        """Polls until `stop` is set."""
        wait = 0.0
        while not stop.wait(wait):
            try:
                wait = self.cycle()
            except Exception:
                # A slip of ours must not end the polls in silence: it is a failed poll like any other.
                log.exception("poll crashed", extra={"account": self._account})
                wait = LONGEST_BACKOFF
                state = self._board.read().accounts[self._account]
                self._board.publish(self._account, replace(state, polls=replace(state.polls, up=False)))
        self._client.close()

    def cycle(self) -> float:
        """One poll: publishes what came of it and returns the seconds to wait before the next."""
        at, began = self._clock(), self._stopwatch()
        before = self._board.read().accounts[self._account]
        outcome = self._ask()
        seconds = self._stopwatch() - began
        polls = replace(before.polls, last=at, duration=seconds)
        if isinstance(outcome, ApiError):
            wait = self._failed(outcome, seconds)
            polls = replace(polls.counting(Call("list", outcome.code, seconds)), up=False, interval=wait)
            self._board.publish(self._account, replace(before, polls=polls))
            return wait
        answer, found = outcome
        snapshot = take(found.jobs, at, before.snapshot)
        wait = self._succeeded(snapshot, found, seconds)
        polls = replace(
            polls.counting(Call("list", "200", seconds)),
            up=True,
            last_good=at,
            interval=wait,
            rate_limit_remaining=answer.rate_limit_remaining,
            rejected={reason: sum(rejected.reason == reason for rejected in found.rejected) for reason in REASONS},
            unknown_values=self._tell_once(found, polls.unknown_values),
        )
        self._board.publish(self._account, AccountState(polls, snapshot))
        return max(0.0, wait - seconds)  # polls keep their rhythm, however long one takes

    def _ask(self) -> tuple[Answer, JobList] | ApiError:
        try:
            answer = self._client.jobs()
            return answer, parse_jobs(answer.body)
        except ApiError as error:
            return error
        except BodyError as error:
            return ApiError("body", str(error))

    def _succeeded(self, snapshot: Snapshot, found: JobList, seconds: float) -> float:
        self._failures = 0
        wait = (self._intervals.active if snapshot.active else self._intervals.idle) * (0.95 + 0.1 * self._random())
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
        return wait

    def _failed(self, error: ApiError, seconds: float) -> float:
        self._failures += 1
        # A refused key is not refused less for being asked again soon, but one day it is another key.
        doublings = 10 if error.status in (401, 403) else min(self._failures - 1, 10)
        backoff = min(self._intervals.active * 2.0**doublings, LONGEST_BACKOFF) * (0.5 + 0.5 * self._random())
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
        return wait

    def _tell_once(self, found: JobList, counts: Mapping[str, int]) -> Mapping[str, int]:
        """Logs what the last list did not have yet of odd things, and adds the unknown values of it to `counts`."""
        odd = frozenset(found.rejected) | frozenset(found.unknown_values)
        new, self._odd = odd - self._odd, odd
        for thing in sorted(new, key=repr):
            match thing:
                case Rejected(job_id, reason):
                    log.warning("job rejected", extra={"account": self._account, "job_id": job_id, "reason": reason})
                case UnknownValue(job_id, field, value):
                    log.warning(
                        "unknown value",
                        extra={"account": self._account, "job_id": job_id, "field": field, "value": value},
                    )
                    counts = {**counts, field: counts.get(field, 0) + 1}
        return counts
