"""The API's bytes as models, and what had to be rejected.

No odd value may cost more than itself. A sound job is validated by pydantic, straight from the bytes. An odd value is
removed from its job and becomes unknown, and only a job without a usable id or status is rejected. Whatever the bytes
are, they yield models or one `BodyError`.

Most of a list is the same from one poll to the next: what is the same is not parsed again.
"""

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from hashlib import sha256
from itertools import islice
from types import MappingProxyType
from typing import Any, NamedTuple, ParamSpec, TypeVar

from pydantic import TypeAdapter, ValidationError

from exporter.models.entries import split
from exporter.models.fields import MAX_LABEL, JobFields
from exporter.models.job import MAX_EVENTS, Events, Job, summarise, unknown_events
from exporter.statuses import UNKNOWN

log = logging.getLogger(__name__)

REASONS = ("not_an_object", "id", "status", "duplicate_id", "limit")
MAX_JOBS = 100_000
"""Objects of a list that are read; the others are rejected for the reason `limit`."""

_MAX_VALUES = 5_000_000  # of an answer: parsed, each takes up to 100 bytes
_MAX_REJECTIONS = 1_000  # described one by one; the others are only counted
_MAX_UNKNOWN = 10_000  # unknown values of an answer
_MAX_ROWS = 100_000
_MAX_NAMES = 100  # of training metrics in one row

P = ParamSpec("P")
R = TypeVar("R")
_Path = tuple[int | str, ...]


_JOB = TypeAdapter(JobFields)


class BodyError(Exception):
    """An answer that is not what it should be."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """An object of the list that cannot be used: its id, or its index if it has none, and one of `REASONS`."""

    job_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class UnknownValue:
    """A value outside the known set or beyond a bound: the job's id, the field's name with dots, and the start of the
    value."""

    job_id: str
    field: str
    value: str


class _Entry(NamedTuple):
    """What was found in an object of the list."""

    job_id: str
    found: Job | Rejection
    unknown_values: Sequence[UnknownValue] = ()


@dataclass(frozen=True, slots=True)
class JobList:
    """The content of an answer: its jobs by id; objects rejected, counted by reason and the first of them
    described; and unknown values, the first 10,000, at most one for each field of a job."""

    by_id: Mapping[str, Job]
    rejected: Mapping[str, int]
    rejections: tuple[Rejection, ...]
    unknown_values: tuple[UnknownValue, ...]
    digest: bytes = field(default=b"", repr=False, compare=False)
    """Of the answer's bytes."""
    ids: Mapping[bytes, str] = field(default_factory=dict, repr=False, compare=False)
    """The ids of jobs by the digest of their bytes."""

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs in the order of the answer."""
        return tuple(self.by_id.values())

    @property
    def unknown_by_id(self) -> Mapping[str, Sequence[UnknownValue]]:
        """The unknown values of each job that has some."""
        found: dict[str, list[UnknownValue]] = {}
        for value in self.unknown_values:
            found.setdefault(value.job_id, []).append(value)
        return found


@dataclass(frozen=True, slots=True)
class TrainingPoint:
    """A row of training metrics: its step, its time (unix seconds), and its other numbers by name. NaN and infinite
    values are kept: a diverged loss must be visible."""

    step: int | None
    time: float | None
    values: Mapping[str, float]


def _total(parse: Callable[P, R]) -> Callable[P, R]:
    """Turns any other exception of `parse` into a `BodyError`: no answer may stop the exporter."""

    @wraps(parse)
    def safe(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return parse(*args, **kwargs)
        except BodyError:
            raise
        except Exception as error:
            log.debug("answer cannot be parsed", exc_info=True)
            raise BodyError(f"the answer cannot be parsed ({type(error).__name__})") from None

    return safe


@_total
def parse_jobs(body: bytes, before: JobList | None = None) -> JobList:
    """The answer of `GET /fine-tunes`; raises `BodyError` if it is not a list of jobs.

    What it has in common with the answer `before` is not parsed again: a job whose bytes are the same is the same
    object, and so is the whole list.
    """
    digest = sha256(body).digest()
    if before is not None and before.digest == digest:
        return before
    found = _read_pieces(*split(body), before or _NOTHING)
    if found is None:
        _check_size(body)
        found = _collect_each(_list_in(_object(body), "data"))
    return replace(found, digest=digest)


@_total
def parse_job(body: bytes, job_id: str) -> JobList:
    """The answer of `GET /fine-tunes/{id}` as a list of one job; raises `BodyError` if it is not that job."""
    _check_size(body)
    try:
        found = _collect([_sound(_JOB.validate_json(body))])
    except ValidationError:
        found = _collect_each([_object(body)])
    if [job.id for job in found.jobs] != [job_id]:
        raise BodyError("the answer is not the requested job")
    return found


@_total
def parse_events(body: bytes, job_id: str) -> tuple[Events | None, tuple[UnknownValue, ...]]:
    """The answer of `GET /fine-tunes/{id}/events` for the job `job_id`, and its unknown values; raises `BodyError` if
    it is not a list."""
    _check_size(body)
    # As the events of a job: one way to remove an odd one.
    found = _collect_each([{"id": job_id, "status": "queued", "events": _list_in(_object(body), "data")}])
    return found.jobs[0].events, found.unknown_values


@_total
def parse_training(body: bytes) -> tuple[TrainingPoint, ...]:
    """The answer of `GET /fine-tunes/{id}/metrics`, in its order, without what is not a number; raises `BodyError` if
    it is not a list of rows."""
    _check_size(body)
    rows = _list_in(_object(body), "metrics")[-_MAX_ROWS:]
    return tuple(_point(row) for row in rows if isinstance(row, dict))


def _point(row: dict[str, Any]) -> TrainingPoint:
    numbers = {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and len(name) <= MAX_LABEL
    }
    step, nanoseconds = numbers.pop("train/global_step", math.nan), numbers.pop("timestamp", math.nan)
    return TrainingPoint(
        int(step) if 0 <= step < 2**63 else None,
        nanoseconds / 1e9 if math.isfinite(nanoseconds) else None,
        dict(list(numbers.items())[:_MAX_NAMES]),
    )


_NOTHING = JobList({}, {}, (), ())


def _read_pieces(opening: bytes, pieces: list[bytes], before: JobList) -> JobList | None:
    """The list of objects whose bytes are `opening`, a piece, and a brace; those that the list `before` has too are not
    parsed. `None` if there are none, too many, or one that is not JSON."""
    if not 0 < len(pieces) <= MAX_JOBS:
        return None
    # Of the jobs that did not change, as few objects as possible are touched: most are in no cache of the processor.
    digests = [sha256(piece).digest() for piece in pieces]
    ids = list(map(before.ids.get, digests))
    new = [index for index, job_id in enumerate(ids) if job_id is None]
    _check_size(*(pieces[index] for index in new))
    parsed: dict[int, _Entry] = {}
    for index in new:
        piece = opening + pieces[index] + b"}"
        try:
            parsed[index] = _sound(_JOB.validate_json(piece))
        except ValidationError as error:
            if error.error_count() == 1 and error.errors(include_url=False)[0]["type"] == "json_invalid":
                return None
            parsed[index] = _repair(index, _object(piece))
    known, unknown = dict(before.by_id), before.unknown_by_id
    found = _collect(
        parsed[index] if job_id is None else _Entry(job_id, known[job_id], unknown.get(job_id, ()))
        for index, job_id in enumerate(ids)
    )
    if len(found.unknown_values) == _MAX_UNKNOWN:
        return found  # there may be more, so all are to be parsed again
    for index, entry in parsed.items():
        # A rejected object is described by its place, which may be another one next time.
        ids[index] = entry.job_id if isinstance(entry.found, Job) else None
    repeated = {job_id for job_id, count in Counter(ids).items() if count > 1} if found.rejected["duplicate_id"] else ()
    known_next = zip(digests, ids, strict=True)
    return replace(found, ids={key: job_id for key, job_id in known_next if job_id and job_id not in repeated})


def _collect_each(data: list[Any]) -> JobList:
    return _collect((_repair(index, item) for index, item in enumerate(data[:MAX_JOBS])), len(data) - MAX_JOBS)


def _collect(entries: Iterable[_Entry], surplus: int = 0) -> JobList:
    newest: dict[str, Job] = {}
    rejections: list[Rejection] = []
    unknown: dict[tuple[str, str], UnknownValue] = {}
    for job_id, found, unknown_values in entries:
        if isinstance(found, Rejection):
            rejections.append(found)
        elif job_id not in newest:
            newest[job_id] = found
        else:
            rejections.append(Rejection(_cut(job_id), "duplicate_id"))
            if (found.updated or 0) > (newest[job_id].updated or 0):
                newest[job_id] = found
        for value in unknown_values if len(unknown) < _MAX_UNKNOWN else ():
            unknown.setdefault((value.job_id, value.field), value)
    rejected = Counter(rejection.reason for rejection in rejections)
    rejected["limit"] = max(surplus, 0)
    return JobList(
        MappingProxyType(newest),
        {reason: rejected[reason] for reason in REASONS},
        tuple(rejections[:_MAX_REJECTIONS]),
        tuple(islice(unknown.values(), _MAX_UNKNOWN)),
    )


def _sound(fields: JobFields, odd: Mapping[str, object] = MappingProxyType({})) -> _Entry:
    """The entry of an object whose `fields` are sound, after the `odd` values were removed."""
    events = fields.pop("events", None)
    job = Job(fields, summarise(events))
    job_id = job.id
    if job_id in (".", ".."):  # they would lead a request for the job to another path
        return _Entry(job_id, Rejection(job_id, "id"))
    if not odd and not events and job.status is not UNKNOWN:
        return _Entry(job_id, job)
    unknown = dict(odd)
    if job.status is UNKNOWN:
        unknown.setdefault("status", fields["status"])
    if len(events or ()) >= MAX_EVENTS:
        unknown.setdefault("events", f"{MAX_EVENTS} or more")
    if job.events and (UNKNOWN.name in job.events.types or job.events.levels.get(UNKNOWN.name)):
        for name, value in unknown_events(events or ()):
            unknown.setdefault(name, value)
    return _Entry(job_id, job, tuple(UnknownValue(job_id, name, _cut(value)) for name, value in unknown.items()))


def _repair(index: int, item: Any) -> _Entry:
    """The entry of any object, from which odd values are removed."""
    if not isinstance(item, dict):
        return _Entry(f"#{index}", Rejection(f"#{index}", "not_an_object"))
    job_id = item["id"] if isinstance(item.get("id"), str) else f"#{index}"
    if missing := next((field for field in ("id", "status") if not isinstance(item.get(field), str)), None):
        return _Entry(job_id, Rejection(_cut(job_id), missing))
    item["status"] = item["status"][:MAX_LABEL]
    if isinstance(events := item.get("events"), list):
        item["events"] = events[-MAX_EVENTS:]
    odd: dict[str, object] = {}
    while True:  # the removal of one odd value can reveal another: `Suffix` behind `suffix`
        try:
            return _sound(_JOB.validate_python(item), odd)
        except ValidationError as error:
            problems = {_deepest(item, problem["loc"]): problem["type"] for problem in error.errors(include_url=False)}
            if ("id",) in problems:
                return _Entry(job_id, Rejection(_cut(job_id), "id"))
            for path in _last_first(problems):
                value = _remove(item, path)
                odd.setdefault(_dotted(path), value)
                if problems[path] == "string_too_long":
                    _put(item, path, value[:MAX_LABEL])


def _deepest(item: Any, path: _Path) -> _Path:
    """The part of an error's path that exists in `item`: what follows is pydantic's own."""
    found: list[int | str] = []
    for key in path:
        try:
            item = item[key]
        except (KeyError, IndexError, TypeError):
            break
        found.append(key)
    return tuple(found)


def _last_first(paths: Iterable[_Path]) -> list[_Path]:
    """An order in which a removal from a list does not move what is still to be removed."""
    return sorted(paths, key=lambda path: [(isinstance(key, int), key) for key in path], reverse=True)


def _remove(item: Any, path: _Path) -> Any:
    for key in path[:-1]:
        item = item[key]
    return item.pop(path[-1])


def _put(item: Any, path: _Path, value: object) -> None:
    for key in path[:-1]:
        item = item[key]
    if isinstance(item, list):
        item.insert(int(path[-1]), value)
    else:
        item[path[-1]] = value


def _dotted(path: _Path) -> str:
    return ".".join(key for key in path if isinstance(key, str))


def _check_size(*bodies: bytes) -> None:
    if sum(body.count(b",") for body in bodies) > _MAX_VALUES:
        raise BodyError(f"the answer has more than {_MAX_VALUES:,} values")


# Other escapes, a surrogate pair, or (the group) half of one.
_ESCAPE = re.compile(
    r"(?:\\[^u])+|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)


def _object(body: bytes) -> dict[str, Any]:
    """A body as a JSON object, read as leniently as possible."""
    # json.loads knows UTF-16, UTF-32 and byte order marks; a stray byte or half a surrogate pair should cost one name,
    # not the list; and Python refuses an integer of thousands of digits, which infinity represents as well.
    text = body.decode(json.detect_encoding(body), "replace").removeprefix("\N{BYTE ORDER MARK}")
    if not text:
        raise BodyError("the answer is empty")
    text = _ESCAPE.sub(lambda escape: r"\ufffd" if escape[1] else escape[0], text)
    try:
        document = json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 300 else math.inf)
    except (ValueError, RecursionError) as error:
        raise BodyError(f"the answer is not JSON ({error}): {_cut(text)}") from None
    if not isinstance(document, dict):
        raise BodyError(f"the answer is not a JSON object: {_cut(text)}")
    return document


def _list_in(document: dict[str, Any], name: str) -> list[Any]:
    found = document.get(name)
    if not isinstance(found, list):
        raise BodyError(f"the answer has no list `{name}`: {_cut(document)}")
    return found


def _cut(value: object) -> str:
    text = value if isinstance(value, str) else _start_of(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _start_of(value: object) -> str:
    """The start of a value as JSON, made without writing all of it."""
    return "".join(_first(json.JSONEncoder(default=str).iterencode(value), 90))


def _first(parts: Iterator[str], most: int) -> Iterator[str]:
    for part in parts:
        yield part
        most -= len(part)
        if most < 0:
            return
