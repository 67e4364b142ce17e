"""What a row of the table is, and how series are read from it."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from prometheus_client.core import Metric
from prometheus_client.utils import floatToGoString

from exporter.snapshot import Histogram, Snapshot, State

PREFIX = "together_finetune_"

Type = Literal["gauge", "counter", "histogram", "info"]
Labels = tuple[str, ...]
Value = float | Histogram
Reading = Value | Mapping[Labels, Value] | None
"""What a row reads: a value, nothing, or a value for each combination of its own labels."""

_ENDING = {"counter": "_total", "info": "_info"}
_UNITS = ("seconds", "bytes", "usd", "ratio")


class Scope(Enum):
    """What a metric is about."""

    EXPORTER = "exporter"
    """This process: always served."""
    POLL = "poll"
    """An account's polls, its terms, and what was seen to happen: always served."""
    ACCOUNT = "account"
    """All jobs of an account: vanishes when the last good poll is too long ago."""
    JOB = "job"
    """One job: vanishes likewise."""


SCOPE_LABELS: Mapping[Scope, Labels] = {
    Scope.EXPORTER: (),
    Scope.POLL: ("account",),
    Scope.ACCOUNT: ("account",),
    Scope.JOB: ("account", "job_id"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A metric. `read` takes what the scope is about (`Exporter`, `AccountState`, `Snapshot`, `JobState`);
    `own_labels` are the names that a reading of several values is keyed by."""

    scope: Scope
    type: Type
    name: str
    help: str
    own_labels: Labels
    read: Callable[[Any], Reading]

    @property
    def labels(self) -> Labels:
        """All its labels: those of the scope, then its own."""
        return SCOPE_LABELS[self.scope] + self.own_labels

    @property
    def family(self) -> str:
        """The name without the `_total` or `_info` that OpenMetrics leaves to the series."""
        return self.name.removesuffix(_ENDING.get(self.type, ""))

    @property
    def unit(self) -> str:
        """The unit: the last word of the family's name, where that is one."""
        word = self.family.rpartition("_")[2]
        return word if word in _UNITS else ""

    def metric(self) -> Metric:
        """The row as prometheus-client's family, without samples."""
        return Metric(self.family, self.help, self.type, self.unit)


def number(value: float) -> str:
    """A sample's value, as prometheus-client writes it."""
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]  # it has no annotations


def samples(row: Row, reading: Reading) -> Iterator[tuple[str, tuple[tuple[str, str], ...], float]]:
    """The series of a reading: name, own labels with their values, value."""
    if reading is None:
        return
    for key, value in reading.items() if isinstance(reading, Mapping) else [((), reading)]:
        labels = tuple(zip(row.own_labels, key, strict=True))
        if isinstance(value, Histogram):
            for bound, count in zip((*value.bounds, math.inf), value.cumulative, strict=True):
                yield f"{row.name}_bucket", (*labels, ("le", number(bound))), count
            yield f"{row.name}_count", labels, value.cumulative[-1]
            yield f"{row.name}_sum", labels, value.sum
        else:
            yield row.name, labels, value


def things(state: State, scope: Scope, fresh: Mapping[str, Snapshot]) -> Iterator[tuple[Labels, Any]]:
    """What rows of `scope` read from, each with the values of the scope's labels; `fresh` are the snapshots to show."""
    match scope:
        case Scope.EXPORTER:
            yield (), state.exporter
        case Scope.POLL:
            yield from (((name,), account) for name, account in state.accounts.items())
        case Scope.ACCOUNT:
            yield from (((name,), snapshot) for name, snapshot in fresh.items())
        case Scope.JOB:
            yield from (((name, job.job.id), job) for name, snapshot in fresh.items() for job in snapshot.shown)
