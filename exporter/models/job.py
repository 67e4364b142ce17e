"""A job and its events: what follows from the fields that the API sent."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, NamedTuple

from exporter.models.fields import EventFields, JobFields
from exporter.statuses import STATUSES, UNKNOWN, Status, status_of

NANO = 10**9
"""Nano-dollars in a dollar."""

LEVELS = ("info", "warning", "error")
MAX_EVENTS = 10_000
"""Events of a job that are read: the newest."""

_RECENT = 50  # events kept whole
_MAX_MESSAGE = 500  # characters
_CACHED = 256  # of the few types and levels that there are, and of odd ones
_NO_LEVELS = dict.fromkeys(LEVELS, 0)
_OTHER_EVENT_TYPES = (
    "model_downloading model_download_complete training_data_downloading"
    " training_data_download_complete validation_data_downloading validation_data_download_complete wandb_init"
    " training_start checkpoint_save billing_limit epoch_complete eval_complete training_complete"
    " model_compression_complete model_upload_complete job_restarted refund warning early_stopped"
).split()
_EVENT_TYPES = frozenset(_OTHER_EVENT_TYPES).union(*(status.starts_with for status in STATUSES.values()))
_SAME_EVENT = {"compressing_model": "model_compressing"}
_SAME_LEVEL = {"": "info", "legacy_info": "info", "legacy_iwarning": "warning", "legacy_ierror": "error"}


class Event(NamedTuple):
    """One event of a job: its type in lower case, its level (one of `LEVELS` or `unknown`), its time (unix seconds) and
    its message."""

    type: str
    level: str
    time: float | None
    message: str


@dataclass(frozen=True, slots=True)
class Events:
    """The events of a job, summarised: counts by level and by type, the first and last time of each type (unix
    seconds), and the newest events whole. Types outside the known set are counted as `unknown`."""

    levels: Mapping[str, int]
    types: Mapping[str, int]
    first: Mapping[str, float]
    last: Mapping[str, float]
    recent: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class Job:
    """One fine-tuning job, read-only. `fields` is what the API sent, `events` the summary of its events; the
    properties are what follows from them.

    Times are unix seconds, money is US dollars, and `None` is unknown.
    """

    fields: JobFields
    events: Events | None = None

    @property
    def id(self) -> str:
        """The job's id (`id`)."""
        return self.fields["id"]

    @property
    def status(self) -> Status:
        """The row of the table of statuses (`status`)."""
        return status_of(self.fields["status"])

    @property
    def model(self) -> str:
        """The base model (`model`), or `unknown`."""
        return self.fields.get("model") or UNKNOWN.name

    @property
    def created(self) -> float | None:
        """When it was created (`created_at`)."""
        return unix(self.fields.get("created_at"))

    @property
    def updated(self) -> float | None:
        """When it last changed (`updated_at`)."""
        return unix(self.fields.get("updated_at"))

    @property
    def started(self) -> float | None:
        """When its current stage began (`started_at`)."""
        return unix(self.fields.get("started_at"))

    @property
    def stage_seconds(self) -> float | None:
        """The estimated length of the current stage (`progress.seconds_remaining`)."""
        progress = self.fields.get("progress") or {}
        seconds = progress.get("seconds_remaining")
        return seconds if progress.get("estimate_available") and seconds and seconds > 0 else None

    @property
    def price_usd(self) -> float | None:
        """The price (`total_price`, in nano-dollars)."""
        return dollars(self.fields.get("total_price"))

    @property
    def refund_usd(self) -> float | None:
        """The refund (`refund_amount`, in nano-dollars)."""
        return dollars(self.fields.get("refund_amount"))


def summarise(events: list[EventFields] | None) -> Events | None:
    """The summary of a job's events; `None`, for unknown, without any: every job has at least one for its creation."""
    if not events:
        return None
    events = events[-MAX_EVENTS:]
    names = [_event_type(fields["type"]) for fields in events]
    levels = [_event_level(fields.get("level")) for fields in events]
    times = [unix(fields.get("created_at")) for fields in events]
    kinds = [name if name in _EVENT_TYPES else UNKNOWN.name for name in names]
    dated = sorted((time, kind) for time, kind in zip(times, kinds, strict=True) if time is not None)
    texts = map(_text, events[-_RECENT:])
    return Events(
        MappingProxyType({**_NO_LEVELS, **Counter(levels)}),
        MappingProxyType(Counter(kinds)),
        MappingProxyType({kind: time for time, kind in reversed(dated)}),
        MappingProxyType({kind: time for time, kind in dated}),
        tuple(map(Event, names[-_RECENT:], levels[-_RECENT:], times[-_RECENT:], texts)),
    )


def unknown_events(events: Iterable[EventFields]) -> Iterator[tuple[str, str]]:
    """Event types and levels outside the known set: the field's name with dots, and the value."""
    for fields in events:
        if _event_type(fields["type"]) not in _EVENT_TYPES:
            yield "events.type", fields["type"]
        if _event_level(fields.get("level")) == UNKNOWN.name:
            yield "events.level", fields.get("level") or ""


def unix(time: datetime | Literal[""] | None) -> float | None:
    """A time of the API in unix seconds; `""` and sentinels such as year 1 are unknown."""
    if not time or time.year < 1970:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _text(fields: EventFields) -> str:
    message = fields.get("message")
    text = " ".join(message.split()) if isinstance(message, str) else ""
    return text if len(text) <= _MAX_MESSAGE else f"{text[: _MAX_MESSAGE - 1]}…"


@lru_cache(_CACHED)
def _event_type(name: str) -> str:
    name = name.lower()
    return _SAME_EVENT.get(name, name)


@lru_cache(_CACHED)
def _event_level(name: str | None) -> str:
    level = (name or "").lower()
    level = _SAME_LEVEL.get(level, level)
    return level if level in LEVELS else UNKNOWN.name


def dollars(nano: float | None) -> float | None:
    """Nano-dollars in US dollars."""
    return None if nano is None else nano / NANO
