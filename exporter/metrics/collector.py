"""The table as a prometheus-client collector."""

import re
import time
from collections.abc import Callable, Iterator

from prometheus_client import registry
from prometheus_client.core import Metric

from exporter.metrics.row import SCOPE_LABELS, Row, samples, subjects
from exporter.metrics.table import ROWS
from exporter.state import Store


def select(exclude: str = "") -> list[Row]:
    """The rows whose names the regex `exclude` does not match entirely."""
    unwanted = re.compile(exclude)
    return [row for row in ROWS if not unwanted.fullmatch(row.name)]


class Collector(registry.Collector):
    """The state in `store` as metric families, for any prometheus-client registry.

    Metrics whose names the regex `exclude` matches entirely are left out; so are jobs and accounts whose last
    successful poll is longer than `max_staleness` (seconds) ago by `clock`, except for their verdicts.
    """

    def __init__(
        self,
        store: Store,
        *,
        max_staleness: float = 600.0,
        exclude: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._max_staleness = max_staleness
        self._rows = select(exclude)
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """The families that have a sample now."""
        state = self._store.read()
        fresh = state.fresh(self._clock(), self._max_staleness)
        described = subjects(state)
        for row in self._rows:
            family = row.metric()
            for values, subject in described[row.scope]:
                if not row.lasting and values[0] not in fresh:
                    continue
                labels = dict(zip(SCOPE_LABELS[row.scope], values, strict=True))
                for name, own_labels, value in samples(row, row.read(subject)):
                    family.add_sample(name, {**labels, **dict(own_labels)}, value)
            if family.samples:
                yield family

    def describe(self) -> Iterator[Metric]:
        """All families, without samples: a registry checks these for duplicate names."""
        return (row.metric() for row in self._rows)
