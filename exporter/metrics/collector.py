"""The table as a prometheus-client collector."""

import re
import time
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import registry
from prometheus_client.core import Metric

from exporter.metrics.row import SCOPE_LABELS, Row, Scope, samples, things
from exporter.metrics.table import ROWS
from exporter.snapshot import Board


def select(scopes: Iterable[Scope], exclude: str = "") -> list[Row]:
    """The rows of these scopes whose names the regex `exclude` does not match as a whole."""
    wanted, unwanted = set(scopes), re.compile(exclude)
    return [row for row in ROWS if row.scope in wanted and not unwanted.fullmatch(row.name)]


class Collector(registry.Collector):
    """The figures on `board` as metric families, for any prometheus-client registry.

    `scopes`, `exclude` (a regex of whole metric names) and `account` select what is collected. Jobs and accounts whose
    last good poll is longer than `max_staleness` (seconds) ago, by `clock`, are left out.
    """

    def __init__(
        self,
        board: Board,
        *,
        max_staleness: float = 600.0,
        scopes: Iterable[Scope] = Scope,
        exclude: str = "",
        account: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._board = board
        self._max_staleness = max_staleness
        self._rows = select(scopes, exclude)
        self._account = account
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """The families that have a sample now."""
        state = self._board.read()
        if self._account is not None:
            state = state.only(self._account)
        fresh = state.fresh(self._clock(), self._max_staleness)
        for row in self._rows:
            family = row.metric()
            for values, thing in things(state, row.scope, fresh):
                labels = dict(zip(SCOPE_LABELS[row.scope], values, strict=True))
                for name, own_labels, value in samples(row, row.read(thing)):
                    family.add_sample(name, {**labels, **dict(own_labels)}, value)
            if family.samples:
                yield family

    def describe(self) -> Iterator[Metric]:
        """All families, without samples: what a registry checks for names that are taken."""
        return (row.metric() for row in self._rows)
