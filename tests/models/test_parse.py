"""From bytes to models: bounds, odd values, and that whatever the bytes are, there are models or one `BodyError`."""

import json
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.models import (
    MAX_LABEL,
    BodyError,
    JobFields,
    JobList,
    parse_events,
    parse_job,
    parse_jobs,
    parse_training,
)
from tests.support import job, jobs_json

MIB = 2**20
PARSERS: dict[str, Callable[[bytes], object]] = {
    "jobs": parse_jobs,
    "job": lambda body: parse_job(body, "ft-1"),
    "events": lambda body: parse_events(body, "ft-1"),
    "training": parse_training,
}


def parsed(*jobs: Any) -> JobList:
    return parse_jobs(jobs_json(*jobs))


# ------------------------------------------------------------------------------------------------- whatever the bytes

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None, exclude_categories=()))
    | st.sampled_from(["", ".", "..", "ft-1", "running", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+23:59", "max"])
    | st.sampled_from([2**63, -(2**63), 10**400, 1e308, math.nan, math.inf])
)
TEXTS = st.text(max_size=4)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=5
)
EVENT = st.dictionaries(st.sampled_from(["type", "level", "created_at", "message"]), VALUES)
EVENTS = st.lists(EVENT | VALUES, max_size=3)
NAMES = [*JobFields.__annotations__, "Suffix", "TrainingFileSize"]
ANY_JOB = st.builds(
    lambda fields, events: {**fields, **events},
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=5),
    st.fixed_dictionaries({}, optional={"events": EVENTS}),
)
USABLE_JOB = st.builds(lambda fields: {**fields, "id": "ft-1", "status": "running"}, ANY_JOB)
ROWS = st.dictionaries(st.sampled_from(["train/global_step", "timestamp", "train/loss"]) | TEXTS, VALUES, max_size=4)
BODIES = st.one_of(
    st.builds(lambda found: {"data": found}, st.lists(ANY_JOB | USABLE_JOB | VALUES, max_size=4)),
    st.builds(lambda found: {"data": found}, EVENTS),
    st.builds(lambda found: {"metrics": found}, st.lists(ROWS | VALUES, max_size=4)),
    USABLE_JOB,
    VALUES,
)


def check(body: bytes) -> None:
    """Every parser returns valid models or raises `BodyError`."""
    for parse in PARSERS.values():
        try:
            found = parse(body)
        except BodyError as error:
            str(error).encode()
            continue
        repr(found)
        texts_of(found)


def texts_of(found: object) -> None:
    """Encodes every text in what was found: lone surrogates cannot be."""
    if isinstance(found, str):
        found.encode()
    elif isinstance(found, dict):
        for key, value in found.items():
            texts_of(key)
            texts_of(value)
    elif isinstance(found, list | tuple):
        for value in found:
            texts_of(value)
    elif hasattr(found, "__slots__") and not isinstance(found, float | int):
        for name in found.__slots__:
            texts_of(getattr(found, name))


@given(st.binary(max_size=200))
def test_any_bytes_are_models_or_a_body_error(body: bytes) -> None:
    check(body)


@given(BODIES)
def test_any_json_is_models_or_a_body_error(document: object) -> None:
    check(json.dumps(document).encode())


@given(ANY_JOB)
def test_any_fields_of_a_job_cost_no_other_job(fields: dict[str, Any]) -> None:
    found = parsed({"id": "ft-2", **fields}, job("ft-good", token_count=7))
    assert [job.fields["token_count"] for job in found.jobs if job.id == "ft-good"] == [7]


# ------------------------------------------------------------------------------------------------- one after another

LISTED = st.builds(
    lambda number, fields: {"id": f"ft-{number}", "status": "running", **fields},
    st.integers(0, 5),
    ANY_JOB,
)
LISTS = st.lists(st.lists(LISTED | VALUES, max_size=5), min_size=1, max_size=4)


@given(LISTS, st.sampled_from([(",", ":"), (", ", ": "), ("}, {", ": ")]), st.sampled_from([None, 1]))
def test_a_list_parsed_after_another_is_as_if_parsed_alone(
    lists: list[list[Any]], separators: tuple[str, str], indent: int | None
) -> None:
    found = None
    for jobs in lists:
        body = json.dumps({"data": jobs}, separators=separators, indent=indent).encode()
        try:
            alone = parse_jobs(body)
        except BodyError:
            continue
        found = parse_jobs(body, found)
        assert found == alone


@given(st.lists(LISTED | VALUES, max_size=5))
def test_jobs_are_the_same_whatever_is_written_around_them(jobs: list[Any]) -> None:
    around = json.dumps({"warnings": [{"id": 1}], "data": jobs, "more": [{"id": 2}]}).encode()
    assert parse_jobs(around) == parsed(*jobs)


def test_jobs_whose_bytes_are_the_same_are_the_same_objects() -> None:
    first = parsed(job("ft-1"), job("ft-2", "running"), job("ft-3"))
    second = parse_jobs(jobs_json(job("ft-0"), job("ft-3"), job("ft-2", "completed"), job("ft-1")), first)
    same = {job.id for job in second.jobs if any(job is other for other in first.jobs)}
    assert same == {"ft-1", "ft-3"}


def test_a_list_whose_bytes_are_the_same_is_the_same_object() -> None:
    first = parsed(job("ft-1"))
    assert parse_jobs(jobs_json(job("ft-1")), first) is first
    assert parse_jobs(jobs_json(job("ft-1", "completed")), first) is not first


@pytest.mark.parametrize(
    "inside",
    [{"events": [{"id": "ft-5"}, {"id": "ft-6"}]}, {"model": '"}, {"id": "ft-5", "status": "running"'}],
    ids=["objects", "text"],
)
def test_what_looks_like_the_next_job_inside_a_job_is_not_one(inside: dict[str, Any]) -> None:
    assert [found.id for found in parsed(job("ft-1", **inside), job("ft-2")).jobs] == ["ft-1", "ft-2"]


def test_an_odd_value_does_not_make_the_other_jobs_be_parsed_again() -> None:
    first = parsed(job("ft-1"), job("ft-2", n_epochs="many"))
    second = parse_jobs(jobs_json(job("ft-1"), job("ft-2", n_epochs="few")), first)
    assert second.jobs[0] is first.jobs[0]
    assert [unknown.value for unknown in second.unknown_values] == ["few"]


@pytest.mark.parametrize("parse", PARSERS.values(), ids=PARSERS)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"[" * 200_000, id="lists without end"),
        pytest.param(b'{"data":' * 100_000, id="objects without end"),
        pytest.param(b'{"data": [{"id": "a", "status": ' + b"[" * 700 + b"]" * 700 + b"}]}", id="a deep value"),
        pytest.param(b'{"metrics": [{"train/loss": ' + b"9" * 400 + b"}]}", id="a number of 400 digits"),
        pytest.param(b'{"data": [{"id": "a", "status": "b", "n_evals": ' + b"9" * 5000 + b"}]}", id="5,000 digits"),
        pytest.param(b"\xff\xfe" + bytes(range(256)), id="something like UTF-16"),
        pytest.param(b'{"data": "\\ud83d', id="half a surrogate pair"),
    ],
)
def test_extreme_bodies_are_models_or_a_body_error(parse: Callable[[bytes], object], body: bytes) -> None:
    try:
        parse(body)
    except BodyError as error:
        message = str(error)
    else:
        message = ""
    assert len(message) < 300


def test_a_bug_is_a_body_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.models.parse.summarise", lambda _: 1 / 0)
    with pytest.raises(BodyError, match="ZeroDivisionError"):
        parsed(job())


# ------------------------------------------------------------------------------------------------------------- texts


def test_half_a_surrogate_pair_is_replaced_and_a_whole_one_kept() -> None:
    [found] = parsed(job("ft-\ud83d", model="\ud83e\udd99 \ud83d", suffix="\\ud83d")).jobs
    assert found.id == "ft-\N{REPLACEMENT CHARACTER}"
    assert found.fields["model"] == "\N{LLAMA} \N{REPLACEMENT CHARACTER}"
    assert found.fields["suffix"] == "\\ud83d"


@pytest.mark.parametrize("field", ["model", "model_output_name", "user_id", "train_on_inputs", "wandb_url"])
def test_a_long_text_is_cut_and_counted(field: str) -> None:
    found = parsed(job(**{"job_id": "ft-1", field: "x" * 300}))
    assert found.jobs[0].fields[field] == "x" * MAX_LABEL  # type: ignore[literal-required]  # it is a parameter
    assert [(value.field, value.value) for value in found.unknown_values] == [(field, "x" * 80 + "…")]


def test_a_long_status_is_cut() -> None:
    [found] = parsed(job(status="x" * 300)).jobs
    assert found.fields["status"] == "x" * MAX_LABEL


def test_a_long_text_in_an_object_or_an_event_is_cut() -> None:
    [found] = parsed(job(training_type={"type": "x" * 300}, events=[{"type": "y" * 300, "message": "z" * 900}])).jobs
    assert found.fields["training_type"] == {"type": "x" * MAX_LABEL}
    assert found.events is not None
    [event] = found.events.recent
    assert (event.type, event.message) == ("y" * MAX_LABEL, "z" * 499 + "…")


def test_a_long_id_is_rejected_and_named_by_its_start() -> None:
    found = parsed(job("x" * 300), job("y" * MAX_LABEL))
    assert [job.id for job in found.jobs] == ["y" * MAX_LABEL]
    [rejection] = found.rejections
    assert (rejection.reason, rejection.job_id) == ("id", "x" * 80 + "…")


@pytest.mark.parametrize("job_id", [".", ".."])
def test_an_id_that_is_a_path_is_rejected(job_id: str) -> None:
    found = parsed(job(job_id), job("ft-1"))
    assert [job.id for job in found.jobs] == ["ft-1"]
    assert found.rejected["id"] == 1


# ------------------------------------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize("value", ["9" * 400, "NaN", "Infinity", "-Infinity", "1e999", "-1", "[]", '"many"'])
def test_a_number_that_cannot_be_is_unknown_and_counted(value: str) -> None:
    body = jobs_json(job(token_count=777)).replace(b"777", value.encode())
    found = parse_jobs(body)
    assert "token_count" not in found.jobs[0].fields
    assert [(unknown.job_id, unknown.field) for unknown in found.unknown_values] == [("ft-1", "token_count")]


def test_the_value_of_an_unknown_field_is_described_in_few_characters() -> None:
    [unknown] = parsed(job(token_count=[list(range(1000))] * 1000)).unknown_values
    assert len(unknown.value) < 100


def test_nan_and_infinite_training_values_are_kept() -> None:
    [point] = parse_training(b'{"metrics": [{"a": NaN, "b": Infinity, "c": -Infinity, "d": "x", "e": true}]}')
    assert math.isnan(point.values.pop("a"))  # type: ignore[attr-defined]  # a dict of its own
    assert point.values == {"b": math.inf, "c": -math.inf}


@pytest.mark.parametrize("step", ["NaN", "Infinity", "-1", "1e300", '"7"', "null", "9" * 400])
def test_a_step_that_cannot_be_is_unknown(step: str) -> None:
    [point] = parse_training(f'{{"metrics": [{{"train/global_step": {step}, "train/loss": 1}}]}}'.encode())
    assert (point.step, point.values) == (None, {"train/loss": 1})


# ------------------------------------------------------------------------------------------------------------- bounds


def test_a_list_has_at_most_100_000_jobs_and_the_others_are_counted() -> None:
    body = b'{"data": [' + b",".join(b'{"id":"%d","status":"x"}' % number for number in range(100_003)) + b"]}"
    found = parse_jobs(body)
    assert len(found.jobs) == 100_000
    assert found.rejected["limit"] == 3


def test_the_first_thousand_rejections_are_described_and_all_are_counted() -> None:
    found = parse_jobs(b'{"data": [' + b",".join([b"0"] * 120_000) + b"]}")
    assert found.rejected == {"not_an_object": 100_000, "id": 0, "status": 0, "duplicate_id": 0, "limit": 20_000}
    assert len(found.rejections) == 1000


def test_the_first_ten_thousand_unknown_values_are_described() -> None:
    found = parsed(*(job(f"ft-{number}", n_epochs=[]) for number in range(10_010)))
    assert len(found.jobs) == 10_010
    assert len(found.unknown_values) == 10_000


@pytest.mark.parametrize("odd", [[], [5]], ids=["sound", "odd"])
def test_of_many_events_the_newest_10_000_are_counted_and_50_kept(odd: list[object]) -> None:
    events = [{"type": "warning"}] * 5 + [{"type": "job_pending"}] * 10_000
    content = parsed(job(events=events + odd))
    [found] = content.jobs
    assert [value.field for value in content.unknown_values] == ["events"]
    assert found.events is not None
    assert found.events.types["job_pending"] == 10_000 - len(odd)
    assert "warning" not in found.events.types
    assert len(found.events.recent) == 50


def test_a_row_has_at_most_100_training_metrics_with_names_of_at_most_256_characters() -> None:
    row = {"x" * 257: 1.0} | {f"train/{number}": 1.0 for number in range(200)}
    [point] = parse_training(json.dumps({"metrics": [row]}).encode())
    assert list(point.values) == [f"train/{number}" for number in range(100)]


def test_an_answer_with_millions_of_values_is_refused() -> None:
    with pytest.raises(BodyError, match="more than 5,000,000 values"):
        parse_jobs(b'{"data": [' + b"0," * 5_000_001 + b"0]}")


def filled(item: bytes, size: int = MIB // 2) -> bytes:
    """A list of the same item, of about that many bytes."""
    return b'{"data": [' + b",".join([item] * (size // (len(item) + 1))) + b"]}"


def numbered(item: bytes, size: int = MIB // 2) -> bytes:
    """A list of jobs with ids of their own and these further fields, of about that many bytes."""
    count = size // (len(item) + 35)
    return b'{"data": [' + b",".join(b'{"id":"%d","status":"x",%s}' % (n, item) for n in range(count)) + b"]}"


HOSTILE = {
    "zeros": filled(b"0"),
    "empty objects": filled(b"{}"),
    "one id": filled(b'{"id":"a","status":"b"}'),
    "every other event odd": numbered(b'"events":[' + b",".join([b'{"type":"a"},5'] * 60_000) + b"]", MIB),
    "an odd event in each job": numbered(b'"events":[5,{"type":"x"},{"type":5}]'),
    "every field odd": numbered(
        b",".join(b'"%s":[]' % name.encode() for name in NAMES if name not in ("id", "status"))
    ),
    "long texts": numbered(b'"model":"%s"' % (b"m" * 300)),
    "half surrogate pairs": filled(b'{"id":"a","status":"b","model":"%s"}' % (b"\\ud800" * 200_000), 2 * MIB),
    "backslashes": filled(b'{"id":"a","status":"b","model":"%s"}' % (b"\\\\" * 500_000 + b"\\ud800"), MIB),
}


def seconds(call: Callable[[bytes], object], body: bytes) -> float:
    """The processor time of a call."""
    start = time.thread_time()
    call(body)
    return time.thread_time() - start


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_hostile_lists_take_a_bounded_multiple_of_the_time_of_plain_json(body: bytes) -> None:
    plain = min(seconds(json.loads, body) for _ in range(3))
    assert any(seconds(parse_jobs, body) < 150 * plain for _ in range(3))  # others use the processor too
