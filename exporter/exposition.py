"""The board as the bytes of a scrape.

What the API said is written once per poll, and the lines of a job are kept until that job changes. Only this process's
own figures, some dozens of lines, are written anew at each scrape, behind what is kept.
"""

import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, registry
from prometheus_client.exposition import choose_encoder

from exporter.metrics import Collector, Row, Scope, number, samples, select
from exporter.snapshot import Board, JobState, Snapshot

_GZIP_LEVEL = 1
_GZIP_WBITS = 31  # zlib's number for a stream with gzip's header and trailer


@dataclass(frozen=True, slots=True)
class Page:
    """An answer to a scrape: its body, and its headers `Content-Type` and `Content-Encoding` (none: not compressed)."""

    body: bytes
    content_type: str
    content_encoding: str | None = None


class Exposition:
    """Renders what hangs on `board`, but for metrics whose whole names the regex `exclude` matches. Jobs and accounts
    vanish `max_staleness` seconds, by `clock`, after the last good poll."""

    def __init__(
        self,
        board: Board,
        *,
        max_staleness: float = 600.0,
        exclude: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._board = board
        self._max_staleness = max_staleness
        self._exclude = exclude
        self._clock = clock
        self._account_rows = select([Scope.ACCOUNT], exclude)
        self._job_rows = select([Scope.JOB], exclude)
        self._heads = {
            openmetrics: [_head(row, accept) for row in (*self._account_rows, *self._job_rows)]
            for openmetrics, accept in ((False, ""), (True, "application/openmetrics-text"))
        }
        self._all_own = CollectorRegistry()
        self._all_own.register(Collector(board, scopes=(Scope.POLL, Scope.EXPORTER), exclude=exclude))
        ProcessCollector(registry=self._all_own)
        self._lock = threading.Lock()
        self._lines: dict[str, _Lines] = {}
        self._kept: dict[tuple[bool, str | None], tuple[Mapping[str, Snapshot], _Kept]] = {}

    def page(self, accept: str = "", *, gzip: bool = False, account: str | None = None) -> Page:
        """The newest state in the format that the header `Accept` names: OpenMetrics, else Prometheus's text. With
        `account` its figures alone, without those of this process; `KeyError` where there is none of that name."""
        encode, content_type = choose_encoder(accept)
        kept = self._keep(openmetrics="openmetrics" in content_type, account=account)
        own = encode(self._all_own if account is None else self._own_of(account))
        if gzip:
            return Page(kept.gzip_with(own), content_type, "gzip")
        return Page(kept.plain + own, content_type)

    def _own_of(self, account: str) -> registry.Collector:
        return Collector(self._board, scopes=[Scope.POLL], exclude=self._exclude, account=account)

    def _keep(self, *, openmetrics: bool, account: str | None) -> "_Kept":
        with self._lock:
            board = self._board.read()
            state = board if account is None else board.only(account)
            snapshots = state.fresh(self._clock(), self._max_staleness)
            of, kept = self._kept.get((openmetrics, account), ({}, None))
            if kept is None or not _identical(of, snapshots):
                self._forget(board.accounts)
                for name, snapshot in snapshots.items():
                    self._lines[name] = self._write(name, snapshot, self._lines.get(name))
                kept = _Kept(_join(self._heads[openmetrics], [self._lines[name] for name in snapshots]))
                self._kept[openmetrics, account] = snapshots, kept
            return kept

    def _forget(self, accounts: Mapping[str, object]) -> None:
        """Lets go of accounts that were removed."""
        self._lines = {name: lines for name, lines in self._lines.items() if name in accounts}
        self._kept = {key: kept for key, kept in self._kept.items() if key[1] is None or key[1] in accounts}

    def _write(self, account: str, snapshot: Snapshot, before: "_Lines | None") -> "_Lines":
        if before is not None and before.snapshot is snapshot:
            return before
        label = f'account="{_escape(account)}"'
        jobs = dict(self._write_jobs(label, snapshot.shown, before.jobs if before else {}))
        columns = zip(*(lines for _, lines in jobs.values()), strict=True) if jobs else ([] for _ in self._job_rows)
        rows = [_series(row, label, snapshot) for row in self._account_rows] + ["".join(column) for column in columns]
        return _Lines(snapshot, rows, jobs)

    def _write_jobs(
        self, label: str, states: Iterable[JobState], before: Mapping[str, tuple[JobState, list[str]]]
    ) -> Iterator[tuple[str, tuple[JobState, list[str]]]]:
        for state in states:
            job_id = state.job.id
            old = before.get(job_id)
            if old is not None and old[0] is state:
                yield job_id, old
            else:
                labels = f'{label},job_id="{_escape(job_id)}"'
                yield job_id, (state, [_series(row, labels, state) for row in self._job_rows])


def _identical(some: Mapping[str, Snapshot], others: Mapping[str, Snapshot]) -> bool:
    return some.keys() == others.keys() and all(some[account] is others[account] for account in some)


@dataclass(frozen=True, slots=True)
class _Lines:
    """The lines of an account's snapshot: `rows` has a text for each row of the table, `jobs` those of each job."""

    snapshot: Snapshot
    rows: list[str]
    jobs: dict[str, tuple[JobState, list[str]]]


def _series(row: Row, scope_labels: str, thing: Any) -> str:
    lines = []
    for name, labels, value in samples(row, row.read(thing)):
        own_labels = "".join(f',{label}="{_escape(text)}"' for label, text in labels)
        lines.append(f"{name}{{{scope_labels}{own_labels}}} {number(value)}\n")
    return "".join(lines)


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _join(heads: list[str], accounts: Iterable[_Lines]) -> bytes:
    columns = zip(*(lines.rows for lines in accounts), strict=True)
    texts = (head + "".join(column) for head, column in zip(heads, columns, strict=False) if any(column))
    return "".join(texts).encode()


@dataclass(frozen=True, slots=True)
class _NoSamples(registry.Collector):
    row: Row

    def collect(self) -> Iterator[Metric]:
        yield self.row.metric()


def _head(row: Row, accept: str) -> str:
    """The comment lines above a row's series, which are all that the formats differ in."""
    encode, _ = choose_encoder(accept)
    return encode(_NoSamples(row)).decode().removesuffix("# EOF\n")


@dataclass(slots=True)
class _Kept:
    """Bytes that every scrape appends its own to; compressed once, with the compressor's state for what follows."""

    plain: bytes
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _compressed: bytes = b""
    _compressor: Any = None  # zlib does not name its type

    def gzip_with(self, tail: bytes) -> bytes:
        """One gzip stream of the kept bytes and `tail`."""
        with self._lock:
            if self._compressor is None:
                self._compressor = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WBITS)
                self._compressed = self._compressor.compress(self.plain) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
            compressor = self._compressor.copy()
        return b"".join((self._compressed, compressor.compress(tail), compressor.flush()))
