"""A job's whole life as data, and the story that follows from it: every change of the job, in time order."""

import math
import random
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from operator import itemgetter
from typing import Any, Literal, get_args

Json = dict[str, Any]
Stage = Literal["pending", "queued", "download", "train", "compress", "upload"]
Fate = Literal["completed", "error", "user_error", "cancelled", "billing_limit", "hang", "restart"]
Change = tuple[float, str, Json]  # when (a moment, or a share of a stage), the event's type or "", the fields it sets

# Tables, to be read by the row.
# fmt: off
STATUS: dict[Stage, str] = {
    "pending": "pending", "queued": "queued", "download": "running", "train": "running", "compress": "compressing",
    "upload": "uploading",
}
ENDS: dict[Fate, list[tuple[str, str]]] = {  # fate -> the last events, each with the status after it
    "completed": [("job_complete", "completed")],
    "restart": [("job_complete", "completed")],
    "error": [("job_error", "error")],
    "user_error": [("job_user_error", "user_error")],
    "cancelled": [("cancel_requested", "cancel_requested"), ("job_stopped", "cancelled")],
    "billing_limit": [("billing_limit", "cancelled"), ("job_stopped", "cancelled")],
    "hang": [],
}
REPEATED = {  # event -> the field that says how often it comes, the field that counts it
    "eval_complete": ("n_evals", "evals_completed"),
    "checkpoint_save": ("n_checkpoints", None),
    "epoch_complete": ("n_epochs", "epochs_completed"),
}
MODELS = (  # name, parameters, dollars for a million tokens: three small ones, three large
    ("meta-llama/Meta-Llama-3.1-8B-Instruct-Reference", 8_030_261_248, 0.48),
    ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512, 0.48),
    ("mistralai/Mistral-7B-Instruct-v0.2", 7_241_732_096, 0.48),
    ("google/gemma-3-27b-it", 27_432_406_640, 1.5),
    ("Qwen/Qwen2.5-72B-Instruct", 72_706_203_648, 2.9),
    ("meta-llama/Llama-3.3-70B-Instruct-Reference", 70_553_706_496, 2.9),
)
# fmt: on


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The whole life of one job: moments in unix seconds, durations in seconds; every default is plausible.

    The fate, unless it is `completed`, strikes in the stage `strikes_in` after the share `strikes_at` of it. A
    `restart` then does that stage again from its start; a `hang` stays as it is for ever.
    """

    id: str
    created: float
    fate: Fate = "completed"
    strikes_in: Stage = "train"
    strikes_at: float = 0.5
    pending: float = 60.0
    queued: float = 600.0
    download: float = 180.0
    train: float = 1200.0
    compress: float = 120.0
    upload: float = 180.0
    cancel: float = 30.0  # from cancel_requested to cancelled
    estimate: float = 1.0  # how long the API estimates a stage to last, as a multiple of the truth
    queue_depth: int = 5  # its place when it enters the queue
    total_steps: int = 300
    n_epochs: int = 3
    n_evals: int = 0
    n_checkpoints: int = 1
    diverges_at: float | None = None  # the share of the training from which its loss is NaN
    model: str = MODELS[0][0]
    param_count: int = MODELS[0][1]
    usd_per_million_tokens: float = MODELS[0][2]
    token_count: int = 5_000_000  # of the training file; every epoch trains on all of them
    batch_size: int | Literal["max"] = "max"
    learning_rate: float = 1e-5
    warmup_ratio: float = 0.0
    train_on_inputs: bool | Literal["auto"] | None = "auto"
    lora_r: int | None = 16  # None: full training
    dpo_beta: float | None = None  # None: supervised training
    suffix: str | None = None
    wandb_project_name: str | None = None
    fraction_digits: int = 3  # of its timestamps, 0 to 9
    legacy_levels: bool = False  # the levels of its events are those of old jobs
    seed: int = 0  # of its loss curve


def draws(*key: object) -> random.Random:
    """The random numbers that belong to `key`, the same each time."""
    return random.Random("/".join(map(str, key)))  # noqa: S311 - draws a simulated world, guards nothing


def stamp(plan: Plan, moment: float) -> str:
    """A moment (unix seconds) as the timestamp of a job: RFC 3339, cut to its number of fraction digits."""
    whole = math.floor(moment)
    fraction = f".{int((moment - whole) * 1e9):09d}"[: plan.fraction_digits + 1] if plan.fraction_digits else ""
    return datetime.fromtimestamp(whole, UTC).isoformat()[:19] + fraction + "Z"


def past(plan: Plan, now: float) -> Sequence[Change]:
    """What has changed in a job by `now` (unix seconds), in time order, each at its moment."""
    return _story(plan)[: _told(plan, now)]


def next_change(plan: Plan, now: float) -> float:
    """The first moment after `now` (unix seconds) at which anything changes in a job; infinity once nothing will."""
    story, told = _story(plan), _told(plan, now)
    return story[told][0] if told < len(story) else math.inf


def _told(plan: Plan, now: float) -> int:
    now = max(now, plan.created)  # a job has always been created
    return bisect_right(_story(plan), now, key=itemgetter(0))


@lru_cache(maxsize=100)  # the jobs of a demo, and not more: a story may take 100 kB
def _story(plan: Plan) -> tuple[Change, ...]:
    return tuple(_tell(plan))


def _tell(plan: Plan) -> Iterator[Change]:
    at, before = plan.created, None
    for stage, lived in _runs(plan):
        again = stage == before
        if again:
            lost = plan.strikes_at if stage == "train" else 0
            yield at, "job_restarted", {"job_id": f"job-{plan.id}-2"}
            yield at, "refund", {"refund_amount": int(_price(plan) * lost)}
        if again or before is None or STATUS[stage] != STATUS[before]:
            started = None if stage == "pending" else stamp(plan, at)
            yield at, "", {"status": STATUS[stage], "started_at": started, "progress": _progress(plan, stage)}
        length: float = getattr(plan, stage)
        for share, kind, fields in _within(plan, stage):
            if share <= lived:
                yield at + length * share, kind, fields
        at, before = at + length * lived, stage
    for kind, status in ENDS[plan.fate]:
        yield at, kind, {"status": status, "progress": _progress(plan, None)}
        at += plan.cancel if kind == "cancel_requested" else 0


def _runs(plan: Plan) -> list[tuple[Stage, float]]:
    """The stages that a job goes through, each with the share of it that the job lives."""
    runs: list[tuple[Stage, float]] = [(stage, 1.0) for stage in get_args(Stage)]
    if plan.fate == "completed":
        return runs
    struck = get_args(Stage).index(plan.strikes_in)
    again = runs[struck:] if plan.fate == "restart" else []
    return [*runs[:struck], (plan.strikes_in, plan.strikes_at), *again]


def _progress(plan: Plan, stage: Stage | None) -> Json:
    if stage in (None, "pending", "queued"):
        return {"estimate_available": False, "seconds_remaining": 0}
    # The API knows one stage `running`, from the downloads to the end of the training.
    length = plan.download + plan.train if stage == "download" else getattr(plan, stage)
    return {"estimate_available": True, "seconds_remaining": round(length * plan.estimate, 3)}


def _within(plan: Plan, stage: Stage) -> list[Change]:
    """The changes within a stage, each after its share of it."""
    match stage:
        case "pending":
            return [(0, "job_pending", {})]
        case "queued":
            depth = plan.queue_depth
            return [(place / depth, "", {"queue_depth": depth - place}) for place in range(depth)]
        case "download":
            price = _price(plan)
            counted = {"token_count": plan.token_count, "total_steps": plan.total_steps}
            return [
                (0, "job_start", {"queue_depth": 0, "job_id": f"job-{plan.id}"}),
                (0, "model_downloading", {}),
                (0.6, "model_download_complete", {"param_count": plan.param_count}),
                (0.6, "training_data_downloading", {}),
                (1, "training_data_download_complete", counted | {"train_price": price, "total_price": price}),
            ]
        case "train":
            start = {"steps_completed": 0, "epochs_completed": 0, "evals_completed": 0}
            return [(0, "training_start", start), *_steps(plan), (1, "training_complete", {})]
        case "compress":
            return [(0, "model_compressing", {}), (1, "model_compression_complete", {})]
        case "upload":
            uploaded = {"model_output_path": f"s3://models/{plan.id}"}
            return [(0, "model_uploading", {}), (1, "model_upload_complete", uploaded)]


def _steps(plan: Plan) -> list[Change]:
    total = plan.total_steps
    every = math.ceil(total / 300)  # so often steps are reported and rows of training metrics written
    steps: list[Change] = [(step, "", {"steps_completed": step}) for step in range(every, total + 1, every)]
    for kind, (times, counter) in REPEATED.items():
        parts: int = getattr(plan, times)
        for n in range(1, parts + 1):
            step = n * total // parts
            steps.append((step, kind, {"steps_completed": step} | ({counter: n} if counter else {})))
    steps.sort(key=itemgetter(0))
    return [(step / total, kind, fields) for step, kind, fields in steps]


def _price(plan: Plan) -> int:
    return plan.token_count * plan.n_epochs * round(plan.usd_per_million_tokens * 1000)  # in nano-dollars
