"""The text of an account in pieces: each has the lines of one row for the jobs of one block. A piece whose lines did
not change stays the same object.

A block has the active or the finished jobs whose ids have checksums in the same range. So a job that comes or goes
touches one block, and finished jobs, which hardly ever change, are apart from those that do.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import itemgetter
from typing import Any

from exporter.metrics import SCOPE_LABELS, Row, Scope, number, place, samples
from exporter.state import AccountView, JobView

_BLOCK = 10  # blocks have about 2**10 jobs, and half or twice as many before all jobs are put into new ones


class Writer:
    """Writes the samples of a row."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self._bare = _template(row.name, SCOPE_LABELS[row.scope])
        self._full = _template(row.name, row.labels)
        self._sort = _sorter(row.labels)

    def write(self, scopes: Iterable[tuple[str, ...]], subjects: Iterable[Any]) -> list[bytes]:
        """The lines for each subject. `scopes` are the values of the scope's labels, escaped."""
        read, bare = self.row.read, self._bare
        texts = []
        for scope, subject in zip(scopes, subjects, strict=True):
            reading = read(subject)
            if reading is None:
                texts.append(b"")
            elif isinstance(reading, float | int):
                texts.append((bare % (*scope, number(reading))).encode())
            else:
                texts.append(self._several(scope, reading).encode())
        return texts

    def _several(self, scope: tuple[str, ...], reading: Any) -> str:
        if self.row.type == "histogram":
            return "".join(self._of_histogram(scope, reading))
        full, sort = self._full, self._sort
        return "".join([full % (*sort((*scope, *escaped(key))), number(value)) for key, value in reading.items()])

    def _of_histogram(self, scope: tuple[str, ...], reading: Any) -> Iterable[str]:
        for name, labels, value in samples(self.row, reading):
            names, values = zip(*labels, strict=True) if labels else ((), ())
            names = (*SCOPE_LABELS[self.row.scope], *names)
            yield _template(name, names) % (*_sorter(names)((*scope, *escaped(values))), number(value))


def _template(name: str, labels: Iterable[str]) -> str:
    text = ",".join(f'{label}="%s"' for label in sorted(labels))
    return f"{name}{{{text}}} %s\n" if text else f"{name} %s\n"


def _sorter(labels: Sequence[str]) -> Any:
    """What puts the values of labels into the order of the labels' names."""
    order = sorted(range(len(labels)), key=labels.__getitem__)
    return tuple if order == list(range(len(labels))) else itemgetter(*order)


def escaped(values: tuple[str, ...]) -> tuple[str, ...]:
    """The values of labels as they are written."""
    text = "".join(values)
    if '"' in text or "\\" in text or "\n" in text:
        return tuple(value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"") for value in values)
    return values


@dataclass(frozen=True, slots=True)
class Column:
    """A piece: the lines of one row for all jobs of a block, and where those of each job end."""

    text: bytes
    ends: "array[int]"

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> "Column":
        """The column of the texts of jobs."""
        return cls(b"".join(texts), array("I", accumulate(map(len, texts))))

    def texts(self) -> list[bytes]:
        """The text of each job."""
        text = self.text
        return [text[start:end] for start, end in pairwise((0, *self.ends))] if text else [text] * len(self.ends)

    def replaced(self, positions: Sequence[int], texts: Sequence[bytes]) -> "Column":
        """With other texts at these positions; this same column if they are not different."""
        text, ends = self.text, self.ends
        if all(text[ends[at - 1] if at else 0 : ends[at]] == new for at, new in zip(positions, texts, strict=True)):
            return self
        all_texts = self.texts()
        for at, new in zip(positions, texts, strict=True):
            all_texts[at] = new
        return Column.of(all_texts)


class _Block:
    def __init__(self, writers: Sequence[Writer]) -> None:
        self._writers = writers
        self._ids: list[str] = []
        self.columns = [Column(b"", array("I")) for _ in writers]

    def update(self, account: str, changed: Mapping[str, JobView], gone: Set[str]) -> None:
        """Writes the jobs that are new or changed, and drops those that are gone."""
        scopes = [(account, *escaped((job_id,))) for job_id in changed]
        written = [writer.write(scopes, changed.values()) for writer in self._writers]
        ids = self._ids
        positions = [bisect_left(ids, place(job_id), key=place) for job_id in changed]
        if not gone and all(at < len(ids) and ids[at] == job_id for at, job_id in zip(positions, changed, strict=True)):
            self.columns = [
                column.replaced(positions, texts) for column, texts in zip(self.columns, written, strict=True)
            ]
            return
        self._ids = sorted({*ids, *changed} - gone, key=place)
        columns = []
        for column, texts in zip(self.columns, written, strict=True):
            by_id = dict(zip(ids, column.texts(), strict=True)) | dict(zip(changed, texts, strict=True))
            columns.append(Column.of([by_id[job_id] for job_id in self._ids]))
        self.columns = columns

    def __bool__(self) -> bool:
        return bool(self._ids)


class AccountText:
    """The text of an account, for each of these writers."""

    def __init__(self, account: str, writers: Sequence[Writer]) -> None:
        [self._account] = escaped((account,))
        self._writers = writers
        self._of_jobs = [writer for writer in writers if writer.row.scope is Scope.JOB]
        self._view: AccountView | None = None
        self._jobs: Mapping[str, JobView] = {}
        self._bits = 0
        self._blocks: dict[tuple[bool, int], _Block] = {}
        self.pieces: list[list[bytes]] = []
        """The pieces of each row."""

    def update(self, view: AccountView) -> None:
        """Writes what is different in this view."""
        if view is self._view:
            return
        self._update_jobs(view.shown)
        blocks = [self._blocks[key].columns for key in sorted(self._blocks)]
        of_jobs = zip(*blocks, strict=True) if blocks else iter([()] * len(self._of_jobs))
        self.pieces = [
            [column.text for column in next(of_jobs) if column.text]
            if writer.row.scope is Scope.JOB
            else writer.write([(self._account,)], [view])
            if writer.row.scope is Scope.ACCOUNT
            else []
            for writer in self._writers
        ]
        self._view = view

    def _update_jobs(self, shown: Sequence[JobView]) -> None:
        if self._view is not None and shown is self._view.shown:
            return
        jobs = {job.job.id: job for job in shown}
        if not _bits(len(jobs), _BLOCK + 1) <= self._bits <= _bits(len(jobs), _BLOCK - 1):
            self._bits = _bits(len(jobs), _BLOCK)
            self._jobs, self._blocks = {}, {}
        before = self._jobs
        changes: dict[tuple[bool, int], tuple[dict[str, JobView], set[str]]] = {}
        for job_id, job in jobs.items():
            old = before.get(job_id)
            if old is not job and old != job:
                block = self._block_of(job_id, job)
                changes.setdefault(block, ({}, set()))[0][job_id] = job
                if old is not None and (was := self._block_of(job_id, old)) != block:
                    changes.setdefault(was, ({}, set()))[1].add(job_id)
        for job_id in before.keys() - jobs.keys():
            changes.setdefault(self._block_of(job_id, before[job_id]), ({}, set()))[1].add(job_id)
        for key, (changed, gone) in changes.items():
            block_ = self._blocks.setdefault(key, _Block(self._of_jobs))
            block_.update(self._account, changed, gone)
            if not block_:
                del self._blocks[key]
        self._jobs = jobs

    def _block_of(self, job_id: str, job: JobView) -> tuple[bool, int]:
        return job.job.status.ended, place(job_id)[0] >> 32 - self._bits


def _bits(jobs: int, block: int) -> int:
    return (jobs >> block).bit_length()
