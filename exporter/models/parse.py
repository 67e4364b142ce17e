"""Bytes of the API as models, and what of them could not be used.

Nothing in an answer may cost more than itself: a list that is sound is validated by pydantic in one go, straight from
the bytes; one that is not is gone through job by job. There an odd value is taken out of its job and becomes unknown,
and only a job without a usable id or status is rejected.
"""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes typing's own from Python 3.12 on

from exporter.models.fields import EventFields, JobFields
from exporter.models.job import Job, unknown_names

REASONS = ("not_an_object", "id", "status", "duplicate_id")

_MOST_NAMES = 100  # of values in the training rows of a job: each is a series


class _JobList(TypedDict):
    data: list[JobFields]


_Path = tuple[int | str, ...]
_JOB_LIST = TypeAdapter(_JobList)
_JOB = TypeAdapter(JobFields)


@dataclass(frozen=True, slots=True)
class Rejected:
    """An object of the list that cannot be used: its id, else its index, and one of `REASONS`."""

    job_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class UnknownValue:
    """A value outside what is known: the job's id, the field's name with dots, the value cut to a line."""

    job_id: str
    field: str
    value: str


@dataclass(frozen=True, slots=True)
class JobList:
    """What an answer says: its jobs, each id once; what had to be rejected; what was not understood."""

    jobs: tuple[Job, ...]
    rejected: tuple[Rejected, ...]
    unknown_values: tuple[UnknownValue, ...]


@dataclass(frozen=True, slots=True)
class TrainingPoint:
    """A row of training metrics: its step, its time (unix seconds), and all its other numbers by name. NaN and
    infinite ones are kept: a loss that diverged must be seen."""

    step: int | None
    time: float | None
    values: Mapping[str, float]


class BodyError(Exception):
    """An answer that is not what it should be, as a sentence."""


def parse_jobs(body: bytes) -> JobList:
    """The answer of `GET /fine-tunes`; raises `BodyError` where it is no list of jobs at all."""
    try:
        return _found([Job(fields) for fields in _JOB_LIST.validate_json(body)["data"]])
    except ValidationError:
        return _mended(_list_in(_object(body), "data"))


def parse_job(body: bytes) -> JobList:
    """The answer of `GET /fine-tunes/{id}`, as a list of that one job; raises `BodyError` where it is no object."""
    try:
        return _found([Job(_JOB.validate_json(body))])
    except ValidationError:
        return _mended([_object(body)])


def parse_events(body: bytes, job_id: str) -> tuple[list[EventFields], tuple[UnknownValue, ...]]:
    """The answer of `GET /fine-tunes/{id}/events` for the job `job_id`, and what of it was not understood; raises
    `BodyError` where it is no list."""
    # As the events of a job, an odd one is taken out in the one way that there is.
    found = _mended([{"id": job_id, "status": "queued", "events": _list_in(_object(body), "data")}])
    return found.jobs[0].fields.get("events") or [], found.unknown_values


def parse_training(body: bytes) -> tuple[TrainingPoint, ...]:
    """The answer of `GET /fine-tunes/{id}/metrics`, in its order; what is no number in a row is left out. Raises
    `BodyError` where it is no list of rows."""
    return tuple(_point(row) for row in _list_in(_object(body), "metrics") if isinstance(row, dict))


def _point(row: dict[str, Any]) -> TrainingPoint:
    numbers = {
        name: float(value)
        for name, value in row.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and len(name) <= 256
    }
    step, nanoseconds = numbers.pop("train/global_step", math.nan), numbers.pop("timestamp", math.nan)
    return TrainingPoint(
        int(step) if math.isfinite(step) else None,
        nanoseconds / 1e9 if math.isfinite(nanoseconds) else None,
        dict(list(numbers.items())[:_MOST_NAMES]),
    )


def _found(jobs: list[Job], rejected: Iterable[Rejected] = (), unknown: Iterable[UnknownValue] = ()) -> JobList:
    newest = _newest_of_each_id(jobs)
    twice = (Rejected(job.id, "duplicate_id") for job in jobs if newest[job.id] is not job)
    names = (UnknownValue(job.id, field, _cut(value)) for job in newest.values() for field, value in unknown_names(job))
    return JobList(tuple(newest.values()), (*rejected, *twice), (*unknown, *names))


def _newest_of_each_id(jobs: list[Job]) -> dict[str, Job]:
    newest: dict[str, Job] = {}
    for job in jobs:
        other = newest.setdefault(job.id, job)
        if other is not job and (job.updated or 0) > (other.updated or 0):
            newest[job.id] = job
    return newest


def _mended(data: list[Any]) -> JobList:
    rejected: list[Rejected] = []
    unknown: list[UnknownValue] = []
    return _found(list(_sound_jobs(data, rejected, unknown)), rejected, unknown)


def _sound_jobs(data: list[Any], rejected: list[Rejected], unknown: list[UnknownValue]) -> Iterator[Job]:
    for index, item in enumerate(data):
        if not isinstance(item, dict):
            rejected.append(Rejected(f"#{index}", "not_an_object"))
            continue
        job_id = item["id"] if isinstance(item.get("id"), str) else f"#{index}"
        while True:  # taking one odd value out can bring another to light: `Suffix` behind `suffix`
            try:
                yield Job(_JOB.validate_python(item))
            except ValidationError as error:
                paths = {_deepest(item, problem["loc"]) for problem in error.errors(include_url=False)}
                bad = (field for field in ("id", "status") if field not in item or (field,) in paths)
                if reason := next(bad, None):
                    rejected.append(Rejected(_cut(job_id), reason))
                    break
                unknown += [
                    UnknownValue(job_id, _dotted(path), _cut(_take_out(item, path))) for path in _last_first(paths)
                ]
            else:
                break


def _deepest(item: Any, path: _Path) -> _Path:
    """The part of an error's path that leads to something in `item`: what lies behind it is pydantic's own."""
    found: list[int | str] = []
    for key in path:
        try:
            item = item[key]
        except (KeyError, IndexError, TypeError):
            break
        found.append(key)
    return tuple(found)


def _last_first(paths: Iterable[_Path]) -> list[_Path]:
    """The order in which they can be taken out of lists without moving what is still to come."""
    return sorted(paths, key=lambda path: [(isinstance(key, int), key) for key in path], reverse=True)


def _take_out(item: Any, path: _Path) -> Any:
    for key in path[:-1]:
        item = item[key]
    return item.pop(path[-1])


def _dotted(path: _Path) -> str:
    return ".".join(key for key in path if isinstance(key, str))


def _object(body: bytes) -> dict[str, Any]:
    """A body as a JSON object, with the most lenient reading of its text."""
    if not body:
        raise BodyError("the answer is empty")
    # json.loads knows UTF-16, UTF-32 and byte order marks; a stray byte should cost one name, not the list; and
    # Python refuses to read an integer of thousands of digits, which infinity stands for as well.
    text = body.decode(json.detect_encoding(body), "replace").removeprefix("\N{BYTE ORDER MARK}")
    try:
        document = json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 300 else math.inf)
    except (ValueError, RecursionError) as error:
        raise BodyError(f"the answer is not JSON ({error}): {_cut(text)}") from None
    if not isinstance(document, dict):
        raise BodyError(f"the answer is not a JSON object: {_cut(document)}")
    return document


def _list_in(document: dict[str, Any], name: str) -> list[Any]:
    found = document.get(name)
    if not isinstance(found, list):
        raise BodyError(f"the answer has no list `{name}`: {_cut(document)}")
    return found


def _cut(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
