"""Whatever the API answers: what a user sees of it, and that nothing else is lost."""

import json
import logging

import pytest

from tests.support import KEY, Wire, World, http, job, jobs_json

GOOD = http(jobs_json(job("ft-good", "running", token_count=7)))


def error_json(message: str) -> str:
    return json.dumps({"error": {"message": message, "type": "t", "param": None, "code": "c"}})


# what the API does, the code that is counted, words of the log line
FAILED_POLLS = [
    ("a refused key", http(error_json(f"bad key {KEY}"), "401 Unauthorized"), "401", "HTTP 401: bad key [API key]"),
    ("something other than HTTP", b"SSH-2.0-OpenSSH\r\n", "body", "cannot be read"),
    ("200 with an error body", http(error_json("not today")), "body", "no list `data`"),
    ("200 without data", http("{}"), "body", "no list `data`"),
    ("data: null", http('{"data": null}'), "body", "no list `data`"),
    ("a list without its object", http("[]"), "body", "not a JSON object"),
    ("HTML", http("<html>hello</html>"), "body", "not JSON"),
    ("truncated JSON", http(jobs_json(job())[:-9]), "body", "not JSON"),
    ("nesting without end", http("[" * 200_000), "body", "not JSON"),
    ("an empty body", http(""), "body", "the answer is empty"),
    ("binary nonsense", http(bytes(range(256))), "body", "not JSON"),
    ("a body over the limit", http(b" " * (2**20 + 1)), "body", "larger than 1048576 bytes"),
]


@pytest.mark.parametrize(("answer", "code", "words"), [pytest.param(*case, id=name) for name, *case in FAILED_POLLS])
def test_a_poll_that_fails_is_counted_and_told_and_the_older_figures_stay(
    wire: Wire, answer: bytes, code: str, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(wire.url)
    wire.answer = GOOD
    world.poll()
    wire.answer = answer
    world.poll()

    assert world.value("up") == 0
    assert world.value("api_requests_total", endpoint="list", code=code) == 1
    assert world.value("jobs", status="running") == 1
    assert world.value("job_tokens", job_id="ft-good") == 7
    [told] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert told.getMessage() == "poll failed"
    assert vars(told)["code"] == code
    assert words in vars(told)["error"]
    assert KEY not in caplog.text + repr([vars(record) for record in caplog.records])


# the bad job, the reason under which it is rejected
REJECTED = [
    ("a number", 5, "not_an_object"),
    ("null", None, "not_an_object"),
    ("a job without id", {"status": "running"}, "id"),
    ("an id that is a number", job(5), "id"),  # type: ignore[arg-type]  # the point of the case
    ("an empty id", job(""), "id"),
    ("an id without end", job("x" * 300), "id"),
    ("an id that is no unicode", job("ft-\ud800"), "id"),
    ("a job without status", {"id": "ft-2"}, "status"),
    ("a status that is null", job("ft-2", None), "status"),  # type: ignore[arg-type]  # the point of the case
    ("an id that was there already", job("ft-good", "queued", updated_at="2026-09-01T00:00:00Z"), "duplicate_id"),
]


@pytest.mark.parametrize(("bad", "reason"), [pytest.param(*case, id=name) for name, *case in REJECTED])
def test_a_job_that_cannot_be_used_is_counted_told_once_and_costs_no_other(
    wire: Wire, bad: object, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    wire.answer = http(jobs_json(job("ft-good", "running", token_count=7), bad))
    world = World(wire.url)
    world.poll()
    world.poll()
    assert world.value("up") == 1
    assert world.value("rejected_jobs", reason=reason) == 1
    assert world.value("job_tokens", job_id="ft-good") == 7
    assert world.value("jobs", status="running") == 1
    [told] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert told.getMessage() == "job rejected"
    assert vars(told)["reason"] == reason


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
    wire: Wire, field: str, value: object, series: str, counted: str, caplog: pytest.LogCaptureFixture
) -> None:
    wire.answer = http(jobs_json(job("ft-odd", "queued", **{"param_count": 9, field: value}), job("ft-good")))
    world = World(wire.url)
    world.poll()
    world.poll()
    samples = world.scrape()
    assert series not in samples.names() - {"job_created_timestamp_seconds"}
    assert (series, "ft-odd") not in {(name, dict(labels).get("job_id")) for name, labels in samples}
    assert samples.get_one("job_parameters", account="default", job_id="ft-odd") == 9
    assert samples.get_one("job_status", account="default", job_id="ft-good", status="running") == 1
    assert samples.get_one("unknown_values_total", account="default", field=counted) == 1
    [told] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert (told.getMessage(), vars(told)["field"], vars(told)["job_id"]) == ("unknown value", counted, "ft-odd")


def test_odd_values_deep_in_events_cost_no_other_event(wire: Wire) -> None:
    events = [7, {"type": "job_pending"}, {"level": "info"}, {"type": "job_start", "created_at": "never"}, None]
    wire.answer = http(jobs_json(job(events=events)))
    world = World(wire.url)
    world.poll()
    assert world.value("job_events", job_id="ft-1", level="info") == 2


def test_a_status_and_an_event_type_of_the_future_are_kept_counted_and_shown_as_unknown(wire: Wire) -> None:
    wire.answer = http(jobs_json(job("ft-new", "paused", events=[{"type": "JOB_PAUSED", "level": "info"}])))
    world = World(wire.url)
    world.poll()
    assert world.value("jobs", status="unknown") == 1
    assert world.value("job_status", job_id="ft-new", status="unknown") == 1
    assert world.value("job_events", job_id="ft-new", level="info") == 1
    assert world.value("unknown_values_total", field="status") == 1
    assert world.value("unknown_values_total", field="events.type") == 1


@pytest.mark.parametrize(
    ("value", "expected"), [("7", 7), (7.0, 7), ("0", 0), (None, None)], ids=["string", "float", "zero", "null"]
)
def test_numbers_are_understood_as_strings_and_null_is_no_sample(
    wire: Wire, value: object, expected: float | None
) -> None:
    wire.answer = http(jobs_json(job(token_count=value)))
    world = World(wire.url)
    world.poll()
    assert world.value("job_tokens", job_id="ft-1") == expected
    assert "unknown_values_total" not in world.scrape().names()


@pytest.mark.parametrize("time", ["", None, "0001-01-01T00:00:00Z"])
def test_times_that_stand_for_not_yet_are_no_sample_and_nothing_odd(wire: Wire, time: str | None) -> None:
    wire.answer = http(jobs_json(job(started_at=time, updated_at=time)))
    world = World(wire.url)
    world.poll()
    names = world.scrape().names()
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
def test_a_list_in_an_odd_encoding_still_gives_its_jobs(wire: Wire, body: bytes) -> None:
    wire.answer = http(body)
    world = World(wire.url)
    world.poll()
    assert world.value("job_status", job_id="ft-1", status="running") == 1


def test_of_jobs_with_one_id_the_newest_counts(wire: Wire) -> None:
    old, new = ("2026-09-21T13:00:00Z", "2026-09-21T13:00:01Z")
    wire.answer = http(
        jobs_json(job("ft-1", "queued", updated_at=old), job("ft-1", "running", updated_at=new), job("ft-1", "pending"))
    )
    world = World(wire.url)
    world.poll()
    assert world.value("job_status", job_id="ft-1", status="running") == 1
    assert world.value("rejected_jobs", reason="duplicate_id") == 2


@pytest.mark.parametrize(
    "name", ['quo"te', "back\\slash", "new\nline", "\\n", "模型-モデル-🦙", "</script>", "{}", "\u202e"]
)
def test_names_of_all_kinds_arrive_as_they_are(wire: Wire, name: str) -> None:
    wire.answer = http(jobs_json(job(f"ft-{name}", model=name, suffix=name)))
    world = World(wire.url)
    world.poll()
    assert world.value("job_status", job_id=f"ft-{name}", status="running") == 1
    assert world.value("model_jobs", model=name, status="running") == 1
