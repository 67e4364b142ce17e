"""The API's JSON as `Job`, `Event` and `TrainingPoint`, and what had to be rejected."""

from exporter.models.fields import EventFields, JobFields
from exporter.models.job import LEVELS, STATUSES, TERMINAL, UNKNOWN, WAITING, Event, Job
from exporter.models.parse import (
    REASONS,
    BodyError,
    JobList,
    Rejected,
    TrainingPoint,
    UnknownValue,
    parse_events,
    parse_job,
    parse_jobs,
    parse_training,
)

__all__ = [
    "LEVELS",
    "REASONS",
    "STATUSES",
    "TERMINAL",
    "UNKNOWN",
    "WAITING",
    "BodyError",
    "Event",
    "EventFields",
    "Job",
    "JobFields",
    "JobList",
    "Rejected",
    "TrainingPoint",
    "UnknownValue",
    "parse_events",
    "parse_job",
    "parse_jobs",
    "parse_training",
]
