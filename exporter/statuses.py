"""The table of job statuses: one row each. Everything that knows a status reads it from here.

To add a status, add its row. Settings, thresholds, metrics, the page, dashboards and docs follow.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Phase = Literal["waiting", "running", "finishing", "cancelling", "ended", "unknown"]

_MINUTE, _HOUR = 60.0, 3600.0


@dataclass(frozen=True, slots=True)
class Status:
    """A status (`status`): its name, its phase, whether it is a failure, its default threshold and its events.

    `stuck_after` is the default number of seconds without progress after which a job counts as stuck; `None` for a
    status in which a job cannot be stuck. `starts_with` are the types of the events that start it.
    """

    name: str
    phase: Phase
    failed: bool = False
    stuck_after: float | None = None
    starts_with: tuple[str, ...] = ()

    @property
    def waiting(self) -> bool:
        """Whether a job with this status has yet to start."""
        return self.phase == "waiting"

    @property
    def ended(self) -> bool:
        """Whether the status is terminal."""
        return self.phase == "ended"

    @property
    def active(self) -> bool:
        """Whether a job with this status is known to be under way. An unknown status is neither active nor ended."""
        return self.stuck_after is not None


# fmt: off
STATUSES: Mapping[str, Status] = {status.name: status for status in (
    Status("pending", "waiting", stuck_after=2 * _HOUR, starts_with=("job_pending",)),
    Status("queued", "waiting", stuck_after=2 * _HOUR),
    Status("running", "running", stuck_after=_HOUR, starts_with=("job_start",)),
    Status("compressing", "finishing", stuck_after=_HOUR, starts_with=("model_compressing",)),
    Status("uploading", "finishing", stuck_after=_HOUR, starts_with=("model_uploading",)),
    Status("cancel_requested", "cancelling", stuck_after=15 * _MINUTE, starts_with=("cancel_requested",)),
    Status("completed", "ended", starts_with=("job_complete",)),
    Status("error", "ended", failed=True, starts_with=("job_error",)),
    Status("user_error", "ended", failed=True, starts_with=("job_user_error",)),
    Status("cancelled", "ended", starts_with=("job_stopped",)),
)}
# fmt: on

UNKNOWN = Status("unknown", "unknown")
"""What a job has whose status is not in the table."""


@lru_cache(256)
def status_of(name: str) -> Status:
    """The status of that name, in any case; `UNKNOWN` if it is not in the table."""
    return STATUSES.get(name.lower(), UNKNOWN)
