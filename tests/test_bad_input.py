"""Whatever the API answers: what a user sees of it, and that nothing else is lost."""

import gzip
import logging
import tracemalloc
from collections import Counter
from typing import Any

import pytest

from exporter.poller import Schedule
from exporter.simulator import Response
from tests.support import KEY, Api, Harness, Wire, http, job, jobs_json

GOOD = jobs_json(job("ft-good", "running", token_count=7))


def warnings(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The warnings in the log."""
    return [vars(record) for record in caplog.records if record.levelno == logging.WARNING]


# What the API answers, the code that is counted, words of the log line. tests/test_api.py has what a call can meet.
FAILED_POLLS = [
    ("401", Response(401, b"Unauthorized"), "401", "HTTP 401: Unauthorized"),
    ("a message with the key", Response(401, f"bad key {KEY}".encode()), "401", "HTTP 401: bad key [API key]"),
    ("a body with the key", f"your key is {KEY}".encode(), "body", "your key is [API key]"),
    ("503", Response(503, b"<html>busy</html>"), "503", "HTTP 503: <html>busy</html>"),
    ("an error body", b'{"error": {"message": "not today"}}', "body", "no list `data`"),
    ("no data", b"{}", "body", "no list `data`"),
    ("data: null", b'{"data": null}', "body", "no list `data`"),
    ("a list without its object", b"[]", "body", "not a JSON object"),
    ("HTML", b"<html>hello</html>", "body", "not JSON"),
    ("truncated JSON", GOOD[:-9], "body", "not JSON"),
    ("nesting without end", b"[" * 200_000, "body", "not JSON"),
    ("an empty body", b"", "body", "the answer is empty"),
    ("binary nonsense", bytes(range(256)), "body", "not JSON"),
    ("a large body", b" " * (2**20 + 1), "body", "larger than 1048576 bytes"),
    ("a slow answer", Response(200, GOOD, {}, delay=60), "timeout", "timed out"),
]


@pytest.mark.parametrize(("answer", "code", "words"), [pytest.param(*case, id=name) for name, *case in FAILED_POLLS])
def test_a_failed_poll_is_counted_and_logged_and_the_last_known_metrics_stay(
    answer: bytes | Response, code: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    api = Api(list=GOOD)
    harness = api.harness()
    harness.poll()
    api.answers["list"] = answer or Response(200, b"")
    harness.poll()

    assert harness.value("up") == 0
    assert harness.value("api_requests_total", endpoint="list", code=code) == 1
    assert harness.value("jobs", status="running") == 1
    assert harness.value("job_tokens", job_id="ft-good") == 7
    [line] = warnings(caplog)
    assert (line["msg"], line["code"]) == ("poll failed", code)
    assert words in line["error"]
    assert KEY not in caplog.text + repr([vars(record) for record in caplog.records])


# the bad job, the reason under which it is rejected
REJECTED = [
    ("a number", 5, "not_an_object"),
    ("null", None, "not_an_object"),
    ("a job without id", {"status": "running"}, "id"),
    ("an id that is a number", job(5), "id"),  # type: ignore[arg-type]  # the point of the case
    ("an empty id", job(""), "id"),
    ("a long id", job("x" * 300), "id"),
    ("an id that is a path", job(".."), "id"),
    ("a job without status", {"id": "ft-2"}, "status"),
    ("a status that is null", job("ft-2", None), "status"),  # type: ignore[arg-type]  # the point of the case
    ("an id for the second time", job("ft-good", "queued", updated_at="2026-09-01T00:00:00Z"), "duplicate_id"),
]


@pytest.mark.parametrize(("bad", "reason"), [pytest.param(*case, id=name) for name, *case in REJECTED])
def test_a_job_that_cannot_be_used_is_counted_and_logged_once_and_costs_no_other(
    bad: object, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    harness = Api(job("ft-good", "running", token_count=7), bad).harness()
    harness.poll()
    harness.poll()
    assert harness.value("up") == 1
    assert harness.value("rejected_jobs", reason=reason) == 1
    assert harness.value("job_tokens", job_id="ft-good") == 7
    assert harness.value("jobs", status="running") == 1
    [line] = warnings(caplog)
    assert (line["msg"], line["reason"]) == ("job rejected", reason)


# the odd field, its value, the series of it (missing then), the field under which it is counted
UNKNOWN_FIELDS = [
    ("token_count", -1, "job_tokens", "token_count"),
    ("token_count", "many", "job_tokens", "token_count"),
    ("token_count", 10**30, "job_tokens", "token_count"),
    ("token_count", 1.5, "job_tokens", "token_count"),
    ("total_price", -5, "job_price_usd", "total_price"),
    ("total_price", float("inf"), "job_price_usd", "total_price"),
    ("created_at", "2026-02-30T00:00:00Z", "job_created_timestamp_seconds", "created_at"),
    ("created_at", "yesterday", "job_created_timestamp_seconds", "created_at"),
    ("created_at", [], "job_created_timestamp_seconds", "created_at"),
    ("learning_rate", float("nan"), "job_hyperparameter", "learning_rate"),
    ("batch_size", "min", "job_hyperparameter", "batch_size"),
    ("training_type", {"lora_r": "wide"}, "job_hyperparameter", "training_type.lora_r"),
    ("training_type", "Lora", "job_hyperparameter", "training_type"),
    ("TrainingFileNumLines", -4, "job_training_file_lines", "TrainingFileNumLines"),
    ("events", "none", "job_events", "events"),
]


@pytest.mark.parametrize(("field", "value", "series", "counted"), UNKNOWN_FIELDS)
def test_an_odd_field_becomes_unknown_and_is_counted_once_and_its_job_stays(
    field: str, value: object, series: str, counted: str, caplog: pytest.LogCaptureFixture
) -> None:
    harness = Api(job("ft-odd", "queued", **{"param_count": 9, field: value}), job("ft-good")).harness()
    harness.poll()
    harness.poll()
    samples = harness.scrape()
    assert series not in samples.names() - {"job_created_timestamp_seconds"}
    assert (series, "ft-odd") not in {(name, dict(labels).get("job_id")) for name, labels in samples}
    assert samples.get_one("job_parameters", account="default", job_id="ft-odd") == 9
    assert samples.get_one("job_status", account="default", job_id="ft-good", status="running") == 1
    assert samples.get_one("unknown_values_total", account="default", field=counted) == 1
    [line] = warnings(caplog)
    assert (line["msg"], line["field"], line["job_id"]) == ("unknown value", counted, "ft-odd")


def test_odd_values_deep_in_events_cost_no_other_event() -> None:
    events = [7, {"type": "job_pending"}, {"level": "info"}, {"type": "job_start", "created_at": "never"}, None]
    harness = Api(job(events=events)).harness()
    harness.poll()
    assert harness.value("job_events", job_id="ft-1", level="info") == 2


def test_a_status_and_an_event_type_of_the_future_are_kept_counted_and_exported_as_unknown() -> None:
    harness = Api(job("ft-new", "paused", events=[{"type": "JOB_PAUSED", "level": "info"}])).harness()
    harness.poll()
    assert harness.value("jobs", status="unknown") == 1
    assert harness.value("job_status", job_id="ft-new", status="unknown") == 1
    assert harness.value("job_events", job_id="ft-new", level="info") == 1
    assert harness.value("unknown_values_total", field="status") == 1
    assert harness.value("unknown_values_total", field="events.type") == 1


@pytest.mark.parametrize(
    ("value", "expected"), [("7", 7), (7.0, 7), ("0", 0), (None, None)], ids=["string", "float", "zero", "null"]
)
def test_a_number_may_be_a_string_and_null_is_no_sample(value: object, expected: float | None) -> None:
    harness = Api(job(token_count=value)).harness()
    harness.poll()
    assert harness.value("job_tokens", job_id="ft-1") == expected
    assert "unknown_values_total" not in harness.scrape().names()


@pytest.mark.parametrize("time", ["", None, "0001-01-01T00:00:00Z"])
def test_times_that_stand_for_not_yet_are_no_sample_and_not_odd(time: str | None) -> None:
    harness = Api(job(started_at=time, updated_at=time)).harness()
    harness.poll()
    names = harness.scrape().names()
    assert not names & {"job_started_timestamp_seconds", "job_updated_timestamp_seconds", "unknown_values_total"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(jobs_json(job()).decode().encode("utf-16"), id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf" + jobs_json(job()), id="UTF-8 with a byte order mark"),
        pytest.param(jobs_json(job(suffix="e")).replace(b'"e"', b'"\xe9"'), id="a byte of Latin-1"),
        pytest.param(jobs_json(job(suffix="e")).replace(b'"e"', b'"\\ud800"'), id="half a surrogate pair"),
        pytest.param(jobs_json(job(total_price=1)).replace(b": 1}", b": 1" + b"0" * 5000 + b"}"), id="5000 digits"),
    ],
)
def test_a_list_in_an_odd_encoding_still_gives_its_jobs(body: bytes) -> None:
    harness = Api(list=body).harness()
    harness.poll()
    assert harness.value("job_status", job_id="ft-1", status="running") == 1


def test_of_jobs_with_one_id_the_newest_counts() -> None:
    old, new = ("2026-09-21T13:00:00Z", "2026-09-21T13:00:01Z")
    harness = Api(
        job("ft-1", "queued", updated_at=old), job("ft-1", "running", updated_at=new), job("ft-1", "pending")
    ).harness()
    harness.poll()
    assert harness.value("job_status", job_id="ft-1", status="running") == 1
    assert harness.value("rejected_jobs", reason="duplicate_id") == 2


@pytest.mark.parametrize(
    "name", ['quo"te', "back\\slash", "new\nline", "\\n", "模型-モデル-🦙", "</script>", "{}", "\u202e"]
)
def test_names_of_all_kinds_arrive_as_they_are(name: str) -> None:
    harness = Api(job(f"ft-{name}", model=name, suffix=name)).harness()
    harness.poll()
    assert harness.value("job_status", job_id=f"ft-{name}", status="running") == 1
    assert harness.value("model_jobs", model=name, status="running") == 1


# ------------------------------------------------------------------------------------------------------- hostile lists

BOMBS = {
    "zeros": (b"[" + b"0," * 250_000 + b"0]", "not_an_object"),
    "empty objects": (b"[" + b"{}," * 250_000 + b"{}]", "id"),
}


@pytest.mark.parametrize(("found", "reason"), BOMBS.values(), ids=BOMBS)
def test_a_small_answer_that_unpacks_to_a_long_list_is_twenty_lines_and_a_total(
    wire: Wire, found: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    wire.answer = http(gzip.compress(b'{"data": ' + found + b"}"), Content_Encoding="gzip")
    harness = Harness(wire.url)
    harness.poll()
    assert harness.value("up") == 1
    assert harness.value("rejected_jobs", reason=reason) == 100_000
    assert harness.value("rejected_jobs", reason="limit") == 150_001
    lines = warnings(caplog)
    assert [line["msg"] for line in lines] == ["job rejected"] * 20 + ["job rejected, further lines left out"]
    assert lines[-1]["total"] == 250_001


def test_each_message_has_its_own_twenty_lines(caplog: pytest.LogCaptureFixture) -> None:
    Api(*(job(f"ft-{number}", "paused") for number in range(30)), *range(30)).harness().poll()
    counts = Counter(line["msg"] for line in warnings(caplog))
    assert counts == {
        "job rejected": 20,
        "job rejected, further lines left out": 1,
        "unknown value": 20,
        "unknown value, further lines left out": 1,
    }


def test_what_was_logged_once_is_not_logged_at_the_next_poll(caplog: pytest.LogCaptureFixture) -> None:
    harness = Api(*(job(f"ft-{number}", "paused") for number in range(30)), *range(30)).harness()
    harness.poll()
    caplog.clear()
    harness.poll()
    assert warnings(caplog) == []


def test_events_with_every_other_entry_odd_keep_the_sound_ones() -> None:
    events = [{"type": "job_pending"}, 5] * 20_000
    harness = Api(job("ft-1", events=events)).harness()
    harness.poll()
    assert harness.value("job_events", job_id="ft-1", level="info") == 5000
    assert harness.value("unknown_values_total", field="events") == 1


def test_of_a_hundred_thousand_events_little_is_kept_when_the_list_has_none_any_more() -> None:
    event = {"type": "checkpoint_save", "level": "info", "message": "x" * 100, "created_at": "2026-09-21T12:00:00Z"}
    api = Api(job("ft-1"))
    harness = api.harness(max_bytes=2**26)
    harness.poll()
    tracemalloc.start()
    try:
        for events in ([event] * 100_000, []):
            api.set_jobs(job("ft-1", events=events))
            harness.poll()
        del events
        api.requests.clear()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert harness.value("job_events", job_id="ft-1", level="info") == 10_000
    assert kept < 2**20


def test_odd_answers_about_single_jobs_cost_nothing_else() -> None:
    api = Api(job("ft-1"), job("ft-2"), retrieve=b"[" * 100_000, metrics=b'{"metrics": {}}', events=b"\xff")
    harness = api.harness(schedule=Schedule(training=True))
    harness.poll()
    assert harness.value("up") == 1
    assert harness.value("jobs", status="running") == 2
    assert harness.value("api_requests_total", endpoint="retrieve", code="body") == 2
    assert harness.value("api_requests_total", endpoint="metrics", code="body") == 2
