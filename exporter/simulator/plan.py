"""A job's life as data."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, get_args

Json = dict[str, Any]
Stage = Literal["pending", "queued", "download", "train", "compress", "upload"]
Fate = Literal["completed", "error", "user_error", "cancelled", "billing_limit", "hang", "restart"]
Sign = Literal["steps", "epochs", "evals", "rows"]

MODELS = (  # name, parameters, dollars per million tokens: three small models, three large ones
    ("meta-llama/Meta-Llama-3.1-8B-Instruct-Reference", 8_030_261_248, 0.48),
    ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512, 0.48),
    ("mistralai/Mistral-7B-Instruct-v0.2", 7_241_732_096, 0.48),
    ("google/gemma-3-27b-it", 27_432_406_640, 1.5),
    ("Qwen/Qwen2.5-72B-Instruct", 72_706_203_648, 2.9),
    ("meta-llama/Llama-3.3-70B-Instruct-Reference", 70_553_706_496, 2.9),
)


@dataclass(frozen=True, kw_only=True)
class Interruption:
    """A job stops at the fraction `at` of a stage for `lasts` seconds, then continues.

    It continues where it stopped, or from `resume`, an earlier stage and a fraction of it. Meanwhile the API shows
    `fields` in place of the job's own. A `restart` adds the event `job_restarted` and refunds the lost steps.
    """

    stage: Stage = "train"
    at: float
    lasts: float = 0.0
    resume: tuple[Stage, float] | None = None
    restart: bool = False
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The whole life of one job: times in unix seconds, durations in seconds. Every default is plausible.

    A `fate` other than `completed` sets in at the fraction `fate_at` of `fate_stage`: the job ends there, hangs for
    ever, or restarts the stage. `interruptions` are in the order in which they happen, before the fate.

    `estimate` is the length that the API estimates for a stage, as a multiple of the planned length. A sequence of
    (seconds after the start of the stage, multiple) makes it change; None is no estimate, and so is an empty sequence.

    `beats` maps fields to an interval in seconds at which they change for as long as the job is active, whatever
    else happens: `updated_at` becomes the current time, `progress` moves with the clock, so that the remaining time
    stays the same, and a number increases by 1, once it is known.

    `overrides` maps a status to the fields that the API shows in place of the job's own while it has that status.
    """

    id: str
    created: float
    fate: Fate = "completed"
    fate_stage: Stage = "train"
    fate_at: float = 0.5
    interruptions: Sequence[Interruption] = ()
    pending: float = 60.0
    queued: float = 600.0
    download: float = 180.0
    train: float = 1200.0
    compress: float = 120.0
    upload: float = 180.0
    cancel: float = 30.0  # from cancel_requested to cancelled
    estimate: float | Sequence[tuple[float, float | None]] = 1.0
    reports: frozenset[Sign] = frozenset(get_args(Sign))  # which signs of progress the API gives
    updated_on: Literal["change", "event", "status", "creation"] = "change"  # what sets updated_at
    beats: Mapping[str, float] = field(default_factory=dict)
    overrides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    queue_depth: int = 5  # the place at which it enters the queue
    queue_places: Sequence[int] | None = None  # its places, spread evenly over `queued`; None counts down to 1
    total_steps: int = 300
    n_epochs: int = 3
    n_evals: int = 0
    n_checkpoints: int = 1
    diverges_at: float | None = None  # the fraction of the training from which the loss is NaN
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
    legacy_levels: bool = False  # whether its events have the levels of old jobs
    seed: int = 0  # of its loss curve

    def __hash__(self) -> int:
        return hash(self.id)  # quick, for a cache looks up each job of a list, and mappings have no hash


def draws(*key: object) -> random.Random:
    """A random number generator seeded with `key`."""
    return random.Random("/".join(map(str, key)))  # noqa: S311 - simulates, protects nothing


def stamp(plan: Plan, moment: float) -> str:
    """A time (unix seconds) as a timestamp of the job: RFC 3339, truncated to its number of fraction digits."""
    whole = math.floor(moment)
    fraction = f".{int((moment - whole) * 1e9):09d}"[: plan.fraction_digits + 1] if plan.fraction_digits else ""
    return datetime.fromtimestamp(whole, UTC).isoformat()[:19] + fraction + "Z"
