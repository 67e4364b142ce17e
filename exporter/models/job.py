"""A job and its events: what follows from the fields that the API gave."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from exporter import statuses
from exporter.models.fields import EventFields, JobFields

STATUSES = tuple(statuses.STATUSES)
WAITING = tuple(name for name, status in statuses.STATUSES.items() if status.waiting)
TERMINAL = tuple(name for name, status in statuses.STATUSES.items() if status.ended)
LEVELS = ("info", "warning", "error")
UNKNOWN = statuses.UNKNOWN.name

_EVENT_TYPES = frozenset(
    "job_pending job_start job_stopped model_downloading model_download_complete training_data_downloading"
    " training_data_download_complete validation_data_downloading validation_data_download_complete wandb_init"
    " training_start checkpoint_save billing_limit epoch_complete eval_complete training_complete model_compressing"
    " model_compression_complete model_uploading model_upload_complete job_complete job_error job_user_error"
    " cancel_requested job_restarted refund warning early_stopped".split()
)
_SAME_EVENT = {"compressing_model": "model_compressing"}
_SAME_LEVEL = {"": "info", "legacy_info": "info", "legacy_iwarning": "warning", "legacy_ierror": "error"}


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


def unknown_names(job: Job) -> Iterator[tuple[str, str]]:
    """Statuses, event types and levels of a job that are not known: the field's name with dots, and the value."""
    if job.status == UNKNOWN:
        yield "status", job.fields["status"]
    for fields in job.fields.get("events") or ():
        if _event_type(fields) not in _EVENT_TYPES:
            yield "events.type", fields["type"]
        if _event_level(fields) == UNKNOWN:
            yield "events.level", fields.get("level") or ""


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
