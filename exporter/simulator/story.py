"""What happens in a job's life: every change in time order, as it follows from the plan."""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple, get_args

from exporter.simulator.plan import Fate, Interruption, Json, Plan, Sign, Stage

# Tables, to be read by the row.
# fmt: off
STAGES: tuple[Stage, ...] = get_args(Stage)
STATUS: dict[Stage, str] = {
    "pending": "pending", "queued": "queued", "download": "running", "train": "running", "compress": "compressing",
    "upload": "uploading",
}
ENDS: dict[Fate, list[tuple[str, str]]] = {  # fate -> the last events, each with the status that follows
    "completed": [("job_complete", "completed")],
    "restart": [("job_complete", "completed")],
    "error": [("job_error", "error")],
    "user_error": [("job_user_error", "user_error")],
    "cancelled": [("cancel_requested", "cancel_requested"), ("job_stopped", "cancelled")],
    "billing_limit": [("billing_limit", "cancelled"), ("job_stopped", "cancelled")],
}
LAST = {ending[-1][0] for ending in ENDS.values()}
EARLY: tuple[Fate, ...] = ("error", "user_error", "cancelled", "billing_limit")  # fates that end a job
REPEATED = {  # event -> the field that says how often it happens, the field that counts it
    "eval_complete": ("n_evals", "evals_completed"),
    "checkpoint_save": ("n_checkpoints", None),
    "epoch_complete": ("n_epochs", "epochs_completed"),
}
SIGNS: dict[Sign, tuple[str, ...]] = {  # sign of progress -> the fields and events that give it
    "steps": ("steps_completed", "total_steps"),
    "epochs": ("epoch_complete", "epochs_completed"),
    "evals": ("eval_complete", "evals_completed"),
}
AT_FIRST: Json = {
    "job_id": None, "queue_depth": None, "param_count": None, "total_steps": None, "steps_completed": 0,
    "epochs_completed": 0, "evals_completed": 0, "token_count": 0, "total_price": 0, "train_price": 0,
    "model_output_path": None,
}
# fmt: on

Position = tuple[int, float]  # in the undisturbed life: the number of a stage and a fraction of it
Moment = tuple[Position, float, str, Json]  # with the seconds that the undisturbed life takes until then
BEFORE = -1.0  # the fraction just before a stage, so that what starts the stage is still to come


class Change(NamedTuple):
    """A change of a job at a time (unix seconds): the type of its event, or "", and the fields that it sets."""

    at: float
    event: str
    fields: Json


class Running(NamedTuple):
    """Since when the current stage has been running (unix seconds), and the rest of its planned length then.

    The length is None for a stage that the API gives no estimate for.
    """

    since: float
    length: float | None


class Story:
    """The changes of a job, arranged so that its state at any time is found quickly."""

    def __init__(self, plan: Plan) -> None:
        known = list(changes(plan))
        self.end = known[-1].at if known[-1].event in LAST else math.inf
        """When the job ends (unix seconds); infinity if it hangs."""
        hidden = {name for sign, names in SIGNS.items() if sign not in plan.reports for name in names}
        self._times = [change.at for change in known]
        self._updates = self._times if plan.updated_on == "change" else list(_updates(plan, known))
        self.event_changes = [change for change in known if change.event and change.event not in hidden]
        self._tracks: dict[str, tuple[list[float], list[Any]]] = {}
        for at, _, fields in known:
            for name, value in fields.items():
                if name not in self._tracks:
                    self._tracks[name] = [], []
                times, values = self._tracks[name]
                times.append(at)
                values.append(None if name in hidden else value)

    def fields(self, now: float) -> Json:
        """The fields that were set by `now`, with their values."""
        return {
            name: values[count - 1]
            for name, (times, values) in self._tracks.items()
            if (count := bisect_right(times, now))
        }

    def events(self, now: float) -> int:
        """How many of `event_changes` there are by `now`."""
        return bisect_right(self.event_changes, now, key=_at)

    def updated(self, now: float) -> float:
        """When `updated_at` was last set."""
        return self._updates[bisect_right(self._updates, now) - 1]

    def next_change(self, now: float) -> float:
        """The time of the first change after `now`, or infinity."""
        count = bisect_right(self._times, now)
        return self._times[count] if count < len(self._times) else math.inf


@lru_cache(maxsize=100)  # a story takes some 50 kB
def story(plan: Plan) -> Story:
    """The story of a plan."""
    return Story(plan)


_at: Callable[[Any], Any] = itemgetter(0)


def _updates(plan: Plan, known: Sequence[Change]) -> Iterator[float]:
    yield plan.created
    before, own = "", ""
    shown: Mapping[str, Any] = {}
    for at, event, fields in known:
        own, shown = fields.get("status", own), fields.get("shown", shown)
        status = shown.get("status", own)
        match plan.updated_on:
            case "event" if event or status != before:
                yield at
            case "status" if status != before:
                yield at
        before = status


def changes(plan: Plan) -> Iterator[Change]:
    """Every change of a job, in time order."""
    life = list(_life(plan))
    at, here, refunded = plan.created, (0, BEFORE), 0
    for number, stop in enumerate((*plan.interruptions, *_fate_as_interruption(plan)), start=2):
        there = STAGES.index(stop.stage), stop.at
        yield from _pass(plan, life, here, there, at)
        at += _seconds(plan, here, there)
        if stop.fields:
            yield Change(at, "", {"shown": stop.fields})
        at += stop.lasts
        if at == math.inf:
            return
        here = there
        if stop.resume:
            stage, fraction = stop.resume
            here = STAGES.index(stage), fraction or BEFORE
        before, after = _state(life, there), _state(life, here)
        changed = {name: value for name, value in after.items() if value != before.get(name)}
        if stop.fields:
            changed["shown"] = {}
        if stop.restart or "status" in changed:
            changed |= _started(plan, here, at)
        if stop.restart:
            refunded += int(price(plan) * (_trained(there) - _trained(here)))
            yield Change(at, "job_restarted", changed | {"job_id": f"job-{plan.id}-{number}"})
            yield Change(at, "refund", {"refund_amount": refunded})
        elif changed:
            yield Change(at, "", changed)
    there = (STAGES.index(plan.fate_stage), plan.fate_at) if plan.fate in EARLY else (len(STAGES) - 1, 1.0)
    yield from _pass(plan, life, here, there, at)
    at += _seconds(plan, here, there)
    for event, status in ENDS[plan.fate]:
        yield Change(at, event, {"status": status, "running": Running(at, None)})
        at += plan.cancel if event == "cancel_requested" else 0


def _fate_as_interruption(plan: Plan) -> list[Interruption]:
    stage, at = plan.fate_stage, plan.fate_at
    match plan.fate:
        case "hang":
            return [Interruption(stage=stage, at=at, lasts=math.inf)]
        case "restart":
            return [Interruption(stage=stage, at=at, resume=(stage, 0.0), restart=True)]
    return []


def _pass(plan: Plan, life: Sequence[Moment], here: Position, there: Position, at: float) -> Iterator[Change]:
    """The changes from `here`, where the job is at the time `at`, to `there`."""
    if _seconds(plan, here, there) < 0:
        raise ValueError(f"The interruptions of {plan.id} are not in the order in which they happen")
    start = _seconds(plan, (0, 0.0), here)
    first, last = (bisect_right(life, position, key=_at) for position in (here, there))
    for position, seconds, event, fields in life[first:last]:
        when = at + (seconds - start)
        yield Change(when, event, fields | _started(plan, position, when) if "status" in fields else fields)


def _started(plan: Plan, position: Position, at: float) -> Json:
    """The fields that say when a stage of the API started, and how long it lasts from this position on."""
    stage, _ = position
    status = STATUS[STAGES[stage]]
    last = max(number for number, name in enumerate(STAGES) if STATUS[name] == status)
    length = None if status in ("pending", "queued") else _seconds(plan, position, (last, 1.0))
    return {"started_at": None if status == "pending" else at, "running": Running(at, length)}


def _state(life: Sequence[Moment], position: Position) -> Json:
    state = dict(AT_FIRST)
    for reached, _, _, fields in life:
        if reached <= position:
            state |= fields
    return state


def _seconds(plan: Plan, here: Position, there: Position) -> float:
    """How long the undisturbed life takes from one position to another."""
    (first, start), (last, end) = here, there
    between: float = sum(getattr(plan, name) for name in STAGES[first:last])
    first_length: float = getattr(plan, STAGES[first])
    last_length: float = getattr(plan, STAGES[last])
    return between + last_length * max(end, 0.0) - first_length * max(start, 0.0)


def _trained(position: Position) -> float:
    stage, fraction = position
    train = STAGES.index("train")
    return max(fraction, 0.0) if stage == train else float(stage > train)


def _life(plan: Plan) -> Iterator[Moment]:
    """The whole life without its fate and interruptions, but for the last event."""
    before, start = "", 0.0
    for number, stage in enumerate(STAGES):
        if STATUS[stage] != before:
            before = STATUS[stage]
            yield (number, 0.0), start, "", {"status": before} | (AT_FIRST if number == 0 else {})
        length: float = getattr(plan, stage)
        for fraction, event, fields in _within(plan, stage):
            yield (number, fraction), start + length * fraction, event, fields
        start += length


def _within(plan: Plan, stage: Stage) -> list[tuple[float, str, Json]]:
    """The changes within a stage, each with the fraction of it after which it happens."""
    match stage:
        case "pending":
            return [(0.0, "job_pending", {})]
        case "queued":
            places = range(plan.queue_depth, 0, -1) if plan.queue_places is None else plan.queue_places
            return [(number / len(places), "", {"queue_depth": place}) for number, place in enumerate(places)]
        case "download":
            counted = {"token_count": plan.token_count, "total_steps": plan.total_steps}
            prices = {"train_price": price(plan), "total_price": price(plan)}
            return [
                (0.0, "job_start", {"queue_depth": 0, "job_id": f"job-{plan.id}"}),
                (0.0, "model_downloading", {}),
                (0.6, "model_download_complete", {"param_count": plan.param_count}),
                (0.6, "training_data_downloading", {}),
                (1.0, "training_data_download_complete", counted | prices),
            ]
        case "train":
            start = {"steps_completed": 0, "epochs_completed": 0, "evals_completed": 0}
            return [(0.0, "training_start", start), *_steps(plan), (1.0, "training_complete", {})]
        case "compress":
            return [(0.0, "model_compressing", {}), (1.0, "model_compression_complete", {})]
        case "upload":
            uploaded = {"model_output_path": f"s3://models/{plan.id}"}
            return [(0.0, "model_uploading", {}), (1.0, "model_upload_complete", uploaded)]


def _steps(plan: Plan) -> list[tuple[float, str, Json]]:
    total = plan.total_steps
    every = math.ceil(total / 300)  # how often steps are reported and rows of training metrics are written
    steps: list[tuple[int, str, Json]] = [
        (step, "", {"steps_completed": step}) for step in range(every, total + 1, every)
    ]
    for event, (times, counter) in REPEATED.items():
        parts: int = getattr(plan, times)
        for n in range(1, parts + 1):
            step = n * total // parts
            steps.append((step, event, {"steps_completed": step} | ({counter: n} if counter else {})))
    steps.sort(key=itemgetter(0))
    return [(step / total, event, fields) for step, event, fields in steps]


def price(plan: Plan) -> int:
    """What the training of a plan costs, in nano-dollars."""
    return plan.token_count * plan.n_epochs * round(plan.usd_per_million_tokens * 1000)
