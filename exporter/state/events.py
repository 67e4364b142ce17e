"""What can happen to an account: the events that its state is folded from. Times are unix seconds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from exporter.models import Events, Job, JobList, TrainingPoint, UnknownValue

Endpoint = Literal["list", "retrieve", "events", "metrics"]


@dataclass(frozen=True, slots=True)
class Call:
    """One request to the API, sent at `at`: its endpoint, the HTTP status or the reason of its failure, its duration
    in seconds, and the id of the job that it was about, if any."""

    at: float
    endpoint: Endpoint
    code: str
    seconds: float
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class ListAnswered:
    """The list of jobs arrived. The next poll follows after `interval` seconds."""

    call: Call
    content: JobList
    interval: float
    rate_limit_remaining: float | None = None


@dataclass(frozen=True, slots=True)
class ListFailed:
    """A request for the list failed. The next poll follows after `interval` seconds."""

    call: Call
    interval: float


@dataclass(frozen=True, slots=True)
class DetailsAnswered:
    """The details of a job arrived."""

    call: Call
    job: Job
    unknown_values: Sequence[UnknownValue] = ()


@dataclass(frozen=True, slots=True)
class EventsAnswered:
    """The events of a job arrived."""

    call: Call
    events: Events | None
    unknown_values: Sequence[UnknownValue] = ()


@dataclass(frozen=True, slots=True)
class RowsAnswered:
    """Training rows of a job arrived."""

    call: Call
    rows: Sequence[TrainingPoint]


@dataclass(frozen=True, slots=True)
class JobCallFailed:
    """A request about one job failed."""

    call: Call


@dataclass(frozen=True, slots=True)
class PollFailed:
    """A poll failed without a call: it is `overdue` (its loop is dead or hangs), or failed for an `internal` error."""

    at: float
    reason: Literal["overdue", "internal"]


Event = ListAnswered | ListFailed | DetailsAnswered | EventsAnswered | RowsAnswered | JobCallFailed | PollFailed
