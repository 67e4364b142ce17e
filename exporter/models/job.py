"""A job and its events: what follows from the fields that the API sent."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal

from exporter.models.fields import EventFields, JobFields
from exporter.statuses import STATUSES, UNKNOWN, Status, status_of

LEVELS = ("info", "warning", "error")
MAX_EVENTS = 10_000
"""Events of a job that are read: the newest."""

_RECENT = 50  # events kept whole
_MAX_MESSAGE = 500  # characters
_OTHER_EVENT_TYPES = (
    "model_downloading model_download_complete training_data_downloading"
    " training_data_download_complete validation_data_downloading validation_data_download_complete wandb_init"
    " training_start checkpoint_save billing_limit epoch_complete eval_complete training_complete"
    " model_compression_complete model_upload_complete job_restarted refund warning early_stopped"
).split()
_EVENT_TYPES = frozenset(_OTHER_EVENT_TYPES).union(*(status.starts_with for status in STATUSES.values()))
_SAME_EVENT = {"compressing_model": "model_compressing"}
_SAME_LEVEL = {"": "info", "legacy_info": "info", "legacy_iwarning": "warning", "legacy_ierror": "error"}


@dataclass(frozen=True, slots=True)
class Event:
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
        return _dollars(self.fields.get("total_price"))

    @property
    def refund_usd(self) -> float | None:
        """The refund (`refund_amount`, in nano-dollars)."""
        return _dollars(self.fields.get("refund_amount"))


def summarise(events: list[EventFields] | None) -> Events | None:
    """The summary of a job's events; `None`, for unknown, without any: every job has at least one for its creation."""
    if not events:
        return None
    levels, types = Counter(dict.fromkeys(LEVELS, 0)), Counter[str]()
    first: dict[str, float] = {}
    last: dict[str, float] = {}
    recent: deque[EventFields] = deque(maxlen=_RECENT)
    for fields in events[-MAX_EVENTS:]:
        known = _event_type(fields)
        name = known if known in _EVENT_TYPES else UNKNOWN.name
        levels[_event_level(fields)] += 1
        types[name] += 1
        if (time := unix(fields.get("created_at"))) is not None:
            first[name] = min(time, first.get(name, time))
            last[name] = max(time, last.get(name, time))
        recent.append(fields)
    return Events(
        MappingProxyType(levels),
        MappingProxyType(types),
        MappingProxyType(first),
        MappingProxyType(last),
        tuple(map(_event, recent)),
    )


def unknown_events(events: Iterable[EventFields]) -> Iterator[tuple[str, str]]:
    """Event types and levels outside the known set: the field's name with dots, and the value."""
    for fields in events:
        if _event_type(fields) not in _EVENT_TYPES:
            yield "events.type", fields["type"]
        if _event_level(fields) == UNKNOWN.name:
            yield "events.level", fields.get("level") or ""


def unix(time: datetime | Literal[""] | None) -> float | None:
    """A time of the API in unix seconds; `""` and sentinels such as year 1 are unknown."""
    if not time or time.year < 1970:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _event(fields: EventFields) -> Event:
    message = fields.get("message")
    text = " ".join(message.split())[:_MAX_MESSAGE] if isinstance(message, str) else ""
    return Event(_event_type(fields), _event_level(fields), unix(fields.get("created_at")), text)


def _event_type(fields: EventFields) -> str:
    name = fields["type"].lower()
    return _SAME_EVENT.get(name, name)


def _event_level(fields: EventFields) -> str:
    level = (fields.get("level") or "").lower()
    level = _SAME_LEVEL.get(level, level)
    return level if level in LEVELS else UNKNOWN.name


def _dollars(nano: float | None) -> float | None:
    return None if nano is None else nano / 1e9
