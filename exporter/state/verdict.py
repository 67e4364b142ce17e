"""Stuck and failed: the one place that decides, by evidence, from what is known of a job and the account's settings.

A job is stuck if the newest evidence is later than its deadline. Evidence is an answer that could have shown life; an
error is none, so an outage freezes a verdict instead of changing it. `docs/concepts.md` explains the rules.
"""

from dataclasses import dataclass

from exporter.state.job import JobState
from exporter.state.settings import AccountSettings

OLD_EVIDENCE = 3600.0
"""Seconds after which evidence is too old for a verdict to be up to date."""

_EXCUSED = 2  # successive failures after which training rows are not waited for


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is decided about a job; `None` where nothing can be. Times are unix seconds."""

    stuck: bool | None = None
    failed: bool | None = None
    progress: float | None = None
    """When the job last showed a sign of life."""
    deadline: float | None = None
    """When the next one is due."""
    checked: float | None = None
    """When details or training rows last arrived, unless the list itself is the evidence."""
    unjudged: bool = False
    """Whether the job may be active and has no verdict, or an old one. Turning off details is no reason."""


def judge(state: JobState, settings: AccountSettings, last_list: float, now: float) -> Verdict:
    """The verdict on a job at `now`, the last successful list being of `last_list` (both unix seconds)."""
    status = state.job.status
    if status.ended:
        start = state.failed_from
        return Verdict(failed=start is not None and now < start + settings.failure_window)
    if not status.active:
        return Verdict(unjudged=not is_past(state, last_list - settings.retention))
    if state.last_present is not None:  # a list that lacks the job shows nothing of it
        last_list = state.last_present
    by_list = judged_by_list(state, settings)
    checked = None if by_list else max(filter(None, (state.detailed_at, state.rows_at)), default=None)
    evidence, deadline = _evidence(state, settings, last_list), _deadline(state, settings)
    if evidence is None:  # what is known may be far behind
        return Verdict(checked=checked, unjudged=True)
    progress = state.life.progress
    if deadline is None:
        return Verdict(progress=progress, checked=checked, unjudged=settings.details)
    old = evidence < now - OLD_EVIDENCE
    return Verdict(stuck=evidence > deadline, progress=progress, deadline=deadline, checked=checked, unjudged=old)


def is_past(state: JobState, limit: float) -> bool:
    """Whether a job finished, or last changed if its status is unknown, before `limit` (unix seconds)."""
    status = state.job.status
    last = None if status.active else state.finished if status.ended else state.job.updated or state.job.created
    return last is not None and last < limit


def judged_by_list(state: JobState, settings: AccountSettings) -> bool:
    """Whether the list has all evidence there is: it is whole, details are off, or only the status can show life."""
    return state.whole or not settings.details or state.job.status.phase in ("finishing", "cancelling")


def rows_usable(state: JobState) -> bool:
    """Whether training rows are known and can be had."""
    return state.training is not None and state.rows_failures < _EXCUSED


def rows_awaited(state: JobState) -> bool:
    """Whether training rows may tell the age of the progress, and have yet to be received."""
    return state.rows_at is None and state.rows_failures < _EXCUSED


def gives_steps(state: JobState) -> bool:
    """Whether the API has given a step of the job; a counter that stays at 0 may not be in use."""
    return state.life.extremes.get("steps_completed", 0) > 0


def _evidence(state: JobState, settings: AccountSettings, last_list: float) -> float | None:
    details = last_list if judged_by_list(state, settings) else state.detailed_at
    if state.job.status.phase != "running" or not (settings.details or state.whole):
        return details
    if not state.life.observed and rows_awaited(state):
        return None
    sources = [details] if gives_steps(state) else []
    if rows_usable(state):
        sources.append(state.rows_at)
    if sources:
        return max((source for source in sources if source is not None), default=None)
    # Neither has shown life of this job, so both must have been asked.
    if details is None or rows_awaited(state):
        return None
    return details if state.rows_failures >= _EXCUSED or state.rows_at is None else min(details, state.rows_at)


def _deadline(state: JobState, settings: AccountSettings) -> float | None:
    status, life, progress = state.job.status, state.life, state.life.progress
    threshold = settings.stuck_after[status.name]
    estimate = None if life.estimate is None else life.estimate + max(threshold, life.stage_seconds / 4)
    if status.phase in ("waiting", "running") and not (settings.details or state.whole):
        return estimate
    if progress is None:
        return None
    if status.phase == "finishing":
        return max(progress + threshold, estimate or 0.0)
    if status.phase != "running":
        return progress + threshold
    patience = max(threshold, 2 * min(life.longest_gap, 2 * threshold))
    if "steps_completed" not in life.extremes and not rows_usable(state):
        return max(progress + max(patience, 12 * threshold), estimate or 0.0)
    return progress + (patience if life.moves >= 2 else max(patience, 3 * threshold))
