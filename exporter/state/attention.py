"""What needs attention, in which words and in which order. The page and the terminal show jobs by it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from exporter.state.job import JobState
from exporter.state.verdict import Verdict
from exporter.statuses import Phase

Kind = Literal["stuck", "failed", "overdue", "loading", "unjudged"]

DAY = 86400.0
"""Seconds for which a failure needs attention, at least."""

_URGENT: tuple[Kind, ...] = ("stuck", "failed", "overdue")
_PHASES: tuple[Phase, ...] = ("running", "finishing", "waiting", "cancelling", "unknown", "ended")
_LEEWAY = 600.0  # seconds by which any estimate may be off


@dataclass(frozen=True, slots=True)
class Attention:
    """Why a job is marked. In `words`, `{}` is the time that has passed since `since` (unix seconds)."""

    kind: Kind
    words: str
    since: float | None = None


def attention(state: JobState, verdict: Verdict, now: float) -> Attention | None:
    """Why a job is marked at `now` (unix seconds); `None` for a job that is as it should be."""
    status, due = state.job.status, state.estimated_completion
    overdue = overdue_from(state)
    if verdict.stuck:
        return Attention("stuck", "no progress for {}", verdict.progress)
    failed = state.failed_from
    if failed is not None and (verdict.failed or now < failed + DAY):
        return Attention("failed", "failed {} ago", state.finished or failed)
    if overdue is not None and now > overdue:
        return Attention("overdue", "overdue {}", due)
    if not verdict.unjudged:
        return None
    if verdict.deadline is not None:
        return Attention("unjudged", "not checked for {}", verdict.checked or state.entered)
    if verdict.progress is not None or not status.active:
        return Attention("unjudged", "progress unknown")
    return Attention("loading", "details loading")


def overdue_from(state: JobState) -> float | None:
    """The moment after which a job is later than its estimate allows for (unix seconds)."""
    due = state.estimated_completion
    if due is None or not state.job.status.active:
        return None
    return due + max(_LEEWAY, (state.job.stage_seconds or 0.0) / 4)


def rank(state: JobState, mark: Attention | None) -> tuple[int, int, float]:
    """The order of jobs: what needs attention, then active jobs by phase, then those that ended; the newest first."""
    urgency = _URGENT.index(mark.kind) if mark and mark.kind in _URGENT else len(_URGENT)
    status = state.job.status
    newest = (state.finished if status.ended else None) or state.job.created or 0.0
    return urgency, _PHASES.index(status.phase), -newest


def groups(state: JobState, mark: Attention | None, month_start: float) -> Iterator[str]:
    """The groups that a job is in: `stuck`, `failed`, `running`, `waiting`, and `month` if it was created since
    `month_start` (unix seconds). Every active job is either running or waiting."""
    status = state.job.status
    if mark and mark.kind in ("stuck", "failed"):
        yield mark.kind
    if status.active:
        yield "waiting" if status.waiting else "running"
    if (state.job.created or 0.0) >= month_start:
        yield "month"
