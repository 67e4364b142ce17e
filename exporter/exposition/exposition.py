"""The state as the bytes of a scrape.

Only what changed is written and compressed again, and the pages that were made are kept. The metrics of the process
itself are read at each scrape, and appended.
"""

import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from operator import is_

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, registry
from prometheus_client.exposition import choose_encoder

from exporter.exposition.compression import Compressed, Compressor
from exporter.exposition.text import AccountText, JobRow, series
from exporter.metrics import Row, Scope, select
from exporter.state import AccountView, Exporter, State, Store

WANTED_SECONDS = 600.0
"""For how long after a scrape its page is kept up to date."""


@dataclass(frozen=True, slots=True)
class Page:
    """A response to a scrape: its body and its headers `Content-Type` and `Content-Encoding` (none: not compressed)."""

    parts: Sequence[bytes]
    content_type: str
    content_encoding: str | None = None

    @property
    def body(self) -> bytes:
        """The parts in one piece."""
        return b"".join(self.parts)


@dataclass(frozen=True, slots=True)
class _Variant:
    openmetrics: bool
    gzip: bool
    account: str | None


@dataclass(frozen=True, slots=True)
class _Family:
    """The text of a row: the comment lines, then the lines of its samples."""

    row: Row
    parts: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class _Kept:
    """A page without the metrics of the process, and what it was made from."""

    sources: Sequence[Exporter | AccountView | None]
    fresh: frozenset[str]
    families: Sequence[_Family]
    compressed: Compressed | None

    def is_of(self, sources: Sequence[object], fresh: frozenset[str]) -> bool:
        return self.fresh == fresh and len(self.sources) == len(sources) and all(map(is_, self.sources, sources))

    @property
    def parts(self) -> list[bytes]:
        return [part for family in self.families for part in family.parts]


class Exposition:
    """Renders the state in `store`, except for metrics whose names the regex `exclude` matches entirely. Jobs and
    accounts disappear `max_staleness` seconds, by `clock`, after the last successful poll."""

    overdue = False
    """Whether pages are not as new as they should be: never, they are rendered when they are asked for."""

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
        self._clock = clock
        self._rows = select(exclude)
        self._account_rows = [row for row in self._rows if row.scope is Scope.ACCOUNT]
        self._job_rows = [JobRow(row) for row in self._rows if row.scope is Scope.JOB]
        self._heads = {
            openmetrics: [_head(row, accept) for row in self._rows]
            for openmetrics, accept in ((False, ""), (True, "application/openmetrics-text"))
        }
        self._process = CollectorRegistry(auto_describe=True)  # so that it can be restricted
        ProcessCollector(registry=self._process)
        self._lock = threading.Lock()  # guards changes of the three below
        self._texts: dict[str, AccountText] = {}
        self._compressor = Compressor()
        self._kept: dict[_Variant, _Kept] = {}
        self._fetched: dict[_Variant, float] = {}

    def page(
        self,
        accept: str = "",
        *,
        gzip: bool = False,
        account: str | None = None,
        names: Collection[str] = (),
        newest: bool = True,
    ) -> Page:
        """The state in the format that the header `Accept` names: OpenMetrics, else Prometheus's text.

        With `account`, only the metrics of that account; `KeyError` if there is no account of that name. With `names`,
        only samples of these names. Unless it must be the `newest` state, the last one that was rendered is enough.
        """
        encode, content_type = choose_encoder(accept)
        variant = _Variant("openmetrics" in content_type, gzip and not names, account)
        kept = None if newest else self._kept.get(variant)
        kept = kept or self._render(variant)
        self._fetched[variant] = self._clock()
        process = self._process if account is None else CollectorRegistry()
        tail = encode(process.restricted_registry(names) if names else process)
        encoding = "gzip" if gzip else None
        if kept.compressed:
            return Page(kept.compressed.ended_with(tail), content_type, encoding)
        parts = list(_restricted(kept.families, set(names))) if names else kept.parts
        if gzip:
            return Page(Compressor().compress(parts).ended_with(tail), content_type, encoding)
        return Page([*parts, tail], content_type, encoding)

    def renew(self) -> bool:
        """Renders the pages again that were fetched in the last ten minutes. Returns whether any of them changed."""
        with self._lock:
            self._forget(self._store.read())
        changed = [variant for variant, kept in list(self._kept.items()) if self._render(variant) is not kept]
        return bool(changed)

    def _render(self, variant: _Variant) -> _Kept:
        with self._lock:
            state = self._store.read()
            chosen = state if variant.account is None else state.only(variant.account)
            sources = [state.exporter if variant.account is None else None, *chosen.accounts.values()]
            fresh = chosen.fresh(self._clock(), self._max_staleness)
            kept = self._kept.get(variant)
            if kept and kept.is_of(sources, fresh):
                return kept
            self._forget(state)
            families = list(self._families(chosen, fresh, variant))
            parts = [part for family in families for part in family.parts]
            compressed = self._compressor.compress(parts) if variant.gzip else None
            kept = self._kept[variant] = _Kept(sources, fresh, families, compressed)
            return kept

    def _families(self, state: State, fresh: frozenset[str], variant: _Variant) -> Iterator[_Family]:
        texts = [(name in fresh, self._text(name, view)) for name, view in state.accounts.items()]
        for row, head in zip(self._rows, self._heads[variant.openmetrics], strict=True):
            if row.scope is not Scope.EXPORTER:
                pieces = [text.of(row) for is_fresh, text in texts if is_fresh or row.lasting]
            else:
                pieces = [[series(row, (), state.exporter)]] if variant.account is None else []
            if lines := [piece for several in pieces for piece in several if piece]:
                yield _Family(row, [head, *lines])

    def _text(self, account: str, view: AccountView) -> AccountText:
        # Left out while it is updated: if that fails, it starts anew.
        text = self._texts.pop(account, None) or AccountText(account, self._account_rows, self._job_rows)
        text.update(view)
        self._texts[account] = text
        return text

    def _forget(self, state: State) -> None:
        """Drops the pages that nobody fetched for long, and what was written for accounts that were removed."""
        accounts, recent = {None, *state.accounts}, self._clock() - WANTED_SECONDS
        self._texts = {name: text for name, text in self._texts.items() if name in accounts}
        for variant in list(self._kept):
            if variant.account not in accounts or self._fetched.get(variant, recent) < recent:
                del self._kept[variant]
                self._fetched.pop(variant, None)


def _restricted(families: Sequence[_Family], names: Collection[str]) -> Iterator[bytes]:
    """The text of the samples of these names."""
    for family in families:
        head, *lines = family.parts
        if family.row.type != "histogram":
            found = lines if family.row.name in names else []
        else:
            line = rb"^(?:%s)[{ ].*\n" % b"|".join(re.escape(name.encode()) for name in names)
            found = re.findall(line, b"".join(lines), re.MULTILINE)
        if found:
            yield from (head, *found)


@dataclass(frozen=True, slots=True)
class _NoSamples(registry.Collector):
    row: Row

    def collect(self) -> Iterator[Metric]:
        yield self.row.metric()


def _head(row: Row, accept: str) -> bytes:
    """The comment lines above the samples of a row, the only difference between the formats."""
    encode, _ = choose_encoder(accept)
    return encode(_NoSamples(row)).removesuffix(b"# EOF\n")
