"""When it is polled again, and what stays on the board meanwhile."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from exporter.poller import Schedule
from exporter.simulator import Plan
from tests.programs import wait_for
from tests.support import NOW, Wire, World, http, job, jobs_json, simulated

ACTIVE = http(jobs_json(job("ft-1", "running"), job("ft-2", "completed")))
IDLE = http(jobs_json(job("ft-1", "completed")))
DOWN = http("", "503 Service Unavailable")


@pytest.mark.parametrize(
    ("status", "wait"),
    [("running", 30), ("queued", 30), ("cancel_requested", 30), ("paused", 30), ("completed", 120), ("error", 120)],
)
def test_the_interval_is_short_while_any_job_is_active(wire: Wire, status: str, wait: float) -> None:
    wire.answer = http(jobs_json(job("ft-1", "completed"), job("ft-2", status)))
    world = World(wire.url)
    assert world.poll() == pytest.approx(wait, abs=0.5)
    assert world.value("poll_interval_seconds") == wait


@pytest.mark.parametrize(("luck", "factor"), [(0.0, 0.95), (1.0, 1.05)])
def test_polls_are_spread_so_that_exporters_do_not_march_in_step(wire: Wire, luck: float, factor: float) -> None:
    wire.answer = IDLE
    world = World(wire.url, luck=luck)
    world.poll()
    assert world.value("poll_interval_seconds") == pytest.approx(120 * factor)


def test_waits_double_from_failure_to_failure_up_to_five_minutes_and_start_anew(wire: Wire) -> None:
    wire.answer = DOWN
    world = World(wire.url, luck=1.0)
    assert [world.poll() for _ in range(6)] == [30, 60, 120, 240, 300, 300]
    wire.answer = ACTIVE
    world.poll()
    wire.answer = DOWN
    assert world.poll() == 30


def test_back_off_is_spread_down_to_a_half(wire: Wire) -> None:
    wire.answer = DOWN
    assert World(wire.url, luck=0.0).poll() == 15


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden"])
def test_a_refused_key_is_tried_again_slowly(wire: Wire, status: str) -> None:
    wire.answer = http("", status)
    assert World(wire.url, luck=1.0).poll() == 300


# NOW is Mon, 21 Sep 2026 14:13:20 GMT
@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({"Retry_After": "77"}, 77),
        ({"Retry_After": "77.5"}, 77.5),
        ({"Retry_After": "Mon, 21 Sep 2026 14:15:00 GMT"}, 100),
        ({"Retry_After": "Mon, 21 Sep 2026 14:15:00 GMT", "Date": "Mon, 21 Sep 2026 14:14:00 GMT"}, 60),
        ({"retry_after_ms": "88000", "Retry_After": "1"}, 88),
        ({"Retry_After": "Mon, 21 Sep 2020 14:15:00 GMT"}, 30),
        ({"Retry_After": "3"}, 30),
        ({"Retry_After": "soon"}, 30),
        ({"Retry_After": "nan"}, 30),
        ({"Retry_After": "1e12"}, 300),
    ],
    ids=str,
)
def test_retry_after_is_honoured_in_every_form_within_reason(wire: Wire, headers: dict[str, str], wait: float) -> None:
    wire.answer = http("", "429 Too Many Requests", **headers)
    assert World(wire.url, luck=1.0).poll() == wait


def test_figures_stay_while_polls_fail_and_vanish_when_they_are_stale(wire: Wire) -> None:
    wire.answer = ACTIVE
    world = World(wire.url)
    world.poll()
    wire.answer = DOWN
    world.now += 600
    world.poll()
    assert world.value("up") == 0
    assert world.value("jobs", status="running") == 1
    world.now += 1
    samples = world.scrape()
    assert not {name for name, labels in samples if "job_id" in dict(labels)}
    assert not samples.names() & {"jobs", "tokens", "price_usd", "month_price_usd"}
    assert samples.get_one("up", account="default") == 0
    assert samples.get_one("last_successful_poll_timestamp_seconds", account="default") == NOW
    assert samples.get_one("last_poll_timestamp_seconds", account="default") == NOW + 600


def test_figures_come_back_with_the_next_good_poll(wire: Wire) -> None:
    wire.answer = ACTIVE
    world = World(wire.url)
    world.poll()
    world.now += 601
    assert world.value("jobs", status="running") is None
    world.poll()
    assert world.value("jobs", status="running") == 1


def test_a_deleted_job_takes_its_series_with_it(wire: Wire) -> None:
    wire.answer = ACTIVE
    world = World(wire.url)
    world.poll()
    wire.answer = http(jobs_json(job("ft-2", "completed")))
    world.poll()
    assert world.value("job_status", job_id="ft-1", status="running") is None
    assert world.value("jobs", status="running") == 0


def test_calls_are_counted_by_outcome_and_timed(wire: Wire) -> None:
    world = World(wire.url)
    for answer in (ACTIVE, DOWN, ACTIVE):
        wire.answer = answer
        world.poll()
    assert world.value("api_requests_total", endpoint="list", code="200") == 2
    assert world.value("api_requests_total", endpoint="list", code="503") == 1
    assert world.value("api_request_duration_seconds_count", endpoint="list") == 3


def test_what_the_rate_limit_allows_is_shown_where_the_api_says_it(wire: Wire) -> None:
    wire.answer = http(jobs_json(), x_ratelimit_remaining="59")
    world = World(wire.url)
    world.poll()
    assert world.value("api_rate_limit_remaining") == 59
    wire.answer = IDLE
    world.poll()
    assert world.value("api_rate_limit_remaining") is None


def test_a_good_poll_is_one_line_in_the_log(wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    wire.answer = http(jobs_json(job("ft-1"), 5))
    with caplog.at_level(logging.INFO):
        World(wire.url).poll()
    [line] = [vars(record) for record in caplog.records if record.levelno == logging.INFO]
    assert line["message"] == "poll"
    assert (line["account"], line["jobs"], line["rejected"], line["next"]) == ("default", 1, 1, "30s")
    assert line["duration"].endswith("s")


def test_requests_carry_the_key_and_say_who_asks(wire: Wire) -> None:
    wire.answer = IDLE
    World(wire.url).poll()
    [request] = wire.requests
    lines = request.split("\r\n")
    assert lines[0] == "GET /v1/fine-tunes HTTP/1.1"
    assert "Authorization: Bearer secret-key-of-the-tests" in lines
    assert "User-Agent: test/1" in lines


def test_a_netrc_does_not_replace_the_key(
    wire: Wire, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    wire.answer = IDLE
    World(wire.url).poll()
    assert "Authorization: Bearer secret-key-of-the-tests" in wire.requests[0]


@contextmanager
def running(world: World) -> Iterator[threading.Thread]:
    """The world's poller in a thread of its own, as in the real process."""
    thread = threading.Thread(target=world.poller.run)
    thread.start()
    try:
        yield thread
    finally:
        world.poller.stop()
        thread.join(10)
        assert not thread.is_alive()


def test_a_slip_of_ours_in_a_poll_is_a_failed_poll_and_not_the_end(
    wire: Wire, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(wire.url)
    monkeypatch.setattr("exporter.poller.parse_jobs", lambda _: 1 / 0)
    wire.answer = IDLE
    with running(world) as thread:
        wait_for(lambda: world.value("up") == 0)
        assert thread.is_alive()
    assert "ZeroDivisionError" in caplog.text


def test_a_slip_of_ours_in_an_answer_about_one_job_ends_no_polls(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.poller.detailed", lambda *_: 1 / 0)
    schedule = Schedule(active=0.1, idle=0.1)
    with simulated(Plan(id="ft-1", created=NOW - 1800), schedule=schedule) as (simulator, world), running(world):
        wait_for(lambda: sum(request.endpoint == "list" for request in simulator.requests) > 3)
        assert world.value("up") == 1
        assert world.value("job_status", job_id="ft-1", status="running") == 1
    assert "answer crashed" in [record.getMessage() for record in caplog.records]


def test_run_polls_until_it_is_stopped(wire: Wire) -> None:
    wire.answer = IDLE
    world = World(wire.url)
    with running(world):
        wait_for(lambda: world.value("up") == 1)
