"""How what several answers say of one job becomes one: all the rules, in one place.

1. Of two answers the one with the newer `updated_at` says how the job is; where a time is missing or both are the
   same, the one that was received later.
2. Unknown (absent, null, empty) never overwrites known, within nested objects as well.
3. What belongs to a stage does not outlive it: where the status differs, `started_at`, `progress` and `queue_depth`
   of the older answer are dropped.
"""

from collections.abc import Mapping
from typing import Any, cast

from exporter.models import Job, JobFields

_OF_THE_STAGE = ("started_at", "progress", "queue_depth")


def merge(known: JobFields, received: JobFields) -> JobFields:
    """The fields of a job from what was known of it and what was received just now."""
    before, now = Job(known).updated, Job(received).updated
    older, newer = (received, known) if before is not None and now is not None and now < before else (known, received)
    if older["status"] != newer["status"]:
        older = cast("JobFields", {name: value for name, value in older.items() if name not in _OF_THE_STAGE})
    return cast("JobFields", _over(older, newer))


def _over(older: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(older)
    for name, value in newer.items():
        old = merged.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            merged[name] = _over(old, value)
        elif name not in merged or (value is not None and value != "" and value != []):
            merged[name] = value
    return merged
