"""What the user configured for an account: an argument of the rules, never part of what is remembered."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from exporter.statuses import STATUSES

_HOUR, _DAY = 3600.0, 86400.0


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """Settings of an account; durations are seconds."""

    budget_usd: float | None = None
    """Budget for a calendar month, in US dollars."""
    stuck_after: Mapping[str, float] = field(
        default_factory=lambda: MappingProxyType(
            {name: status.stuck_after for name, status in STATUSES.items() if status.stuck_after is not None}
        )
    )
    """By status: how long a job may go without progress."""
    failure_window: float = 6 * _HOUR
    """How long a failed job keeps alerting."""
    failure_limit: float = 0.5
    """The ratio of failed jobs above which an alert fires."""
    details: bool = True
    """Whether jobs are requested one by one for what the list omits."""
    retention: float = 7 * _DAY
    """How long a finished job keeps its own series."""
    limit: int = 5000
    """The most jobs with series of their own."""
