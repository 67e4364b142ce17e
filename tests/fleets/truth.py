"""What is true of a job, from its plan alone: when it hangs, and by when a hang must be reported.

The deadlines follow the table of the docs, worked out from what the API shows and when, not from what an exporter saw
of it. Nothing of the exporter's own rules is used here.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

from exporter.simulator import Plan
from exporter.simulator.story import SIGNS, STAGES, Running, changes
from tests.fleets.fleet import THRESHOLDS, FleetJob

LIMIT = 2.0
"""A gap is counted up to so many thresholds, and then twice as long is patience."""


@dataclass(frozen=True)
class Count:
    """What a job has shown since it entered its status or last went back: at `last` the newest sign of life."""

    at: float
    status: str
    since: float
    last: float
    longest: float = 0.0
    moves: int = 0
    shows: bool = False
    """Whether the API gives steps or rows."""
    counters: dict[str, int] = field(default_factory=dict)
    running: Running = field(default=Running(0.0, None))
    dated: bool = True
    """Whether the API tells when the newest sign of life was: a counter tells only that there was one."""

    @property
    def threshold(self) -> float:
        """The threshold of the status; infinite once the job has ended."""
        return THRESHOLDS.get(self.status, math.inf)

    def sign(self, at: float, *, move: bool, dated: bool) -> "Count":
        """After a sign of life."""
        longest = max(self.longest, at - self.last)
        return replace(self, at=at, last=at, longest=longest, moves=self.moves + move, dated=dated)


@dataclass(frozen=True)
class Hang:
    """A job that shows nothing from `since` until it continues or leaves; `due` is its deadline."""

    since: float
    until: float
    due: float


class Truth:
    """The life of one job as the API shows it."""

    def __init__(self, job: FleetJob) -> None:
        self.job = job
        self.end = max(change.at for change in changes(job.plan))
        self._counts = list(_counts(job.plan))
        self._times = [count.at for count in self._counts]
        self.pauses = [(since, min(until, job.gone), n in job.hangs) for n, since, until in _pauses(job.plan)]
        cancels = [count.at for count in self._counts if count.status == "cancel_requested"]
        spans = [(since, until) for since, until, hung in self.pauses if hung and since < until]
        spans += [(at, min(at + job.plan.cancel, job.gone)) for at in cancels if job.plan.cancel > 900.0]
        self.hangs = [Hang(since, until, self.deadline(since)) for since, until in spans]

    @property
    def longest_gap(self) -> float:
        """The longest time without a sign of life while the job ran and did not hang, in seconds."""
        gaps = [
            later.at - earlier.at
            for earlier, later in pairwise(self._counts)
            if earlier.status == "running"
            and not any(hang.since < later.at and earlier.at < hang.until for hang in self.hangs)
        ]
        return max(gaps, default=0.0)

    def at(self, time: float) -> Count:
        """What the job had shown by a time."""
        return self._counts[max(bisect_right(self._times, time) - 1, 0)]

    def next_sign(self, time: float) -> float:
        """When the job next shows life after a time."""
        later = bisect_right(self._times, time)
        return self._times[later] if later < len(self._times) else self.job.gone

    def deadline(self, time: float) -> float:
        """By when the job has to show life, as of a time."""
        return self._due(self.at(time))

    def hidden_deadline(self, since: float, shown: float) -> float:
        """The same where details showed nothing from a time until another: counters that moved meanwhile have no time
        of their own. They count from when they are shown, and are no moves."""
        before, count = self.at(since), self.at(shown)
        known = before.moves if before.since == count.since else 0
        return self._due(replace(count, last=shown, moves=min(count.moves, known)))

    def _due(self, count: Count) -> float:
        threshold = count.threshold
        patience = max(threshold, 2 * min(count.longest, LIMIT * threshold))
        if count.status == "running" and count.shows:
            return count.last + (patience if count.moves >= 2 else max(patience, 3 * threshold))
        if count.status == "running":
            return max(count.last + max(patience, 12 * threshold), self._estimate(count))
        if count.status in ("compressing", "uploading"):
            return max(count.last + threshold, self._estimate(count))
        return count.last + threshold

    def _estimate(self, count: Count) -> float:
        """The first estimated end that is given after the last sign of life, with its slack; 0 without one."""
        plan, (since, length) = self.job.plan, count.running
        if not plan.estimate or length is None:
            return 0.0
        [(after, factor)] = plan.estimate  # type: ignore[misc]  # the fleets have one, or none
        given = max(count.last, since + after)
        seconds = length * (factor or 0.0)
        if every := plan.beats.get("progress"):
            seconds += max(plan.created + (given - plan.created) // every * every - since, 0.0)
        return since + seconds + max(count.threshold, seconds / 4) if since + seconds > given else 0.0


def _counts(plan: Plan) -> Iterator[Count]:
    """What the job has shown, after each sign of life."""
    hidden = {name for sign, names in SIGNS.items() if sign not in plan.reports for name in names}
    count = Count(plan.created, "", plan.created, plan.created)
    for at, event, fields in changes(plan):
        status = fields.get("status", count.status)
        count = replace(count, running=fields.get("running", count.running))
        shown = {name: fields[name] for name in _counters(status) if name in fields and name not in hidden}
        steps = fields.get("steps_completed", 0)
        row = "rows" in plan.reports and status == "running" and steps > 0 and event in ("", "eval_complete")
        if status != count.status or event == "job_restarted" or _went_back(count.counters, shown):
            shows = status == "running" and ("steps" in plan.reports or (count.shows and count.status == status))
            count = Count(at, status, at, at, 0.0, 0, shows, shown, count.running)
        elif (better := _better(count.counters, shown)) or row or (event and event not in hidden):
            move, dated = bool(better.get("steps_completed")) or row, row or bool(event)
            count = replace(
                count.sign(at, move=move, dated=dated),
                counters={**count.counters, **better},
                shows=count.shows or row,
            )
        else:
            continue
        yield count


def _counters(status: str) -> tuple[str, ...]:
    if status in ("pending", "queued"):
        return ("queue_depth",)
    return ("steps_completed", "epochs_completed", "evals_completed") if status == "running" else ()


def _better(known: dict[str, int], shown: dict[str, int | None]) -> dict[str, int]:
    return {
        name: value
        for name, value in shown.items()
        if value is not None
        and (name not in known or (value < known[name] if name == "queue_depth" else value > known[name]))
    }


def _went_back(known: dict[str, int], shown: dict[str, int]) -> bool:
    return any(
        value is not None
        and name in known
        and (value > known[name] + 1 if name == "queue_depth" else value < known[name] - 1)
        for name, value in shown.items()
    )


def _pauses(plan: Plan) -> Iterator[tuple[int, float, float]]:
    """When each interruption begins and ends, with its number."""
    at, here = plan.created, 0.0
    for number, stop in enumerate(plan.interruptions):
        there = _elapsed(plan, stop.stage, stop.at)
        at += there - here
        yield number, at, at + stop.lasts
        at += stop.lasts
        here = _elapsed(plan, *stop.resume) if stop.resume else there


def _elapsed(plan: Plan, stage: str, fraction: float) -> float:
    """The seconds of an undisturbed life until a fraction of a stage."""
    before = sum(getattr(plan, name) for name in STAGES[: STAGES.index(stage)])
    return float(before + fraction * getattr(plan, stage))
