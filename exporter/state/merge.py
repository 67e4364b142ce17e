"""How several answers about one job become one: all the rules.

1. Of two answers, the one with the newer `updated_at` describes the job; without two usable times, the one received
   later. A time further ahead than `SKEW` is not usable.
2. A terminal answer describes the job even if it is older, and gives way only to a strictly newer one.
3. Unknown (absent, null, empty) never overwrites known, in nested objects too.
4. What belongs to a stage does not outlive it: if the status differs, `started_at`, `progress` and `queue_depth` of
   the older answer are dropped.
"""

from collections.abc import Mapping
from typing import Any, cast

from exporter.models import Job, JobFields

SKEW = 300.0
"""Seconds by which the API's clock may be ahead of ours."""

_OF_THE_STAGE = ("started_at", "progress", "queue_depth")


def usable(time: float | None, at: float) -> float | None:
    """A time of the API (unix seconds) unless it is unknown or too far ahead of `at`."""
    return time if time is not None and time <= at + SKEW else None


def loses(received: Job, known: Job, at: float) -> bool:
    """Whether what was received at `at` (unix seconds) describes an earlier job than what is known."""
    before, now = usable(known.updated, at), usable(received.updated, at)
    if known.status.ended != received.status.ended:
        # An end may carry an older time, and hiding it would hide a failure.
        return known.status.ended and (before is None or now is None or now <= before)
    return before is not None and now is not None and now < before


def merge(known: Job, received: Job, at: float, *, believed: bool = False) -> Job:
    """The job from what is known of it and what was received at `at` (unix seconds). With `believed`, the received
    answer describes the job even if it loses."""
    older, newer = known.fields, received.fields
    if not believed and loses(received, known, at):
        older, newer = newer, older
    if older["status"] != newer["status"]:
        older = cast("JobFields", {name: value for name, value in older.items() if name not in _OF_THE_STAGE})
    fields = cast("JobFields", _over(older, newer))
    same = next((known_fields for known_fields in (known.fields, received.fields) if known_fields == fields), fields)
    return Job(same, received.events or known.events)


def _over(older: Mapping[str, Any], newer: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**older, **newer}
    for name, value in newer.items():
        if value and not isinstance(value, dict):
            continue
        old = older.get(name)
        if isinstance(value, dict) and isinstance(old, dict):
            merged[name] = value if value == old else _over(old, value)
        elif (value is None or value == "") and name in older:
            merged[name] = old
    return merged
