"""What a row of the table is, and how samples are read from it."""

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from prometheus_client.core import Metric
from prometheus_client.utils import floatToGoString

from exporter.state import Histogram, JobView, State

PREFIX = "together_finetune_"

Type = Literal["gauge", "counter", "histogram", "info"]
Labels = tuple[str, ...]
Value = float | Histogram
Reading = Value | Mapping[Labels, Value] | None
"""What a row reads: a value, nothing, or a value for each combination of its own labels."""

_ENDING = {"counter": "_total", "info": "_info"}
_EXPONENTS = tuple(f"e+{digits - 1:02}" for digits in range(17))  # by the number of digits before the point
_UNITS = ("seconds", "bytes", "usd", "ratio")


class Scope(Enum):
    """What a metric describes, and what its row reads."""

    EXPORTER = "exporter"
    """This process; reads `Exporter`."""
    ACCOUNT = "account"
    """An account; reads `AccountView`."""
    JOB = "job"
    """One job; reads `JobView`."""


SCOPE_LABELS: Mapping[Scope, Labels] = {
    Scope.EXPORTER: (),
    Scope.ACCOUNT: ("account",),
    Scope.JOB: ("account", "job_id"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A metric: `read` takes what the scope describes; `own_labels` names the labels of a reading of several values.

    `lasting` metrics are served however long ago the last successful poll was; the others disappear after
    `--poll.max-staleness`.
    """

    scope: Scope
    type: Type
    name: str
    help: str
    own_labels: Labels
    read: Callable[[Any], Reading]
    lasting: bool = False

    @property
    def labels(self) -> Labels:
        """All its labels: those of the scope, then its own."""
        return SCOPE_LABELS[self.scope] + self.own_labels

    @property
    def family(self) -> str:
        """The name of the metric family, without the `_total` or `_info` of its samples."""
        return self.name.removesuffix(_ENDING.get(self.type, ""))

    @property
    def unit(self) -> str:
        """The unit: the last word of the family's name, if that is a unit."""
        word = self.family.rpartition("_")[2]
        return word if word in _UNITS else ""

    def metric(self) -> Metric:
        """The row as prometheus-client's family, without samples."""
        return Metric(self.family, self.help, self.type, self.unit)


def number(value: float) -> str:
    """A sample's value as prometheus-client writes it, only faster for what most values are."""
    value = float(value)  # first, for an integer may be rounded up to 1e16
    if -1e6 < value < 1e6:
        return repr(value)
    if 1e6 <= value < 1e16:
        text = repr(value)
        whole, fraction = text.split(".")
        return f"{text[0]}.{whole[1:]}{fraction}".rstrip("0.") + _EXPONENTS[len(whole)]
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]  # it has no annotations


def samples(row: Row, reading: Reading) -> Iterator[tuple[str, tuple[tuple[str, str], ...], float]]:
    """The samples of a reading: name, own labels with their values, value."""
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


def place(job_id: str) -> tuple[int, str]:
    """What jobs are sorted by within the active and the finished ones: any order in which a job stays where it is."""
    return zlib.crc32(job_id.encode()), job_id


def subjects(state: State) -> Mapping[Scope, list[tuple[Labels, Any]]]:
    """What rows read, by their scope and in the order of their samples, each with the values of the scope's labels:
    accounts, and of each account the active jobs, then the finished ones, each by their places."""
    accounts = state.accounts.items()

    def in_order(jobs: Iterable[JobView]) -> list[JobView]:
        return sorted(jobs, key=lambda job: (job.job.status.ended, place(job.job.id)))

    return {
        Scope.EXPORTER: [((), state.exporter)],
        Scope.ACCOUNT: [((name,), view) for name, view in accounts],
        Scope.JOB: [((name, job.job.id), job) for name, view in accounts for job in in_order(view.shown)],
    }
