"""The API's JSON as `Job` and `Event`, and what of it could not be used.

Nothing in an answer may cost more than itself: a list that is sound is validated by pydantic in one go, straight
from the bytes; one that is not is gone through job by job. There an odd value is taken out of its job and becomes
unknown, and only a job without a usable id or status is rejected.
"""

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Required

from pydantic import AliasChoices, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

WAITING = ("pending", "queued")
FINISHING = ("compressing", "uploading")
TERMINAL = ("completed", "error", "user_error", "cancelled")
STATUSES = (*WAITING, "running", *FINISHING, "cancel_requested", *TERMINAL)
LEVELS = ("info", "warning", "error")
UNKNOWN = "unknown"

_EVENT_TYPES = frozenset(
    "job_pending job_start job_stopped model_downloading model_download_complete training_data_downloading"
    " training_data_download_complete validation_data_downloading validation_data_download_complete wandb_init"
    " training_start checkpoint_save billing_limit epoch_complete eval_complete training_complete model_compressing"
    " model_compression_complete model_uploading model_upload_complete job_complete job_error job_user_error"
    " cancel_requested job_restarted refund warning early_stopped".split()
)
_SAME_EVENT = {"compressing_model": "model_compressing"}
_SAME_LEVEL = {"": "info", "legacy_info": "info", "legacy_iwarning": "warning", "legacy_ierror": "error"}

# A series is kept by its label values: an id or name without end would be one more way to fill Prometheus.
Id = Annotated[str, Field(min_length=1, max_length=256)]
Text = Annotated[str, Field(max_length=1024)]
Count = Annotated[int, Field(ge=0, le=2**63 - 1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Money = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Time = Annotated[datetime | Literal[""], Field(union_mode="left_to_right")]


class EventFields(TypedDict, total=False):
    """An event of a job as the API gives it; its message is left out, as its wording changes."""

    type: Required[Text]
    level: Text | None
    created_at: Time | None


class LrSchedulerArgs(TypedDict, total=False):
    """`lr_scheduler.lr_scheduler_args`."""

    min_lr_ratio: Number | None
    num_cycles: Number | None


class LrScheduler(TypedDict, total=False):
    """`lr_scheduler`."""

    lr_scheduler_type: Text | None
    lr_scheduler_args: LrSchedulerArgs | None


class TrainingType(TypedDict, total=False):
    """`training_type`: `Full`, or `Lora` with its numbers."""

    type: Text | None
    lora_r: Number | None
    lora_alpha: Number | None
    lora_dropout: Number | None


class TrainingMethod(TypedDict, total=False):
    """`training_method`: `sft`, or `dpo` with its numbers."""

    method: Text | None
    dpo_beta: Number | None
    rpo_alpha: Number | None
    simpo_gamma: Number | None


class Progress(TypedDict, total=False):
    """`progress`: the estimated length of the current stage, in seconds from `started_at`."""

    estimate_available: bool | None
    seconds_remaining: Number | None


class JobFields(TypedDict, total=False):
    """A job as the API gives it, in either list shape or as the detail call has it; absent or null is unknown."""

    id: Required[Id]
    status: Required[Text]
    created_at: Time | None
    updated_at: Time | None
    started_at: Time | None
    progress: Progress | None
    events: list[EventFields] | None

    model: Text | None
    model_output_name: Text | None
    suffix: Annotated[Text | None, Field(validation_alias=AliasChoices("suffix", "Suffix"))]
    training_file: Text | None
    validation_file: Text | None
    from_checkpoint: Text | None
    wandb_project_name: Text | None
    wandb_url: Text | None

    token_count: Count | None
    param_count: Count | None
    total_price: Money | None
    refund_amount: Money | None
    queue_depth: Count | None
    trainingfile_numlines: Annotated[
        Count | None, Field(validation_alias=AliasChoices("trainingfile_numlines", "TrainingFileNumLines"))
    ]
    trainingfile_size: Annotated[
        Count | None, Field(validation_alias=AliasChoices("trainingfile_size", "TrainingFileSize"))
    ]

    n_epochs: Count | None
    epochs_completed: Count | None
    total_steps: Count | None
    steps_completed: Count | None
    n_evals: Count | None
    evals_completed: Count | None
    n_checkpoints: Count | None

    batch_size: Count | Literal["max"] | None
    learning_rate: Number | None
    lr_scheduler: LrScheduler | None
    warmup_ratio: Number | None
    max_grad_norm: Number | None
    weight_decay: Number | None
    eval_steps: Count | None
    max_seq_length: Count | None
    random_seed: Number | None
    train_on_inputs: bool | Text | None
    training_type: TrainingType | None
    training_method: TrainingMethod | None


class _JobList(TypedDict):
    data: list[JobFields]


_Path = tuple[int | str, ...]
_JOB_LIST = TypeAdapter(_JobList)
_JOB = TypeAdapter(JobFields)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a job: its type in lower case, a level of `LEVELS` or `unknown`, its time in unix seconds."""

    type: str
    level: str
    time: float | None


@dataclass(frozen=True, slots=True)
class Job:
    """One fine-tuning job, read-only. `fields` is as the API gave it; the properties are what follows from it.

    Times are unix seconds, money is dollars, and `None` is unknown.
    """

    fields: JobFields

    @property
    def id(self) -> str:
        """The job's id (`id`)."""
        return self.fields["id"]

    @property
    def status(self) -> str:
        """The status (`status`): one of `STATUSES`, or `unknown` for one that came to be later than this code."""
        status = self.fields["status"].lower()
        return status if status in STATUSES else UNKNOWN

    @property
    def terminal(self) -> bool:
        """Whether the job has ended, one way or another; an unknown status has not."""
        return self.status in TERMINAL

    @property
    def created(self) -> float | None:
        """When it was created (`created_at`)."""
        return _unix(self.fields.get("created_at"))

    @property
    def updated(self) -> float | None:
        """When it last changed (`updated_at`)."""
        return _unix(self.fields.get("updated_at"))

    @property
    def started(self) -> float | None:
        """When its current stage began (`started_at`)."""
        return _unix(self.fields.get("started_at"))

    @property
    def stage_seconds(self) -> float | None:
        """How long the current stage takes in all, as the API estimates it (`progress.seconds_remaining`)."""
        progress = self.fields.get("progress") or {}
        seconds = progress.get("seconds_remaining")
        return seconds if progress.get("estimate_available") and seconds and seconds > 0 else None

    @property
    def price_usd(self) -> float | None:
        """The price (`total_price`, nano-dollars there)."""
        return _dollars(self.fields.get("total_price"))

    @property
    def refund_usd(self) -> float | None:
        """What was paid back (`refund_amount`, nano-dollars there)."""
        return _dollars(self.fields.get("refund_amount"))

    @property
    def events(self) -> tuple[Event, ...]:
        """The events (`events`); none means unknown, as every job has at least the one of its creation."""
        return tuple(
            Event(_event_type(fields), _event_level(fields), _unix(fields.get("created_at")))
            for fields in self.fields.get("events") or ()
        )


@dataclass(frozen=True, slots=True)
class Rejected:
    """An object of the list that cannot be used: where it stood (its id, else its index) and one of `REASONS`."""

    job: str
    reason: str


REASONS = ("not_an_object", "id", "status", "duplicate_id")


@dataclass(frozen=True, slots=True)
class UnknownValue:
    """A value outside what is known: the job's id, the field's name with dots, the value cut to a line."""

    job_id: str
    field: str
    value: str


@dataclass(frozen=True, slots=True)
class JobList:
    """What a list's answer says: its jobs, each id once; what had to be rejected; what was not understood."""

    jobs: tuple[Job, ...]
    rejected: tuple[Rejected, ...]
    unknown_values: tuple[UnknownValue, ...]


class BodyError(Exception):
    """An answer that is not what it should be, as a sentence."""


def parse_jobs(body: bytes) -> JobList:
    """The answer of `GET /fine-tunes` as jobs; raises `BodyError` where it is no list of jobs at all."""
    rejected: list[Rejected] = []
    unknown: list[UnknownValue] = []
    try:
        jobs = [Job(fields) for fields in _JOB_LIST.validate_json(body)["data"]]
    except ValidationError:
        jobs = list(_sound_jobs(_data(body), rejected, unknown))
    newest = _newest_of_each_id(jobs)
    rejected += [Rejected(job.id, "duplicate_id") for job in jobs if newest[job.id] is not job]
    kept = tuple(newest.values())
    unknown += [value for job in kept for value in _unknown_names(job)]
    return JobList(kept, tuple(rejected), tuple(unknown))


def _data(body: bytes) -> list[Any]:
    """`data` of a body that pydantic refused, with the most lenient reading of its text."""
    if not body:
        raise BodyError("the answer is empty")
    # json.loads knows UTF-16, UTF-32 and byte order marks; a stray byte should cost one name, not the list; and
    # Python refuses to read an integer of thousands of digits, which infinity stands for as well.
    text = body.decode(json.detect_encoding(body), "replace").removeprefix("\N{BYTE ORDER MARK}")
    try:
        document = json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 400 else math.inf)
    except (ValueError, RecursionError) as error:
        raise BodyError(f"the answer is not JSON ({error}): {_cut(text)}") from None
    if not isinstance(document, dict):
        raise BodyError(f"the answer is not a JSON object: {_cut(document)}")
    data = document.get("data")
    if not isinstance(data, list):
        raise BodyError(f"the answer has no list `data`: {_cut(document)}")
    return data


def _sound_jobs(data: list[Any], rejected: list[Rejected], unknown: list[UnknownValue]) -> Iterator[Job]:
    for index, item in enumerate(data):
        if not isinstance(item, dict):
            rejected.append(Rejected(f"#{index}", "not_an_object"))
            continue
        job_id = item["id"] if isinstance(item.get("id"), str) else f"#{index}"
        while True:  # taking one odd value out can bring another to light: `Suffix` behind `suffix`
            try:
                yield Job(_JOB.validate_python(item))
            except ValidationError as error:
                paths = {_deepest(item, problem["loc"]) for problem in error.errors(include_url=False)}
                if reason := next(
                    (field for field in ("id", "status") if field not in item or (field,) in paths), None
                ):
                    rejected.append(Rejected(_cut(job_id), reason))
                    break
                unknown += [
                    UnknownValue(job_id, _dotted(path), _cut(_take_out(item, path))) for path in _last_first(paths)
                ]
            else:
                break


def _deepest(item: Any, path: _Path) -> _Path:
    """The part of an error's path that leads to something in `item`: what lies behind it is pydantic's own."""
    found: list[int | str] = []
    for key in path:
        try:
            item = item[key]
        except (KeyError, IndexError, TypeError):
            break
        found.append(key)
    return tuple(found)


def _last_first(paths: Iterable[_Path]) -> list[_Path]:
    """The order in which they can be taken out of lists without moving what is still to come."""
    return sorted(paths, key=lambda path: [(isinstance(key, int), key) for key in path], reverse=True)


def _take_out(item: Any, path: _Path) -> Any:
    for key in path[:-1]:
        item = item[key]
    return item.pop(path[-1])


def _dotted(path: _Path) -> str:
    return ".".join(key for key in path if isinstance(key, str))


def _newest_of_each_id(jobs: list[Job]) -> dict[str, Job]:
    newest: dict[str, Job] = {}
    for job in jobs:
        other = newest.setdefault(job.id, job)
        if other is not job and (job.updated or 0) > (other.updated or 0):
            newest[job.id] = job
    return newest


def _unknown_names(job: Job) -> Iterator[UnknownValue]:
    if job.status == UNKNOWN:
        yield UnknownValue(job.id, "status", _cut(job.fields["status"]))
    for fields in job.fields.get("events") or ():
        if _event_type(fields) not in _EVENT_TYPES:
            yield UnknownValue(job.id, "events.type", _cut(fields["type"]))
        if _event_level(fields) == UNKNOWN:
            yield UnknownValue(job.id, "events.level", _cut(fields.get("level")))


def _event_type(fields: EventFields) -> str:
    name = fields["type"].lower()
    return _SAME_EVENT.get(name, name)


def _event_level(fields: EventFields) -> str:
    level = (fields.get("level") or "").lower()
    level = _SAME_LEVEL.get(level, level)
    return level if level in LEVELS else UNKNOWN


def _unix(time: datetime | Literal[""] | None) -> float | None:
    if not time or time.year < 1970:  # "" and the year 1 stand for "not yet"
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _dollars(nano: float | None) -> float | None:
    return None if nano is None else nano / 1e9


def _cut(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
