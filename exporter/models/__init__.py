"""The API's JSON as `Job`, `Events` and `TrainingPoint`, and what had to be rejected."""

from exporter.models.fields import MAX_LABEL, EventFields, JobFields
from exporter.models.job import LEVELS, NANO, Event, Events, Job, dollars
from exporter.models.parse import (
    REASONS,
    BodyError,
    JobList,
    Rejection,
    TrainingPoint,
    UnknownValue,
    parse_events,
    parse_job,
    parse_jobs,
    parse_training,
)

__all__ = [
    "LEVELS",
    "MAX_LABEL",
    "NANO",
    "REASONS",
    "BodyError",
    "Event",
    "EventFields",
    "Events",
    "Job",
    "JobFields",
    "JobList",
    "Rejection",
    "TrainingPoint",
    "UnknownValue",
    "dollars",
    "parse_events",
    "parse_job",
    "parse_jobs",
    "parse_training",
]
