"""The text of an account in pieces: each has the lines of one row for the jobs of one block. A piece whose lines did
not change stays the same object.

A block has the active or the finished jobs whose ids have checksums in the same range. So a job that comes or goes
touches one block, and finished jobs, which hardly ever change, are apart from those that do.
"""

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import accumulate, pairwise
from operator import itemgetter, sub
from typing import Any

from exporter.metrics import SCOPE_LABELS, Labels, Row, number, place, samples
from exporter.state import AccountView, JobView

_BLOCK = 10  # a range has about 2**10 jobs, and half or twice as many before all jobs are divided anew


def series(row: Row, scope_values: Labels, subject: Any) -> bytes:
    """The lines of a row for what it reads, whose scope's labels have these values."""
    lines = []
    scope_labels = tuple(zip(SCOPE_LABELS[row.scope], scope_values, strict=True))
    for name, labels, value in samples(row, row.read(subject)):
        # In the order of prometheus-client.
        text = ",".join(_label(label, text) for label, text in sorted((*scope_labels, *labels)))
        lines.append(f"{name}{{{text}}} {number(value)}\n" if text else f"{name} {number(value)}\n")
    return "".join(lines).encode()


def _label(name: str, value: str) -> str:
    value = value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return f'{name}="{value}"'


@dataclass(frozen=True, slots=True)
class _Column:
    """A piece: the lines of one row for all jobs of a block, and where those of each job end."""

    piece: bytes
    ends: "array[int]"

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> "_Column":
        return cls(b"".join(texts), array("I", accumulate(map(len, texts))))

    def texts(self) -> list[bytes]:
        """The lines of each job."""
        piece = self.piece
        return [piece[start:end] for start, end in pairwise((0, *self.ends))] if piece else [piece] * len(self.ends)

    def replaced(self, new: "_Column", places: Sequence[int]) -> "_Column":
        """With the texts of `new` at these places, which ascend; this same column if they are not different."""
        piece, ends, texts = self.piece, self.ends, new.texts()
        spans = [(ends[at - 1] if at else 0, ends[at]) for at in places]
        if all(piece[start:end] == text for (start, end), text in zip(spans, texts, strict=True)):
            return self
        lengths = [*map(sub, ends, (0, *ends))]
        parts, done = [], 0
        for at, (start, end), text in zip(places, spans, texts, strict=True):
            parts += [piece[done:start], text]
            done, lengths[at] = end, len(text)
        return _Column(b"".join([*parts, piece[done:]]), array("I", accumulate(lengths)))

    def rearranged(self, new: "_Column", order: Sequence[int]) -> "_Column":
        """With the texts of `new` behind its own, in this order."""
        texts = [*self.texts(), *new.texts()]
        return _Column.of([texts[at] for at in order])


class JobRow:
    """Writes the lines of a row for many jobs; what these have in common is prepared."""

    def __init__(self, row: Row) -> None:
        self.name = row.name
        self._read = row.read
        self._has_own_labels = bool(row.own_labels)
        labels = sorted(enumerate(row.own_labels), key=itemgetter(1))
        self._before = [(at, label) for at, label in labels if label < "job_id"]
        self._after = [(at, label) for at, label in labels if label > "job_id"]
        self._own = lru_cache(maxsize=1000)(self._own_labels)

    def write(self, account: str, ids: Sequence[str], jobs: Sequence[JobView]) -> _Column:
        """The lines of these jobs. `account` and `ids`, those of the jobs, are labels as they are written."""
        readings: list[Any] = [*map(self._read, jobs)]  # never histograms
        if readings.count(None) == len(readings):
            return _Column(b"", array("I", [0]) * len(readings))
        start = f"{self.name}{{{account},"
        if self._has_own_labels:
            own = self._own
            texts = [
                "".join(
                    [
                        f"{start}{before}{job_id}{after}}} {number(value)}\n"
                        for (before, after), value in zip(map(own, reading), reading.values(), strict=True)
                    ]
                )
                if reading
                else ""
                for job_id, reading in zip(ids, readings, strict=True)
            ]
        else:
            texts = [
                "" if reading is None else f"{start}{job_id}}} {number(reading)}\n"
                for job_id, reading in zip(ids, readings, strict=True)
            ]
        piece = "".join(texts)
        if piece.isascii():
            return _Column(piece.encode(), array("I", accumulate(map(len, texts))))
        return _Column.of([text.encode() for text in texts])

    def _own_labels(self, values: Labels) -> tuple[str, str]:
        """The labels that come before `job_id`, and those after it."""
        before = "".join([f"{_label(label, values[at])}," for at, label in self._before])
        return before, "".join([f",{_label(label, values[at])}" for at, label in self._after])


class _Block:
    """The text of some jobs, in the order of their places."""

    def __init__(self, rows: Sequence[JobRow]) -> None:
        self._rows = rows
        self._ids: list[str] = []
        self.columns = [_Column.of(()) for _ in rows]

    def __len__(self) -> int:
        return len(self._ids)

    def update(self, account: str, changed: Mapping[str, JobView], gone: Set[str]) -> None:
        """Writes the jobs that are new or changed, and drops those that are gone."""
        ids = sorted(changed, key=place)
        labels, jobs = [_label("job_id", job_id) for job_id in ids], [changed[job_id] for job_id in ids]
        before, places = self._ids, [bisect_left(self._ids, place(job_id), key=place) for job_id in ids]
        change: Callable[[_Column, _Column], _Column]
        if not before:
            self._ids, change = ids, lambda _, new: new
        elif not gone and all(before[at : at + 1] == [job_id] for at, job_id in zip(places, ids, strict=True)):
            change = partial(_Column.replaced, places=places)
        else:
            self._ids = sorted({*before, *ids} - gone, key=place)
            sources = {job_id: at for at, job_id in enumerate([*before, *ids])}  # of a changed job the later one
            change = partial(_Column.rearranged, order=[sources[job_id] for job_id in self._ids])
        # One row after the other, so that its texts are still in the processor's cache.
        self.columns = [
            change(column, row.write(account, labels, jobs))
            for column, row in zip(self.columns, self._rows, strict=True)
        ]


@dataclass(slots=True)
class _Change:
    changed: dict[str, JobView] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)


class AccountText:
    """The text of the rows that describe an account and its jobs, in pieces."""

    def __init__(self, account: str, rows: Sequence[Row], job_rows: Sequence[JobRow]) -> None:
        self._account = account
        self._rows = rows
        self._job_rows = job_rows
        self._view: AccountView | None = None
        self._jobs: Mapping[str, JobView] = {}
        self._bits = 0
        self._blocks: dict[tuple[bool, int], _Block] = {}
        self._pieces: dict[str, Sequence[bytes]] = {}

    def of(self, row: Row) -> Sequence[bytes]:
        """The pieces of a row."""
        return self._pieces[row.name]

    def update(self, view: AccountView) -> None:
        """Writes what is different in this view."""
        if view is self._view:
            return
        if self._view is None or view.shown is not self._view.shown:
            self._update_jobs({job.job.id: job for job in view.shown})
        self._pieces |= {row.name: [series(row, (self._account,), view)] for row in self._rows}
        self._view = view

    def _update_jobs(self, jobs: Mapping[str, JobView]) -> None:
        if not _bits(len(jobs), _BLOCK + 1) <= self._bits <= _bits(len(jobs), _BLOCK - 1):
            self._bits = _bits(len(jobs), _BLOCK)
            self._jobs, self._blocks = {}, {}
        account = _label("account", self._account)
        for key, change in self._changes(jobs).items():
            block = self._blocks.setdefault(key, _Block(self._job_rows))
            block.update(account, change.changed, change.gone)
            if not block:
                del self._blocks[key]
        self._jobs = jobs
        columns = [self._blocks[key].columns for key in sorted(self._blocks)]
        for at, row in enumerate(self._job_rows):
            self._pieces[row.name] = [of_rows[at].piece for of_rows in columns]

    def _changes(self, jobs: Mapping[str, JobView]) -> Mapping[tuple[bool, int], _Change]:
        """What changed since the last time, by block."""
        changes: defaultdict[tuple[bool, int], _Change] = defaultdict(_Change)
        for job_id, job in jobs.items():
            before = self._jobs.get(job_id)
            if before is not job and before != job:
                block = self._block_of(job_id, job)
                changes[block].changed[job_id] = job
                if before is not None and (was := self._block_of(job_id, before)) != block:
                    changes[was].gone.add(job_id)
        for job_id in self._jobs.keys() - jobs.keys():
            changes[self._block_of(job_id, self._jobs[job_id])].gone.add(job_id)
        return changes

    def _block_of(self, job_id: str, job: JobView) -> tuple[bool, int]:
        return job.job.status.ended, place(job_id)[0] >> 32 - self._bits


def _bits(jobs: int, block: int) -> int:
    return (jobs >> block).bit_length()
