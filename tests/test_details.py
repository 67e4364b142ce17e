"""What the list omits is requested: for which jobs, how often, and what a failing request costs."""

import json
import threading
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from exporter.poller import Schedule
from exporter.simulator import Fault, Plan, Response, Simulator
from tests.programs import wait_for
from tests.support import NOW, Api, job, simulated

RUNNING = Plan(id="ft-run", created=NOW - 1800)
QUEUED = Plan(id="ft-wait", created=NOW - 300, queued=3000)
FINISHED = Plan(id="ft-done", created=NOW - 86400)
MONTHS_AGO = {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-02T00:00:00Z"}
EVENTS = [{"type": "job_pending", "created_at": "2026-09-21T12:00:00Z"}]


def asked(simulator: Simulator, endpoint: str = "retrieve") -> Counter[str | None]:
    """How often an endpoint was asked about each job."""
    return Counter(request.job_id for request in simulator.requests if request.endpoint == endpoint)


def body(job_id: str | None = "ft-1", status: str = "running", **fields: Any) -> bytes:
    """The details of a job."""
    return json.dumps(job(str(job_id), status, **{"events": EVENTS, **fields})).encode()


def retrieve(request: Any) -> bytes:
    """Details of any running job."""
    return body(request.job_id)


# -------------------------------------------------------------------------------------------- what is asked, and when


def test_what_the_live_list_omits_comes_from_the_details() -> None:
    with simulated(RUNNING, QUEUED) as (simulator, harness):
        harness.poll()
        truth = {job["id"]: job for job in simulator.jobs()}
        assert harness.value("job_epochs_completed", job_id="ft-run") == truth["ft-run"]["epochs_completed"]
        assert harness.value("job_parameters", job_id="ft-run") == truth["ft-run"]["param_count"]
        assert harness.value("job_steps_completed", job_id="ft-run") == truth["ft-run"]["steps_completed"]
        assert harness.value("job_events", job_id="ft-run", level="info") == len(truth["ft-run"]["events"])
        assert harness.value("job_queue_depth", job_id="ft-wait") == truth["ft-wait"]["queue_depth"]
        assert harness.value("queue_depth") == truth["ft-wait"]["queue_depth"]
        assert harness.value("epochs_completed", status="running") == truth["ft-run"]["epochs_completed"]


@pytest.mark.parametrize(
    ("mode", "shape", "expected"),
    [("auto", "live", 2), ("auto", "reference", 0), ("always", "reference", 2), ("off", "live", 0)],
)
def test_the_mode_decides_when_details_are_requested(mode: Any, shape: Any, expected: int) -> None:
    with simulated(RUNNING, FINISHED, schedule=Schedule(details=mode), shape=shape) as (simulator, harness):
        harness.poll()
        assert asked(simulator).total() == expected


def test_active_jobs_are_asked_about_at_each_poll_and_finished_ones_once() -> None:
    with simulated(RUNNING, FINISHED) as (simulator, harness):
        for _ in range(4):
            harness.poll()
            harness.now += 30
        assert asked(simulator) == {"ft-run": 4, "ft-done": 1}


def test_a_job_that_ends_is_asked_about_once_more() -> None:
    with simulated(Plan(id="ft-1", created=NOW - 1500, fate="error", fate_at=0.8)) as (simulator, harness):
        for _ in range(5):
            harness.poll()
            harness.now += 600
        assert harness.value("jobs", status="error") == 1
        assert harness.value("job_events", job_id="ft-1", level="error") == 1
        assert asked(simulator)["ft-1"] == 2


def test_details_of_a_finished_job_that_are_older_than_its_list_are_requested_again() -> None:
    api = Api(job("ft-1", "completed"), retrieve=body("ft-1", "running"))
    harness = api.harness(schedule=Schedule())
    for _ in range(4):
        harness.poll()
        harness.now += 60
    assert 1 < len(api.asked("retrieve")) < 4
    api.answers["retrieve"] = body("ft-1", "completed", epochs_completed=3)
    for _ in range(10):
        harness.now += 60
        harness.poll()
    assert harness.value("job_epochs_completed", job_id="ft-1") == 3
    number = len(api.asked("retrieve"))
    harness.now += 7200
    harness.poll()
    assert len(api.asked("retrieve")) == number


def test_a_job_that_leaves_a_terminal_status_is_asked_about_again() -> None:
    api = Api(job("ft-1", "error"), retrieve=body("ft-1", "error"))
    harness = api.harness(schedule=Schedule())
    for _ in range(3):
        harness.poll()
        harness.now += 60
    assert api.asked("retrieve") == ["ft-1"]
    later = "2026-09-21T14:00:00Z"
    api.set_jobs(job("ft-1", "running", updated_at=later))
    api.answers["retrieve"] = body("ft-1", "running", updated_at=later, steps_completed=7)
    for _ in range(3):
        harness.poll()
        harness.now += 60
    assert api.asked("retrieve") == ["ft-1"] * 4
    assert harness.value("job_steps_completed", job_id="ft-1") == 7
    assert harness.value("job_finished_timestamp_seconds", job_id="ft-1", status="error") is None


def test_nothing_is_asked_about_a_job_that_is_missing_from_the_list() -> None:
    api = Api(job("ft-1"), job("ft-2"), retrieve=retrieve)
    harness = api.harness(schedule=Schedule())
    harness.poll()
    api.requests.clear()
    api.set_jobs(job("ft-2"))
    for _ in range(3):
        harness.now += 30
        harness.poll()
    assert set(api.asked()) == {"ft-2"}
    assert harness.value("missing_jobs") == 1


def test_a_finished_job_that_reappears_is_not_asked_about_again() -> None:
    with simulated(FINISHED, RUNNING) as (simulator, harness):
        harness.poll()
        simulator.delete("ft-done")
        for _ in range(5):
            harness.now += 60
            harness.poll()
        simulator.restore("ft-done")
        harness.poll()
        assert harness.value("job_status", job_id="ft-done", status="completed") == 1
        assert asked(simulator)["ft-done"] == 1


@pytest.mark.parametrize("job_id", [".", ".."])
def test_no_request_is_made_for_a_job_whose_id_is_a_path(job_id: str) -> None:
    api = Api(job(job_id), job("ft-1"), retrieve=retrieve)
    harness = api.harness(schedule=Schedule(training=True))
    harness.poll()
    assert set(api.asked()) == {"ft-1"}
    assert {request.endpoint for request in api.requests} == {"list", "retrieve", "metrics"}
    assert harness.value("rejected_jobs", reason="id") == 1


def test_events_are_requested_if_the_details_have_none() -> None:
    with simulated(RUNNING) as (simulator, harness):
        simulator.faults = [Fault("retrieve", status=200, body=body("ft-run", events=[]))]
        harness.poll()
        [truth] = simulator.jobs()
        assert asked(simulator, "events") == {"ft-run": 1}
        assert harness.value("job_events", job_id="ft-run", level="info") == len(truth["events"])


def test_odd_events_cost_no_other_event() -> None:
    events = b'{"data": [5, {"type": "job_pending"}, {"type": "JOB_START", "level": "Error"}]}'
    harness = Api(job("ft-1"), retrieve=body(events=None), events=events).harness(schedule=Schedule())
    harness.poll()
    assert harness.value("job_events", job_id="ft-1", level="info") == 1
    assert harness.value("job_events", job_id="ft-1", level="error") == 1


# ---------------------------------------------------------------------------------------------------------- the budget


def test_the_budget_goes_to_active_jobs_first_then_to_the_newest_finished() -> None:
    finished = [Plan(id=f"ft-{hours}h", created=NOW - 86400 - hours * 3600) for hours in range(10)]
    schedule = Schedule(requests_per_minute=6, concurrency=1)
    with simulated(*reversed(finished), RUNNING, schedule=schedule) as (simulator, harness):
        order = []
        for _ in range(3):
            harness.poll()
            order.append([str(request.job_id) for request in simulator.requests if request.endpoint == "retrieve"])
            simulator.requests.clear()
            harness.now += 31
        assert order == [["ft-run", "ft-0h"], ["ft-run", "ft-1h", "ft-2h"], ["ft-run", "ft-3h", "ft-4h"]]


def test_no_minute_sees_more_requests_than_the_budget_allows() -> None:
    plans = [Plan(id=f"ft-{number}", created=NOW - 1800) for number in range(30)]
    with simulated(*plans, schedule=Schedule(requests_per_minute=10)) as (simulator, harness):
        for _ in range(12):
            harness.poll()
            harness.now += 15
        times = [request.at for request in simulator.requests if request.job_id]
        assert max(sum(start <= time < start + 60 for time in times) for start in times) == 10


def test_active_jobs_share_a_budget_that_is_too_small_fairly() -> None:
    plans = [Plan(id=f"ft-{number}", created=NOW - 60, queued=7200) for number in range(9)]
    with simulated(*plans, schedule=Schedule(requests_per_minute=3)) as (simulator, harness):
        for _ in range(6):
            harness.poll()
            harness.now += 61
        assert set(asked(simulator).values()) == {2}


def test_jobs_of_unknown_status_take_nothing_from_a_running_one() -> None:
    unknown = [job(f"ft-{number}", "paused") for number in range(150)]
    api = Api(*unknown, job("ft-run"), retrieve=lambda request: body(request.job_id, "paused"))
    api.answers["retrieve", "ft-run"] = body("ft-run")
    harness = api.harness(schedule=Schedule())
    for _ in range(20):
        api.requests.clear()
        harness.poll()
        assert api.asked("retrieve").count("ft-run") == 1
        harness.now += 30


def test_each_job_of_unknown_status_is_asked_about_every_ten_minutes() -> None:
    unknown = [job(f"ft-{number}", "paused") for number in range(150)]
    api = Api(*unknown, job("ft-run"), retrieve=lambda request: body(request.job_id, "paused"))
    harness = api.harness(schedule=Schedule())
    for _ in range(60):
        harness.poll()
        harness.now += 30
    counts = Counter(api.asked("retrieve"))
    assert {counts[job["id"]] for job in unknown} == {3}


def test_jobs_of_unknown_status_leave_with_retention_and_are_not_asked_about() -> None:
    unknown = [job(f"ft-{number}", "paused", **MONTHS_AGO) for number in range(150)]
    api = Api(*unknown, job("ft-run"), retrieve=retrieve)
    harness = api.harness(schedule=Schedule())
    harness.poll()
    assert set(api.asked()) == {"ft-run"}
    assert harness.value("jobs", status="unknown") == 150
    assert harness.value("unexported_jobs", reason="retention") == 150


def test_jobs_past_retention_are_asked_about_once_and_after_all_others() -> None:
    old = [job(f"ft-old-{number}", "completed", **MONTHS_AGO) for number in range(4)]
    api = Api(*old, job("ft-new", "completed"), job("ft-run"))
    api.answers["retrieve"] = lambda request: body(request.job_id, "completed", **MONTHS_AGO)
    api.answers["retrieve", "ft-run"] = body("ft-run")
    harness = api.harness(schedule=Schedule(concurrency=1))
    order = []
    for _ in range(3):
        api.requests.clear()
        harness.poll()
        order.append(api.asked("retrieve"))
        harness.now += 30
    assert order[0][:2] == ["ft-run", "ft-new"]
    assert sorted(order[0][2:]) == [job["id"] for job in old]
    assert order[1:] == [["ft-run"], ["ft-run"]]


def test_jobs_past_retention_never_delay_an_active_one() -> None:
    old = [job(f"ft-{number}", "completed", **MONTHS_AGO) for number in range(500)]
    api = Api(*old, job("ft-run"), retrieve=lambda request: body(request.job_id, "completed", **MONTHS_AGO))
    api.answers["retrieve", "ft-run"] = body("ft-run")
    harness = api.harness(schedule=Schedule())
    for _ in range(12):
        api.requests.clear()
        harness.poll()
        assert api.asked("retrieve").count("ft-run") == 1
        harness.now += 30
    assert harness.value("jobs", status="completed") == 500


# ------------------------------------------------------------------------------------------------------ what can fail


@pytest.mark.parametrize("status", [500, 404, 403])
def test_failing_details_cost_the_job_what_they_would_add_and_nothing_else(status: int) -> None:
    with simulated(RUNNING, QUEUED) as (simulator, harness):
        simulator.faults = [Fault("retrieve", status=status, job_id="ft-run")]
        harness.poll()
        assert harness.value("up") == 1
        assert harness.value("job_status", job_id="ft-run", status="running") == 1
        assert harness.value("job_tokens", job_id="ft-run") is not None
        assert harness.value("job_steps_completed", job_id="ft-run") is None
        assert harness.value("job_queue_depth", job_id="ft-wait") is not None
        assert harness.value("api_requests_total", endpoint="retrieve", code=str(status)) == 1


def test_failing_details_back_off_for_that_job_alone() -> None:
    with simulated(replace(RUNNING, train=36000), QUEUED) as (simulator, harness):
        simulator.faults = [Fault("retrieve", status=500, job_id="ft-run")]
        for _ in range(20):
            harness.poll()
            harness.now += 30
        assert asked(simulator)["ft-wait"] == 20
        sent = [r.at - NOW for r in simulator.requests if (r.endpoint, r.job_id) == ("retrieve", "ft-run")]
        assert sent == [0, 30, 90, 210, 450]
        simulator.faults = []
        harness.now += 300
        for _ in range(3):
            harness.poll()
            harness.now += 30
        assert harness.value("job_steps_completed", job_id="ft-run") is not None
        assert asked(simulator)["ft-run"] == 5 + 3


def test_an_endpoint_that_fails_for_all_jobs_backs_off_as_a_whole() -> None:
    jobs = [job(f"ft-{number}", "queued") for number in range(20)]
    api = Api(*jobs, retrieve=Response(403, b""))
    harness = api.harness(schedule=Schedule(concurrency=1))
    counts = []
    for _ in range(20):
        api.requests.clear()
        harness.poll()
        counts.append(len(api.asked("retrieve")))
        harness.now += 30
    assert counts[:8] == [3, 1, 0, 1, 0, 0, 0, 1]
    assert sum(counts) <= 8


def test_the_other_endpoints_go_on_while_one_fails_for_all_jobs() -> None:
    jobs = [job(f"ft-{number}") for number in range(9)]
    api = Api(*jobs, retrieve=Response(403, b""), metrics=b'{"metrics": []}')
    harness = api.harness(schedule=Schedule(concurrency=1, training=True))
    harness.poll()
    assert len(api.asked("retrieve")) == 3
    assert len(api.asked("metrics")) == 9


def test_jobs_that_are_not_found_do_not_count_against_the_endpoint() -> None:
    jobs = [job(f"ft-{number}", "queued") for number in range(20)]
    api = Api(*jobs, retrieve=Response(404, b""))
    harness = api.harness(schedule=Schedule(concurrency=1))
    harness.poll()
    assert len(api.asked("retrieve")) == 20


def test_the_details_that_were_received_stay_while_later_ones_fail() -> None:
    with simulated(RUNNING) as (simulator, harness):
        harness.poll()
        steps = harness.value("job_steps_completed", job_id="ft-run")
        simulator.faults = [Fault("retrieve", status=503)]
        harness.now += 600
        harness.poll()
        assert steps is not None
        assert harness.value("job_steps_completed", job_id="ft-run") == steps


@pytest.mark.parametrize(
    "answer", [b"", b"<html>", b"[]", b'{"id": "ft-other", "status": "error"}', b'{"status": "error"}', b"{"]
)
def test_details_that_are_not_those_of_the_job_are_a_failed_request_and_change_nothing(answer: bytes) -> None:
    with simulated(RUNNING) as (simulator, harness):
        simulator.faults = [Fault("retrieve", status=200, body=answer)]
        harness.poll()
        assert harness.value("job_status", job_id="ft-run", status="running") == 1
        assert harness.value("api_requests_total", endpoint="retrieve", code="body") == 1


def test_an_odd_field_of_the_details_is_counted_once_and_costs_no_other() -> None:
    harness = Api(job("ft-1"), retrieve=body(param_count="large", epochs_completed=2)).harness(schedule=Schedule())
    harness.poll()
    harness.poll()
    assert harness.value("job_epochs_completed", job_id="ft-1") == 2
    assert harness.value("unknown_values_total", field="param_count") == 1


def test_failing_events_cost_only_the_events() -> None:
    api = Api(job("ft-1"), retrieve=body(events=[], epochs_completed=1), events=Response(500, b""))
    harness = api.harness(schedule=Schedule())
    harness.poll()
    assert harness.value("job_epochs_completed", job_id="ft-1") == 1
    assert harness.value("job_events", job_id="ft-1", level="info") is None


@pytest.mark.parametrize("headers", [{"retry-after": "90"}, {}])
def test_a_rate_limit_pauses_the_requests_about_jobs(headers: dict[str, str]) -> None:
    jobs = [job(f"ft-{number}", "queued") for number in range(9)]
    api = Api(*jobs, retrieve=Response(429, b"", headers))
    harness = api.harness(schedule=Schedule(concurrency=1))
    harness.poll()
    assert len(api.asked()) == 1
    api.answers["retrieve"] = retrieve
    harness.now += 89 if headers else 29
    harness.poll()
    assert len(api.asked()) == 1
    harness.now += 2
    harness.poll()
    assert len(api.asked()) == 10


def test_an_api_that_fails_is_not_asked_about_jobs() -> None:
    api = Api(job("ft-1"), job("ft-2"), retrieve=retrieve)
    harness = api.harness(schedule=Schedule(requests_per_minute=2, concurrency=1))
    harness.poll()
    asked_before = len(api.asked())
    api.answers["list"] = Response(500, b"")
    harness.now += 61
    harness.poll()
    assert len(api.asked()) == asked_before


def test_slow_requests_about_one_job_delay_neither_the_list_nor_other_jobs() -> None:
    released = threading.Event()

    def hang(_: object) -> Response:
        released.wait()
        return Response(500, b"")

    api = Api(job("ft-slow"), job("ft-1", "queued"), retrieve=body("ft-1", "queued", queue_depth=4))
    api.answers["retrieve", "ft-slow"] = hang
    harness = api.harness(schedule=Schedule(active=0.05, concurrency=2), stopwatch=time.monotonic)
    thread = threading.Thread(target=harness.poller.run)
    thread.start()
    try:
        wait_for(lambda: sum(request.endpoint == "list" for request in api.requests) >= 5)
        wait_for(lambda: api.asked("retrieve").count("ft-1") >= 3)
        assert api.asked("retrieve").count("ft-slow") == 1
        assert harness.value("job_queue_depth", job_id="ft-1") == 4
        assert harness.value("job_status", job_id="ft-slow", status="running") == 1
    finally:
        released.set()
        harness.poller.stop()
        thread.join()
