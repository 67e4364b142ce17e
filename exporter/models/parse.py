"""The API's bytes as models, and what had to be rejected.

No odd value may cost more than itself. A sound list is validated by pydantic in one pass, straight from the bytes. An
unsound one is validated job by job: an odd value is removed from its job and becomes unknown, and only a job without a
usable id or status is rejected. Whatever the bytes are, they yield models or one `BodyError`.
"""

import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, wraps
from typing import Annotated, Any, ParamSpec, TypeVar

from pydantic import FailFast, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic accepts typing's own from Python 3.12 on

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


class _JobList(TypedDict):
    data: Annotated[list[JobFields], FailFast()]


_JOB_LIST = TypeAdapter(_JobList)


@cache
def _job_validator() -> TypeAdapter[JobFields]:
    """The validator of a single job. It is built for the first answer that needs it, not at the start."""
    return TypeAdapter(JobFields)


class BodyError(Exception):
    """An answer that is not what it should be."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """An object of the list that cannot be used: its id, or its index if it has none, and one of `REASONS`."""

    job_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class UnknownValue:
    """A value outside the known set: the job's id, the field's name with dots, and the start of the value."""

    job_id: str
    field: str
    value: str


@dataclass(frozen=True, slots=True)
class JobList:
    """The content of an answer: its jobs, each id once; objects rejected, counted by reason and the first of them
    described; and unknown values, the first 10,000, at most one for each field of a job."""

    jobs: tuple[Job, ...]
    rejected: Mapping[str, int]
    rejections: tuple[Rejection, ...]
    unknown_values: tuple[UnknownValue, ...]


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
def parse_jobs(body: bytes) -> JobList:
    """The answer of `GET /fine-tunes`; raises `BodyError` if it is not a list of jobs."""
    _check_size(body)
    try:
        return _collect(_JOB_LIST.validate_json(body)["data"])
    except ValidationError:
        return _parse_each(_list_in(_object(body), "data"))


@_total
def parse_job(body: bytes, job_id: str) -> JobList:
    """The answer of `GET /fine-tunes/{id}` as a list of one job; raises `BodyError` if it is not that job."""
    _check_size(body)
    try:
        found = _collect([_job_validator().validate_json(body)])
    except ValidationError:
        found = _parse_each([_object(body)])
    if [job.id for job in found.jobs] != [job_id]:
        raise BodyError("the answer is not the requested job")
    return found


@_total
def parse_events(body: bytes, job_id: str) -> tuple[Events | None, tuple[UnknownValue, ...]]:
    """The answer of `GET /fine-tunes/{id}/events` for the job `job_id`, and its unknown values; raises `BodyError` if
    it is not a list."""
    _check_size(body)
    # As the events of a job: one way to remove an odd one.
    found = _parse_each([{"id": job_id, "status": "queued", "events": _list_in(_object(body), "data")}])
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


class _Findings:
    """What is rejected and unknown in an answer, collected while it is parsed."""

    def __init__(self) -> None:
        self.rejected: Counter[str] = Counter(dict.fromkeys(REASONS, 0))
        self.rejections: list[Rejection] = []
        self.unknown: dict[tuple[str, str], UnknownValue] = {}

    def reject(self, job_id: str, reason: str) -> None:
        self.rejected[reason] += 1
        if len(self.rejections) < _MAX_REJECTIONS:
            self.rejections.append(Rejection(_cut(job_id), reason))

    def note(self, job_id: str, field: str, value: object) -> None:
        if len(self.unknown) < _MAX_UNKNOWN and (job_id, field) not in self.unknown:
            self.unknown[job_id, field] = UnknownValue(job_id, field, _cut(value))


def _collect(found: list[JobFields], findings: _Findings | None = None) -> JobList:
    findings = findings or _Findings()
    if len(found) > MAX_JOBS:
        findings.rejected["limit"] += len(found) - MAX_JOBS
    newest: dict[str, Job] = {}
    for fields in found[:MAX_JOBS]:
        job = _job(fields, findings)
        if job.id in (".", ".."):  # they would lead a request for the job to another path
            findings.reject(job.id, "id")
        elif (other := newest.setdefault(job.id, job)) is not job:
            findings.reject(job.id, "duplicate_id")
            if (job.updated or 0) > (other.updated or 0):
                newest[job.id] = job
    return JobList(
        tuple(newest.values()),
        dict(findings.rejected),
        tuple(findings.rejections),
        tuple(findings.unknown.values()),
    )


def _job(fields: JobFields, findings: _Findings) -> Job:
    events = fields.pop("events", None)
    job = Job(fields, summarise(events))
    if job.status is UNKNOWN:
        findings.note(job.id, "status", fields["status"])
    if job.events and (UNKNOWN.name in job.events.types or job.events.levels.get(UNKNOWN.name)):
        for field, value in unknown_events(events or ()):
            findings.note(job.id, field, value)
    return job


def _parse_each(data: list[Any]) -> JobList:
    findings = _Findings()
    findings.rejected["limit"] += max(len(data) - MAX_JOBS, 0)
    found = (_repair(index, item, findings) for index, item in enumerate(data[:MAX_JOBS]))
    return _collect([fields for fields in found if fields is not None], findings)


def _repair(index: int, item: Any, findings: _Findings) -> JobFields | None:
    """The sound fields of an object of the list; `None` if it is rejected."""
    if not isinstance(item, dict):
        findings.reject(f"#{index}", "not_an_object")
        return None
    job_id = item["id"] if isinstance(item.get("id"), str) else f"#{index}"
    if missing := next((field for field in ("id", "status") if not isinstance(item.get(field), str)), None):
        findings.reject(job_id, missing)
        return None
    item["status"] = item["status"][:MAX_LABEL]
    if isinstance(events := item.get("events"), list):
        item["events"] = events[-MAX_EVENTS:]
    while True:  # the removal of one odd value can reveal another: `Suffix` behind `suffix`
        try:
            return _job_validator().validate_python(item)
        except ValidationError as error:
            problems = {_deepest(item, problem["loc"]): problem["type"] for problem in error.errors(include_url=False)}
            if ("id",) in problems:
                findings.reject(job_id, "id")
                return None
            for path in _last_first(problems):
                value = _remove(item, path)
                if problems[path] == "string_too_long":
                    _put(item, path, value[:MAX_LABEL])
                else:
                    findings.note(job_id, _dotted(path), value)


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


def _check_size(body: bytes) -> None:
    if not body:
        raise BodyError("the answer is empty")
    if body.count(b",") > _MAX_VALUES:
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
