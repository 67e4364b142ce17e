"""The state as the bytes of a scrape.

The text is written once for each state, and the lines of a job are kept until that job or its verdict changes. Only the
metrics of the process itself are read at each scrape, and appended.
"""

import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, registry
from prometheus_client.exposition import choose_encoder

from exporter.metrics import Row, Scope, number, samples, select
from exporter.metrics.row import SCOPE_LABELS
from exporter.state import AccountView, JobView, State, Store

_GZIP_LEVEL = 1
_GZIP_WBITS = 31  # zlib's number for a stream with gzip's header and trailer


@dataclass(frozen=True, slots=True)
class Page:
    """A response to a scrape: its body and its headers `Content-Type` and `Content-Encoding` (none: not compressed)."""

    body: bytes
    content_type: str
    content_encoding: str | None = None


class Exposition:
    """Renders the state in `store`, except for metrics whose names the regex `exclude` matches entirely. Jobs and
    accounts disappear `max_staleness` seconds, by `clock`, after the last successful poll."""

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
        self._job_rows = [row for row in self._rows if row.scope is Scope.JOB]
        self._heads = {
            openmetrics: [_head(row, accept) for row in self._rows]
            for openmetrics, accept in ((False, ""), (True, "application/openmetrics-text"))
        }
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        self._lock = threading.Lock()
        self._texts: dict[str, _AccountText] = {}
        self._rendered: dict[tuple[bool, str | None], tuple[State, frozenset[str], _Rendered]] = {}

    def page(self, accept: str = "", *, gzip: bool = False, account: str | None = None) -> Page:
        """The newest state in the format that the header `Accept` names: OpenMetrics, else Prometheus's text. With
        `account`, only the metrics of that account; `KeyError` if there is no account of that name."""
        encode, content_type = choose_encoder(accept)
        rendered = self._render(openmetrics="openmetrics" in content_type, account=account)
        tail = encode(self._process if account is None else CollectorRegistry())
        if gzip:
            return Page(rendered.gzip_with(tail), content_type, "gzip")
        return Page(rendered.plain + tail, content_type)

    def _render(self, *, openmetrics: bool, account: str | None) -> "_Rendered":
        with self._lock:
            state = self._store.read()
            fresh = state.fresh(self._clock(), self._max_staleness)
            known = self._rendered.get((openmetrics, account))
            if known is not None and known[0] is state and known[1] == fresh:
                return known[2]
            chosen = state if account is None else state.only(account)
            self._forget(state.accounts)
            texts = [self._text(name, view, name in fresh) for name, view in chosen.accounts.items()]
            rendered = _Rendered("".join(self._families(chosen, texts, openmetrics, account is None)).encode())
            self._rendered[openmetrics, account] = state, fresh, rendered
            return rendered

    def _families(
        self, state: State, texts: "list[_AccountText]", openmetrics: bool, with_exporter: bool
    ) -> Iterator[str]:
        for number_, (row, head) in enumerate(zip(self._rows, self._heads[openmetrics], strict=True)):
            if row.scope is not Scope.EXPORTER:
                lines = "".join(text.rows[number_] for text in texts)
            else:
                lines = _series(row, (), state.exporter) if with_exporter else ""
            if lines:
                yield head + lines

    def _forget(self, accounts: Mapping[str, object]) -> None:
        """Drops what was rendered for accounts that were removed."""
        self._texts = {name: text for name, text in self._texts.items() if name in accounts}
        self._rendered = {key: kept for key, kept in self._rendered.items() if key[1] is None or key[1] in accounts}

    def _text(self, account: str, view: AccountView, fresh: bool) -> "_AccountText":
        before = self._texts.get(account)
        if before is not None and before.view is view and before.fresh == fresh:
            return before
        jobs = dict(self._job_lines(account, view.shown, before.jobs if before else {}))
        columns = iter(zip(*(lines for _, lines in jobs.values()), strict=True) if jobs else [()] * len(self._job_rows))
        rows = []
        for row in self._rows:
            column = next(columns) if row.scope is Scope.JOB else ()
            if row.scope is Scope.EXPORTER or not (fresh or row.lasting):
                rows.append("")
            else:
                rows.append("".join(column) if row.scope is Scope.JOB else _series(row, (account,), view))
        text = self._texts[account] = _AccountText(view, fresh, rows, jobs)
        return text

    def _job_lines(
        self, account: str, jobs: Iterable[JobView], before: Mapping[str, tuple[JobView, list[str]]]
    ) -> Iterator[tuple[str, tuple[JobView, list[str]]]]:
        for job in jobs:
            job_id = job.job.id
            old = before.get(job_id)
            if old is not None and old[0].state is job.state and old[0].verdict == job.verdict:
                yield job_id, old
            else:
                yield job_id, (job, [_series(row, (account, job_id), job) for row in self._job_rows])


@dataclass(frozen=True, slots=True)
class _AccountText:
    """The lines of an account: `rows` has a text for each row of the table, `jobs` the lines of each job."""

    view: AccountView
    fresh: bool
    rows: list[str]
    jobs: dict[str, tuple[JobView, list[str]]]


def _series(row: Row, scope_values: tuple[str, ...], subject: Any) -> str:
    lines = []
    scope_labels = tuple(zip(SCOPE_LABELS[row.scope], scope_values, strict=True))
    for name, labels, value in samples(row, row.read(subject)):
        # In the order of prometheus-client.
        text = ",".join(f'{label}="{_escape(text)}"' for label, text in sorted((*scope_labels, *labels)))
        lines.append(f"{name}{{{text}}} {number(value)}\n" if text else f"{name} {number(value)}\n")
    return "".join(lines)


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@dataclass(frozen=True, slots=True)
class _NoSamples(registry.Collector):
    row: Row

    def collect(self) -> Iterator[Metric]:
        yield self.row.metric()


def _head(row: Row, accept: str) -> str:
    """The comment lines above the samples of a row, the only difference between the formats."""
    encode, _ = choose_encoder(accept)
    return encode(_NoSamples(row)).decode().removesuffix("# EOF\n")


@dataclass(slots=True)
class _Rendered:
    """Bytes to which each scrape appends its own; compressed once, with the compressor's state for what follows."""

    plain: bytes
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _compressed: bytes = b""
    _compressor: Any = None  # zlib does not name its type

    def gzip_with(self, tail: bytes) -> bytes:
        """One gzip stream of the bytes and `tail`."""
        with self._lock:
            if self._compressor is None:
                self._compressor = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WBITS)
                self._compressed = self._compressor.compress(self.plain) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
            compressor = self._compressor.copy()
        return b"".join((self._compressed, compressor.compress(tail), compressor.flush()))
