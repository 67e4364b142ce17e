"""When an account is polled, what is published, and that its loop survives everything."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from exporter.poller import Schedule
from exporter.poller.backoff import Budget
from exporter.simulator import Response
from tests.programs import wait_for
from tests.support import NOW, Api, Harness, job, jobs_json

ACTIVE = jobs_json(job("ft-1", "running"), job("ft-2", "completed"))
IDLE = jobs_json(job("ft-1", "completed"))
DOWN = Response(503, b"")


def bug(*_: object) -> Any:
    """What a bug does."""
    raise ZeroDivisionError("a bug")


@contextmanager
def running(harness: Harness) -> Iterator[threading.Thread]:
    """The harness's poller in a thread of its own, as in the real process."""
    thread = threading.Thread(target=harness.poller.run)
    thread.start()
    try:
        yield thread
    finally:
        harness.poller.stop()
        thread.join(60)
        assert not thread.is_alive()


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged as a warning or worse."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# ---------------------------------------------------------------------------------------------------- the interval


@pytest.mark.parametrize(
    ("status", "wait"),
    [("running", 30), ("queued", 30), ("cancel_requested", 30), ("paused", 30), ("completed", 60), ("error", 60)],
)
def test_the_interval_is_short_while_any_job_is_active(status: str, wait: float) -> None:
    harness = Api(job("ft-1", "completed"), job("ft-2", status)).harness()
    assert harness.poll() == wait
    assert harness.value("poll_interval_seconds") == wait


@pytest.mark.parametrize(("luck", "factor"), [(0.0, 0.95), (1.0, 1.05)])
def test_polls_are_spread_so_that_exporters_do_not_poll_in_step(luck: float, factor: float) -> None:
    assert Api(list=IDLE).harness(luck=luck).poll() == pytest.approx(60 * factor)


def test_the_interval_does_not_depend_on_how_long_a_poll_takes() -> None:
    def slow(_: object) -> bytes:
        harness.now += 12
        return ACTIVE

    harness = Api(list=slow).harness()
    assert harness.poll() == 18
    assert harness.value("poll_duration_seconds") == 12


def test_the_wait_doubles_from_failure_to_failure_up_to_two_minutes_and_starts_anew() -> None:
    api = Api(list=DOWN)
    harness = api.harness(luck=1.0)
    assert [harness.poll() for _ in range(5)] == [30, 60, 120, 120, 120]
    api.answers["list"] = ACTIVE
    harness.poll()
    api.answers["list"] = DOWN
    assert harness.poll() == 30


def test_the_wait_after_a_failure_is_spread_down_to_a_half() -> None:
    assert Api(list=DOWN).harness(luck=0.0).poll() == 15


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_tried_again_at_the_usual_pace_once_and_then_slowly(status: int) -> None:
    harness = Api(list=Response(status, b"")).harness(luck=1.0)
    assert [harness.poll() for _ in range(3)] == [30, 300, 300]


def test_a_key_refused_in_the_middle_of_an_outage_is_tried_again_soon() -> None:
    answers = iter([DOWN, Response(403, b""), DOWN])
    harness = Api(list=lambda _: next(answers)).harness(luck=1.0)
    assert [harness.poll() for _ in range(3)] == [30, 60, 120]


# NOW is Mon, 21 Sep 2026 14:13:20 GMT
@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry-After": "77"}, 77),
        ({"Retry-After": "Mon, 21 Sep 2026 14:15:00 GMT"}, 100),
        ({"Retry-After": "3"}, 30),
        ({"Retry-After": "3600"}, 300),
    ],
    ids=str,
)
def test_retry_after_is_honoured_for_at_most_five_minutes(headers: dict[str, str], wait: float) -> None:
    assert Api(list=Response(429, b"", headers)).harness(luck=1.0).poll() == wait


# ----------------------------------------------------------------------------------------------- what is published


def test_the_last_known_metrics_stay_while_polls_fail_and_disappear_once_stale() -> None:
    api = Api(list=ACTIVE)
    harness = api.harness()
    harness.poll()
    api.answers["list"] = DOWN
    harness.now += 600
    harness.poll()
    assert harness.value("up") == 0
    assert harness.value("jobs", status="running") == 1
    harness.now += 1
    samples = harness.scrape()
    assert not samples.names() & {"jobs", "job_status", "tokens", "price_usd", "month_price_usd"}
    assert samples.get_one("up", account="default") == 0
    assert samples.get_one("last_successful_poll_timestamp_seconds", account="default") == NOW
    assert samples.get_one("last_poll_timestamp_seconds", account="default") == NOW + 600


def test_metrics_come_back_with_the_next_successful_poll() -> None:
    harness = Api(list=ACTIVE).harness()
    harness.poll()
    harness.now += 601
    assert harness.value("jobs", status="running") is None
    harness.poll()
    assert harness.value("jobs", status="running") == 1


def test_a_job_missing_from_one_list_is_kept_and_counted_as_missing() -> None:
    api = Api(list=ACTIVE)
    harness = api.harness()
    harness.poll()
    api.set_jobs(job("ft-2", "completed"))
    harness.now += 30
    harness.poll()
    assert harness.value("job_status", job_id="ft-1", status="running") == 1
    assert harness.value("missing_jobs") == 1


def test_a_job_missing_for_three_minutes_and_three_lists_is_gone_with_its_series() -> None:
    api = Api(list=ACTIVE)
    harness = api.harness()
    harness.poll()
    api.set_jobs(job("ft-2", "completed"))
    seen = []
    for _ in range(4):
        harness.now += 60
        harness.poll()
        seen.append(harness.value("job_status", job_id="ft-1", status="running"))
    assert seen == [1, 1, None, None]
    assert harness.value("jobs", status="running") == 0
    assert harness.value("missing_jobs") == 0


def test_requests_are_counted_by_outcome_and_timed() -> None:
    api = Api()
    harness = api.harness()
    for answer in (ACTIVE, DOWN, ACTIVE):
        api.answers["list"] = answer
        harness.poll()
    assert harness.value("api_requests_total", endpoint="list", code="200") == 2
    assert harness.value("api_requests_total", endpoint="list", code="503") == 1
    assert harness.value("api_request_duration_seconds_count", endpoint="list") == 3


def test_the_remaining_requests_are_exported_where_the_api_reports_them() -> None:
    api = Api(list=Response(200, IDLE, {"x-ratelimit-remaining": "59"}))
    harness = api.harness()
    harness.poll()
    assert harness.value("api_rate_limit_remaining") == 59
    api.answers["list"] = IDLE
    harness.poll()
    assert harness.value("api_rate_limit_remaining") is None


def test_one_answer_dated_ten_years_ahead_does_not_hide_the_next() -> None:
    api = Api(job("ft-1", "running", updated_at="2036-09-21T14:00:00Z"))
    harness = api.harness()
    harness.poll()
    api.set_jobs(job("ft-1", "completed", updated_at="2026-09-21T14:00:00Z"))
    harness.poll()
    assert harness.value("job_status", job_id="ft-1", status="completed") == 1


def test_a_replica_that_lags_behind_does_not_make_a_job_flap() -> None:
    api = Api()
    harness = api.harness()
    old = job("ft-1", "queued", updated_at="2026-09-21T14:00:00Z")
    new = job("ft-1", "running", updated_at="2026-09-21T14:10:00Z")
    for listed in (old, new, old, new, old):
        api.set_jobs(listed)
        harness.poll()
        harness.now += 30
    assert harness.value("job_status", job_id="ft-1", status="running") == 1


def test_a_successful_poll_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Api(job("ft-1"), 5).harness().poll()
    [line] = [vars(record) for record in caplog.records if record.levelno == logging.INFO]
    assert line["message"] == "poll"
    assert (line["account"], line["jobs"], line["rejected"], line["next"]) == ("default", 1, 1, "30s")
    assert line["duration"].endswith("s")


def test_a_replaced_poller_publishes_nothing_more() -> None:
    api = Api(list=ACTIVE)
    harness = api.harness()
    harness.poll()
    harness.store.publisher("default")
    api.set_jobs()
    harness.now += 600
    harness.poll()
    assert harness.store.read().accounts["default"].state.last_list == NOW
    assert harness.value("jobs", status="running") == 1


@pytest.mark.parametrize("answer", [ACTIVE, DOWN, b"[]"], ids=["a good answer", "a failure", "an odd answer"])
def test_the_answer_to_a_poller_that_was_replaced_meanwhile_changes_nothing_and_ends_it(answer: Any) -> None:
    def replace(_: object) -> Any:
        harness.store.publisher("default")
        return answer

    harness = Api(list=replace).harness()
    before = harness.store.read()
    thread = threading.Thread(target=harness.poller.run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert harness.store.read() is before


# -------------------------------------------------------------------------------------------------------- the loop


def test_run_polls_until_it_is_stopped() -> None:
    harness = Api(list=IDLE).harness()
    with running(harness):
        wait_for(lambda: harness.value("up") == 1)


def test_a_bug_in_a_poll_is_a_failed_poll_and_the_loop_goes_on(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.poller.poller.parse_jobs", bug)
    harness = Api(list=IDLE).harness()
    with running(harness) as thread:
        wait_for(lambda: harness.value("up") == 0)
        assert thread.is_alive()
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "ZeroDivisionError" in vars(record)["error"]


@pytest.mark.parametrize("place", ["exporter.poller.poller.parse_jobs", "exporter.state.account.listed"])
def test_a_bug_that_repeats_slows_the_loop_down(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.setattr(place, bug)
    polls: list[float] = []

    def note(_: object) -> bytes:
        polls.append(time.monotonic())
        return ACTIVE

    harness = Api(list=note).harness(luck=1.0, schedule=Schedule(active=0.02), stopwatch=time.monotonic)
    with running(harness):
        wait_for(lambda: len(polls) > 5)
        assert harness.value("up") == 0
    gaps = [later - earlier for earlier, later in pairwise(polls)]
    assert [gap >= 0.02 * 2**number for number, gap in enumerate(gaps)] == [True] * len(gaps)


def test_a_bug_in_an_answer_about_one_job_ends_no_polls(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.state.account.detailed", bug)
    api = Api(job("ft-1"), retrieve=json.dumps(job("ft-1")).encode())
    harness = api.harness(schedule=Schedule(active=0.02), stopwatch=time.monotonic)
    with running(harness):
        wait_for(lambda: sum(request.endpoint == "list" for request in api.requests) > 5)
        assert harness.value("up") == 1
        assert harness.value("job_status", job_id="ft-1", status="running") == 1
    assert "internal error" in messages(caplog)


def test_a_bug_in_starting_requests_does_not_spin(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Budget, "is_spent", bug)
    api = Api(job("ft-1"))
    harness = api.harness(schedule=Schedule(active=0.02), stopwatch=time.monotonic)
    with running(harness):
        wait_for(lambda: len(api.requests) > 5)
    assert messages(caplog).count("internal error") <= len(api.requests)


def test_requests_whose_thread_cannot_be_started_are_made_later(monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start
    refused: list[str] = []

    def start_no_call(thread: threading.Thread) -> None:
        if thread.name.startswith("call"):
            refused.append(thread.name)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_no_call)
    api = Api(job("ft-1"), retrieve=json.dumps(job("ft-1", steps_completed=7)).encode())
    harness = api.harness(schedule=Schedule(active=0.05), stopwatch=time.monotonic)
    with running(harness):
        wait_for(lambda: len(refused) > 2)
        assert harness.value("up") == 1
        assert not api.asked()
        monkeypatch.setattr(threading.Thread, "start", start)
        wait_for(lambda: harness.value("job_steps_completed", job_id="ft-1") == 7)


# --------------------------------------------------------------------------------------------------- overdue polls


def test_a_poll_is_overdue_a_minute_after_the_longest_call_would_have_ended() -> None:
    def slow(_: object) -> bytes:
        harness.now += 12
        return ACTIVE

    harness = Api(list=slow).harness(timeout=10.0)
    with running(harness):
        wait_for(lambda: harness.value("up") == 1)
    harness.now = NOW + 30 + 30 + 60  # the interval counts from the start of the last poll
    assert not harness.poller.overdue
    harness.now += 1
    assert harness.poller.overdue


def test_an_overdue_poll_is_published_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    harness = Api(list=ACTIVE).harness()
    harness.poll()
    harness.poller.report_overdue()
    harness.poller.report_overdue()
    assert harness.value("up") == 0
    assert harness.value("jobs", status="running") == 1
    assert messages(caplog) == ["poll overdue"]


def test_a_poll_that_comes_after_all_ends_what_was_overdue() -> None:
    harness = Api(list=ACTIVE).harness()
    harness.poller.report_overdue()
    harness.poll()
    assert harness.value("up") == 1
