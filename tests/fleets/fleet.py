"""A random fleet: its jobs, what goes wrong with the API and when the exporter restarts, all drawn from one seed."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from exporter.simulator import Fault, Interruption, Plan, Sign, Stage, edit
from exporter.simulator.plan import draws
from exporter.simulator.story import changes

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
START = 1_790_000_000.0
THRESHOLDS = {
    "pending": 2 * HOUR,
    "queued": 2 * HOUR,
    "running": HOUR,
    "compressing": HOUR,
    "uploading": HOUR,
    "cancel_requested": 15 * MINUTE,
}

Kind = Literal["steps", "rows", "steps and rows", "epochs", "epochs and estimate", "estimate", "nothing"]
Rhythm = Literal["runs through", "every 2h", "every 30m", "at random", "90s up, 90s down"]

# Tables, to be read by the row.
# fmt: off
KINDS: dict[Kind, tuple[int, set[Sign]]] = {  # how often, what a running job shows
    "steps": (25, {"steps", "epochs", "evals"}),
    "rows": (15, {"rows"}),
    "steps and rows": (25, {"steps", "epochs", "evals", "rows"}),
    "epochs": (10, {"epochs"}),
    "epochs and estimate": (10, {"epochs"}),
    "estimate": (10, set()),
    "nothing": (5, set()),
}
RHYTHMS: dict[Rhythm, int] = {
    "runs through": 50, "every 2h": 15, "every 30m": 15, "at random": 15, "90s up, 90s down": 5,
}
HANGS_IN: dict[Stage, int] = {"pending": 5, "queued": 15, "download": 10, "train": 50, "compress": 10, "upload": 10}
# fmt: on


@dataclass(frozen=True)
class FleetJob:
    """A job, what it shows while it runs, and which of its interruptions are hangs."""

    plan: Plan
    kind: Kind
    hangs: frozenset[int] = frozenset()
    gone: float = math.inf
    """When it leaves the list: some hours after its end, or because it was deleted."""


@dataclass(frozen=True)
class Trouble:
    """What is wrong with the API from a time to another; `blocks` is whether answers are missing."""

    name: str
    since: float
    to: float
    faults: Sequence[Fault]
    blocks: bool = True


@dataclass(frozen=True)
class Fleet:
    """The jobs of an account from `START` to `end`, the API's troubles, and the times at which an exporter runs."""

    seed: str
    end: float
    jobs: Sequence[FleetJob]
    troubles: Sequence[Trouble]
    rhythm: Rhythm
    lives: Sequence[tuple[float, float]]
    """From when to when each process of the exporter runs."""
    training: bool
    """Whether the exporter requests training rows of all running jobs."""

    def plans(self, now: float) -> list[Plan]:
        """The jobs of the list at `now`."""
        return [job.plan for job in self.jobs if job.plan.created <= now < job.gone]


def draw_fleet(seed: int, number: int, days: float) -> Fleet:
    """One fleet of a run."""
    draw, end = draws("fleet", seed, number), START + days * DAY
    count = round(draw.uniform(3, 8) * days)
    rhythm = draw.choices(list(RHYTHMS), list(RHYTHMS.values()))[0]
    jobs = [_job(draws("job", seed, number, n), n, end) for n in range(count)]
    troubles = [_trouble(draw, START, end, jobs) for _ in range(draw.choice((0, 1, 2, 4, 8)))]
    return Fleet(f"{seed}/{number}", end, jobs, troubles, rhythm, _lives(draw, rhythm, end), draw.random() < 0.3)


def _job(draw: Random, number: int, end: float) -> FleetJob:
    kind = draw.choices(list(KINDS), [often for often, _ in KINDS.values()])[0]
    fields: dict[str, Any] = (
        {
            "id": f"ft-{number}",
            "created": draw.uniform(START - 0.3 * DAY, end - 0.2 * DAY),
            "reports": frozenset(KINDS[kind][1]),
            "pending": draw.uniform(0.5, 20) * MINUTE,
            "download": draw.uniform(2, 50) * MINUTE,
            "compress": draw.uniform(1, 40) * MINUTE,
            "upload": draw.uniform(2, 45) * MINUTE,
            "updated_on": draw.choice(("change", "event", "status", "creation")),
            "beats": {
                name: draw.uniform(1, 10) * MINUTE for name in ("updated_at", "progress") if draw.random() < 0.15
            },
        }
        | _queue(draw)
        | _training(draw, kind)
    )
    estimated = "estimate" in kind or (kind in ("steps", "rows", "steps and rows") and draw.random() < 0.5)
    factor, late = draw.uniform(0.9, 1.4), draw.choice((0.0, 0.0, 5 * MINUTE))
    fields["estimate"] = ((late, factor),) if estimated else ()
    stops = sorted(_stops(draw, kind), key=lambda stop: (_STAGES.index(stop[0].stage), stop[0].at))
    last, hung = stops[-1] if stops else (None, False)
    if last and hung and draw.random() < 0.5:  # nobody waits for it any longer
        fields |= {"fate": "cancelled", "fate_stage": last.stage, "fate_at": last.at}
    elif draw.random() < 0.15:
        early = "train", draw.uniform(max((s.at for s, _ in stops if s.stage == "train"), default=0.1), 1)
        if not last or _STAGES.index(last.stage) <= _STAGES.index("train"):
            fields |= {
                "fate": draw.choice(("cancelled", "error", "billing_limit")),
                "fate_stage": early[0],
                "fate_at": early[1],
            }
    if fields.get("fate") == "cancelled" and draw.random() < 0.3:
        fields["cancel"] = draw.uniform(0.3, 6) * HOUR
    plan = Plan(**fields, interruptions=tuple(stop for stop, _ in stops))
    deleted = plan.created + draw.uniform(0.1, 24) * HOUR if draw.random() < 0.05 else math.inf
    gone = min(deleted, max(change.at for change in changes(plan)) + 2 * HOUR)
    return FleetJob(plan, kind, frozenset(n for n, (_, hung) in enumerate(stops) if hung), gone)


_STAGES: tuple[Stage, ...] = ("pending", "queued", "download", "train", "compress", "upload")


def _queue(draw: Random) -> dict[str, Any]:
    depth = draw.randint(1, 12)
    places = list(range(depth, 0, -1))
    if draw.random() < 0.2:  # sent back
        places[depth // 2 : depth // 2] = range(depth + draw.randint(5, 20), depth, -1)
    queued = len(places) * draw.uniform(1, 60) * MINUTE
    if draw.random() < 0.1:  # caches that disagree
        places = [place + wobble for place in places for wobble in (0, 1, 0)]
    return {"queue_places": places, "queued": queued}


def _training(draw: Random, kind: Kind) -> dict[str, Any]:
    if kind in ("steps", "rows", "steps and rows"):
        step = draw.uniform(0.2, 12) * MINUTE if draw.random() < 0.85 else draw.uniform(15, 150) * MINUTE
        train = draw.uniform(1, 20) * HOUR
        steps = max(round(train / step), 3)
        return {"train": train, "total_steps": steps, "n_epochs": draw.randint(1, 3), "n_evals": draw.choice((0, 0, 4))}
    epochs = draw.randint(1, 5)
    return {"train": epochs * draw.uniform(0.5, 6) * HOUR, "total_steps": 100 * epochs, "n_epochs": epochs}


def _stops(draw: Random, kind: Kind) -> list[tuple[Interruption, bool]]:
    """The pauses of a job, each with whether it is a hang."""
    stops: list[tuple[Interruption, bool]] = []
    if draw.random() < 0.25:  # slow evaluations
        lasts = (
            draw.choices((draw.uniform(0.1, 0.9), draw.uniform(1, 1.9), draw.uniform(2.1, 4)), (85, 10, 5))[0] * HOUR
        )
        stops += [(Interruption(at=draw.uniform(0.05, 0.95), lasts=lasts), False) for _ in range(draw.randint(1, 4))]
    if draw.random() < 0.1:  # goes back
        at = draw.uniform(0.3, 0.9)
        back: tuple[Stage, float] = ("train", at * draw.uniform(0.2, 0.95))
        stops.append((Interruption(at=at, lasts=60.0, resume=back, restart=draw.random() < 0.5), False))
    for _ in range(draw.choice((0, 0, 0, 1, 1, 2))):
        stage = draw.choices(list(HANGS_IN), list(HANGS_IN.values()))[0]
        shows = kind in ("steps", "rows", "steps and rows") or stage not in ("download", "train")
        lasts = draw.uniform(1, 12) * HOUR if shows else draw.uniform(4, 36) * HOUR
        stops.append((Interruption(stage=stage, at=draw.uniform(0.02, 0.98), lasts=lasts), True))
    return stops


def _lives(draw: Random, rhythm: Rhythm, end: float) -> list[tuple[float, float]]:
    lives: list[tuple[float, float]] = []
    at = START
    while at < end:
        up, down = _life(draw, rhythm)
        lives.append((at, min(at + up, end)))
        at += up + down
    return lives


def _life(draw: Random, rhythm: Rhythm) -> tuple[float, float]:
    match rhythm:
        case "runs through":
            return math.inf, 0.0
        case "every 2h":
            return 2 * HOUR, MINUTE
        case "every 30m":
            return 30 * MINUTE, MINUTE
        case "at random":
            return draw.expovariate(1 / (8 * HOUR)), draw.uniform(0.5, 20) * MINUTE
        case "90s up, 90s down":
            return 90.0, 90.0


def _trouble(draw: Random, start: float, end: float, jobs: Sequence[FleetJob]) -> Trouble:
    since = draw.uniform(start, end)
    name = draw.choice(list(TROUBLES))
    blocks, longest, make = TROUBLES[name]
    job_id = draw.choice(jobs).plan.id if name.endswith("of a job") else None
    to = since + draw.uniform(0.1, 1) * longest
    return Trouble(name, since, to, make(draw, job_id), blocks)


def _down(draw: Random, _: str | None) -> list[Fault]:
    status, latency = draw.choice(((503, 0.0), (429, 0.0), (401, 0.0), (None, 60.0)))
    return [Fault(endpoint, status, latency) for endpoint in ("list", "retrieve", "events", "metrics")]


def _often(draw: Random, _: str | None) -> list[Fault]:
    return [Fault("list", 500, probability=draw.uniform(0.5, 0.8), seed=draw.getrandbits(30))]


def _details(draw: Random, job_id: str | None) -> list[Fault]:
    return [Fault("retrieve", draw.choice((500, 403, 404)), job_id=job_id)]


def _rows(draw: Random, job_id: str | None) -> list[Fault]:
    return [Fault("metrics", draw.choice((500, 404)), job_id=job_id)]


def _lagging(draw: Random, _: str | None) -> list[Fault]:
    lag = draw.uniform(0.5, 5) * MINUTE
    return [
        Fault(endpoint, lag=lag, probability=0.5, seed=draw.getrandbits(30))
        for endpoint in ("list", "retrieve", "metrics")
    ]


def _step_back(draw: Random, _: str | None) -> list[Fault]:
    def change(body: Any) -> Any:
        return body | {"steps_completed": body["steps_completed"] - 1} if body.get("steps_completed") else body

    return [Fault("retrieve", change=edit(change), probability=0.4, seed=draw.getrandbits(30))]


def _half(draw: Random, _: str | None) -> list[Fault]:
    first = draw.randint(0, 1)
    return [Fault("list", change=edit(lambda body: {"data": body["data"][first::2]}), every=draw.randint(3, 15))]


def _empty(draw: Random, _: str | None) -> list[Fault]:
    return [Fault("list", change=edit(lambda _: {"data": []}), every=draw.randint(3, 15))]


def _odd_update(draw: Random, _: str | None) -> list[Fault]:
    odd = draw.choice((None, "2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z"))

    def change(body: Any) -> Any:
        return {"data": [job | {"updated_at": odd} for job in body["data"]]}

    return [Fault("list", change=edit(change), probability=0.3, seed=draw.getrandbits(30))]


# fmt: off
TROUBLES: dict[str, tuple[bool, float, Callable[[Random, str | None], list[Fault]]]] = {
    "API down": (True, 8 * HOUR, _down),
    "list fails often": (True, 6 * HOUR, _often),
    "details fail": (True, 6 * HOUR, _details),
    "details fail of a job": (True, 24 * HOUR, _details),
    "rows fail": (True, 6 * HOUR, _rows),
    "rows fail of a job": (True, 24 * HOUR, _rows),
    "lagging replicas": (False, 2 * DAY, _lagging),
    "one step back": (False, 2 * DAY, _step_back),
    "half lists": (False, DAY, _half),
    "empty lists": (False, DAY, _empty),
    "odd updated_at": (False, 2 * DAY, _odd_update),
}
# fmt: on
