"""How what the exporter said compares with the truth: every alarm, every hang, and the cause of each mistake."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import quantiles

from tests.fleets.fleet import HOUR, Fleet, Rhythm, Trouble, draw_fleet
from tests.fleets.truth import Count, Hang, Truth
from tests.fleets.watch import INTERVAL, Alarm, watch

TOLERANCE = 4 * INTERVAL
"""Seconds until a change of the truth must be known: a poll until the last sign of life is seen, two for a gap that is
measured a poll too long and counts twice, one until the deadline is seen to have passed."""

FIRST_GAP = "first gap longer than the threshold"
"""Why a job that is alive may be reported once: it shows nothing for longer than allowed, as it never did before."""

_STALE = ("lagging replicas", "one step back")  # in about half of the answers
_DETAILS = ("list", "retrieve")  # details are requested after a list
_GROUPS = {"pending": "waiting", "queued": "waiting", "compressing": "finishing", "uploading": "finishing"}
_GROUPS |= {"cancel_requested": "cancelling"}


@dataclass(frozen=True)
class Outcome:
    """An alarm or a hang that had to be reported: `good`, or wrong for a `cause`; `delay` is in thresholds."""

    what: str
    group: str
    rhythm: Rhythm
    good: bool
    cause: str = ""
    delay: float | None = None
    about: str = ""
    long_gaps: bool = False


def play(number: int, seed: int, days: float) -> list[Outcome]:
    """Every outcome of one fleet of a run."""
    fleet = draw_fleet(seed, number, days)
    return score(fleet, watch(fleet))


def score(fleet: Fleet, alarms: Sequence[Alarm]) -> list[Outcome]:
    """Every outcome of a fleet."""
    by_job: dict[str, list[Alarm]] = {}
    for alarm in alarms:
        by_job.setdefault(alarm.job_id, []).append(alarm)
    return [
        outcome for job in fleet.jobs for outcome in _Scorer(fleet, Truth(job), by_job.get(job.plan.id, [])).outcomes()
    ]


@dataclass
class _Scorer:
    fleet: Fleet
    truth: Truth
    alarms: list[Alarm]
    long_gaps: bool = field(init=False)
    troubles: list[Trouble] = field(init=False)
    """Those that concern the job."""

    def __post_init__(self) -> None:
        concerned = (None, self.truth.job.plan.id)
        self.troubles = [t for t in self.fleet.troubles if all(fault.job_id in concerned for fault in t.faults)]
        pauses = [until - since for since, until, hung in self.truth.pauses if not hung]
        self.long_gaps = max([self.truth.longest_gap, *pauses]) > 2 * HOUR

    def outcomes(self) -> Iterable[Outcome]:
        """Each alarm and each hang of the job."""
        told: set[float] = set()
        for alarm in self.alarms:
            known = [hang for hang in self.truth.hangs if hang.since <= alarm.since < self.settled(hang.until)]
            hang = max(known, key=lambda hang: hang.since, default=None)
            cause = self.lingers(alarm, hang) if hang else self.false(alarm)
            count = self.truth.at(alarm.since)
            once = cause == FIRST_GAP and count.since not in told
            told |= {count.since} if once else set()
            yield self.outcome("alarm", alarm.since, once or not cause, cause)
        for hang in self.truth.hangs:
            count = self.truth.at(hang.since)
            unseen = count.status == "running" and not count.shows
            limit = self.settled(self.due(hang, count) + unseen * count.threshold / 2)  # rows are requested so seldom
            if limit >= min(hang.until, self.fleet.end) or hang.since < self.fleet.lives[0][0]:
                continue
            found = [
                alarm
                for alarm in self.alarms
                if hang.since <= alarm.since < hang.until or alarm.since <= hang.since < alarm.until
            ]
            since = min((alarm.since for alarm in found), default=None)
            good = since is not None and since <= limit
            delay = None if since is None else max(since - hang.since, 0.0) / count.threshold
            cause = "" if good else self.missed(hang, limit, since)
            yield self.outcome("hang", hang.since, good, cause, delay)

    def outcome(self, what: str, at: float, good: bool, cause: str, delay: float | None = None) -> Outcome:
        status = self.truth.at(at).status
        group = _GROUPS.get(status, self.truth.job.kind)
        about = f"{self.fleet.seed} {self.truth.job.plan.id} at {at:.0f}"
        return Outcome(what, group, self.fleet.rhythm, good, cause, delay, about, self.long_gaps)

    def settled(self, time: float) -> float:
        """When an exporter must know what is true at a time, given the troubles."""
        known = time + TOLERANCE
        blocked = [(trouble.since, trouble.to) for trouble in self.troubles if trouble.blocks]
        down = [(end, start) for (_, end), (start, _) in pairwise(self.fleet.lives) if start - end > 120]
        for since, to in sorted([*blocked, *down]):
            if since < known and to > time:
                known = max(known, to + TOLERANCE)
        stale = any(t.name in _STALE and t.since < known and t.to > time for t in self.troubles)
        return known + TOLERANCE if stale else known

    def due(self, hang: Hang, count: Count) -> float:
        """By when a hang has to be reported, given the troubles: the deadline of its last sign of life."""
        since, shown = count.last, count.last
        for trouble in sorted(self.troubles, key=lambda trouble: trouble.since):
            hides = trouble.blocks and any(fault.endpoint in _DETAILS for fault in trouble.faults)
            if hides and trouble.since < shown + INTERVAL and trouble.to > shown:
                since, shown = min(since, trouble.since), trouble.to
        return hang.due if count.dated or shown == count.last else self.truth.hidden_deadline(since, shown)

    def troubled(self, since: float, until: float) -> str:
        """The troubles of the API between two times."""
        names = {t.name for t in self.troubles if t.since < until and t.to + TOLERANCE > since}
        return ", ".join(sorted(names))

    def restarted(self, since: float, until: float) -> bool:
        """Whether an exporter started between two times."""
        return any(since < start <= until for start, _ in self.fleet.lives)

    def lingers(self, alarm: Alarm, hang: Hang) -> str:
        """Why an alarm outlasted its hang; empty if it did not."""
        shown = self.truth.next_sign(hang.until)
        kept = TOLERANCE if hang.until == self.truth.job.gone else 0.0  # a job that is missing is kept for some polls
        if min(alarm.until, self.fleet.end) <= self.settled(hang.until) + kept:
            return ""
        if alarm.until <= self.settled(shown):
            return ""  # until then nothing tells that the job continues
        if self.restarted(hang.until, alarm.until):
            return "lingers: restart before evidence"
        return f"lingers: {self.troubled(hang.until, alarm.until) or 'unexplained'}"

    def false(self, alarm: Alarm) -> str:
        """Why there is an alarm about a job that is alive."""
        count, at = self.truth.at(alarm.since), alarm.since
        last = count.last
        if any(hang.until <= at and self.truth.next_sign(hang.until) > at - TOLERANCE for hang in self.truth.hangs):
            return "recovered, but shows nothing yet"
        if self.truth.deadline(at) <= at or any(
            self.truth.deadline(t) <= at for t in (at - INTERVAL, at - 2 * INTERVAL)
        ):
            if count.status == "running" and not count.shows:
                return "no source gives life"
            if count.status != "running":
                return "stage longer than its threshold or estimate"
            gap = self.truth.next_sign(last) - last
            return "gap longer than twice the threshold" if gap > 2 * HOUR else FIRST_GAP
        if self.restarted(last - TOLERANCE, at):
            return "restart before evidence"
        if self.restarted(count.since, at):
            return "restart forgot the longest gap"
        return self.troubled(last, at) or "unexplained"

    def missed(self, hang: Hang, limit: float, since: float | None) -> str:
        """Why a hang was not reported in time."""
        late = "" if since is None else "late: "
        count = self.truth.at(hang.since)
        if self.restarted(count.since, limit):
            return late + "restart before evidence"
        names = self.troubled(count.since, limit)
        return late + (names or "unexplained")


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes as text."""
    shows = ("steps", "rows", "steps and rows")
    through = [o for o in outcomes if o.rhythm == "runs through"]
    lines = ["exporter runs through, by kind", _HEAD]
    target = [o for o in through if o.group in shows and not o.long_gaps]
    lines.append(_line("target*", target))
    lines += [_line(group, [o for o in through if o.group == group]) for group in sorted({o.group for o in through})]
    for title, chosen in (
        ("steps or rows, by rhythm", [o for o in outcomes if o.group in shows]),
        ("all others, by rhythm", [o for o in outcomes if o.group not in shows]),
    ):
        lines += ["", title, _HEAD]
        lines += [_line(r, [o for o in chosen if o.rhythm == r]) for r in sorted({o.rhythm for o in chosen})]
    causes, of_target = _causes(outcomes), _causes(target)
    lines += ["", "causes: all, target*, of an alarm or a hang"]
    lines += [f"{count:6} {of_target[key]:6}  {' '.join(key)}" for key, count in causes.most_common()]
    return "\n".join(lines)


def _causes(outcomes: Iterable[Outcome]) -> Counter[tuple[str, str]]:
    return Counter((o.what, o.cause + " (once)" * o.good) for o in outcomes if o.cause)


_COLUMNS = {"": 22, "alarms": 7, "once": 5, "false": 6, "precision": 10}
_COLUMNS |= {"hangs": 7, "late": 5, "missed": 7, "recall": 7, "p50": 6, "p90": 6, "max": 6}
_HEAD = "  ".join(name.rjust(width) for name, width in _COLUMNS.items())


def _line(name: str, outcomes: Sequence[Outcome]) -> str:
    alarms = [o for o in outcomes if o.what == "alarm"]
    hangs = [o for o in outcomes if o.what == "hang"]
    false, good = sum(not o.good for o in alarms), sum(o.good for o in hangs)
    once = sum(o.good and o.cause == FIRST_GAP for o in alarms)
    late = sum(o.delay is not None and not o.good for o in hangs)
    delays = [o.delay for o in hangs if o.delay is not None]
    deciles = quantiles(delays, n=10) if len(delays) > 1 else [0.0] * 9
    cells = (
        name,
        len(alarms),
        once,
        false,
        f"{1 - false / (len(alarms) - once):.3f}" if len(alarms) > once else "-",
        len(hangs),
        late,
        len(hangs) - good - late,
        f"{good / len(hangs):.3f}" if hangs else "-",
        f"{deciles[4]:.1f}",
        f"{deciles[8]:.1f}",
        f"{max(delays, default=0):.1f}",
    )
    return "  ".join(str(cell).rjust(width) for cell, width in zip(cells, _COLUMNS.values(), strict=True))
