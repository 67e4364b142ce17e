"""What the list leaves out is asked for: when, how often, and what a failing call costs."""

import threading
from collections import Counter
from typing import Any

import pytest

from exporter.poller import Schedule
from exporter.simulator import Fault, Plan, Simulator
from tests.programs import wait_for
from tests.support import NOW, World, job, jobs_json, simulated

RUNNING = Plan(id="ft-run", created=NOW - 1800)
QUEUED = Plan(id="ft-wait", created=NOW - 300, queued=3000)
FINISHED = Plan(id="ft-done", created=NOW - 86400)


def asked(simulator: Simulator) -> Counter[tuple[str, str]]:
    """How often each endpoint was asked about each job."""
    return Counter((str(request.endpoint), request.job_id) for request in simulator.requests if request.job_id)


def test_what_the_live_list_leaves_out_comes_from_the_detail_call() -> None:
    with simulated(RUNNING, QUEUED) as (simulator, world):
        world.poll()
        truth = {job["id"]: job for job in simulator.jobs()}
        assert world.value("job_epochs_completed", job_id="ft-run") == truth["ft-run"]["epochs_completed"]
        assert world.value("job_parameters", job_id="ft-run") == truth["ft-run"]["param_count"]
        assert world.value("job_steps_completed", job_id="ft-run") == truth["ft-run"]["steps_completed"]
        assert world.value("job_events", job_id="ft-run", level="info") == len(truth["ft-run"]["events"])
        assert world.value("job_queue_depth", job_id="ft-wait") == truth["ft-wait"]["queue_depth"]
        assert world.value("queue_depth") == truth["ft-wait"]["queue_depth"]
        assert world.value("epochs_completed", status="running") == truth["ft-run"]["epochs_completed"]


@pytest.mark.parametrize(
    ("mode", "shape", "expected"),
    [("auto", "live", 2), ("auto", "reference", 0), ("always", "reference", 2), ("off", "live", 0)],
)
def test_the_mode_says_when_details_are_asked_for(mode: Any, shape: Any, expected: int) -> None:
    with simulated(RUNNING, FINISHED, schedule=Schedule(details=mode), shape=shape) as (simulator, world):
        world.poll()
        assert asked(simulator).total() == expected


def test_active_jobs_are_asked_about_at_each_poll_and_finished_ones_once() -> None:
    with simulated(RUNNING, FINISHED) as (simulator, world):
        for _ in range(4):
            world.poll()
            world.now += 30
        assert asked(simulator) == {("retrieve", "ft-run"): 4, ("retrieve", "ft-done"): 1}


def test_a_job_that_ends_is_asked_about_once_more() -> None:
    with simulated(Plan(id="ft-1", created=NOW - 1500, fate="error", fate_at=0.8)) as (simulator, world):
        for _ in range(5):
            world.poll()
            world.now += 600
        assert world.value("jobs", status="error") == 1
        assert world.value("job_events", job_id="ft-1", level="error") == 1
        assert asked(simulator)["retrieve", "ft-1"] == 2


def test_a_finished_job_is_asked_about_again_after_it_left_the_list() -> None:
    with simulated(FINISHED) as (simulator, world):
        world.poll()
        simulator.delete("ft-done")
        world.poll()
        simulator.restore("ft-done")
        world.poll()
        assert asked(simulator)["retrieve", "ft-done"] == 2


@pytest.mark.parametrize("status", [500, 404, 403])
def test_a_failing_detail_call_costs_that_jobs_extra_fields_and_nothing_else(status: int) -> None:
    with simulated(RUNNING, QUEUED) as (simulator, world):
        simulator.faults = [Fault("retrieve", status=status, job_id="ft-run")]
        world.poll()
        assert world.value("up") == 1
        assert world.value("job_status", job_id="ft-run", status="running") == 1
        assert world.value("job_tokens", job_id="ft-run") is not None
        assert world.value("job_steps_completed", job_id="ft-run") is None
        assert world.value("job_queue_depth", job_id="ft-wait") is not None
        assert world.value("api_requests_total", endpoint="retrieve", code=str(status)) == 1
        simulator.faults = []
        world.poll()
        assert world.value("job_steps_completed", job_id="ft-run") is not None


def test_what_was_known_of_a_job_stays_while_its_detail_call_fails() -> None:
    with simulated(RUNNING) as (simulator, world):
        world.poll()
        steps = world.value("job_steps_completed", job_id="ft-run")
        simulator.faults = [Fault("retrieve", status=503)]
        world.now += 600
        world.poll()
        assert steps is not None
        assert world.value("job_steps_completed", job_id="ft-run") == steps


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"id": "ft-other", "status": "error"}', b'{"status": "error"}', b"{"]
)
def test_a_detail_that_is_not_that_job_is_a_fault_and_changes_nothing(body: bytes) -> None:
    with simulated(RUNNING) as (simulator, world):
        simulator.faults = [Fault("retrieve", status=200, body=body)]
        world.poll()
        assert world.value("job_status", job_id="ft-run", status="running") == 1
        assert world.value("api_requests_total", endpoint="retrieve", code="body") == 1


def test_an_odd_field_of_a_detail_is_counted_once_and_costs_no_other() -> None:
    with simulated(RUNNING) as (simulator, world):
        body = jobs_json(job("ft-run", "running", param_count="large", epochs_completed=2))[len(b'{"data": [') : -2]
        simulator.faults = [Fault("retrieve", status=200, body=body)]
        world.poll()
        world.poll()
        assert world.value("job_epochs_completed", job_id="ft-run") == 2
        assert world.value("unknown_values_total", field="param_count") == 1


def test_events_are_asked_for_where_the_job_has_none() -> None:
    with simulated(RUNNING) as (simulator, world):
        body = jobs_json(job("ft-run", "running", events=[]))[len(b'{"data": [') : -2]
        simulator.faults = [Fault("retrieve", status=200, body=body)]
        world.poll()
        [truth] = simulator.jobs()
        assert asked(simulator)["events", "ft-run"] == 1
        assert world.value("job_events", job_id="ft-run", level="info") == len(truth["events"])


def test_failing_events_cost_only_the_events() -> None:
    with simulated(RUNNING) as (simulator, world):
        body = jobs_json(job("ft-run", "running", events=[], epochs_completed=1))[len(b'{"data": [') : -2]
        simulator.faults = [Fault("retrieve", status=200, body=body), Fault("events", status=500)]
        world.poll()
        assert world.value("job_epochs_completed", job_id="ft-run") == 1
        assert world.value("job_events", job_id="ft-run", level="info") is None


def test_the_budget_goes_to_active_jobs_first_then_to_the_newest_finished() -> None:
    finished = [Plan(id=f"ft-{hours}h", created=NOW - 86400 - hours * 3600) for hours in range(10)]
    schedule = Schedule(requests_per_minute=4, concurrency=1)
    stopwatch = 0.0
    with simulated(*reversed(finished), RUNNING, schedule=schedule) as (simulator, first):
        world = World(simulator.url, schedule=schedule, stopwatch=lambda: stopwatch)
        order = []
        for _ in range(3):
            world.poll()
            order.append([str(request.job_id) for request in simulator.requests if request.job_id])
            simulator.requests.clear()
            stopwatch += 61
        assert first.now == NOW
        assert order == [
            ["ft-run", "ft-0h", "ft-1h", "ft-2h"],
            ["ft-run", "ft-3h", "ft-4h", "ft-5h"],
            ["ft-run", "ft-6h", "ft-7h", "ft-8h"],
        ]


def test_no_minute_sees_more_calls_than_the_budget_allows() -> None:
    plans = [Plan(id=f"ft-{i}", created=NOW - 1800) for i in range(30)]
    schedule = Schedule(requests_per_minute=10)
    stopwatch = 0.0
    with simulated(*plans, schedule=schedule) as (simulator, _):
        world = World(simulator.url, schedule=schedule, stopwatch=lambda: stopwatch)
        calls = []
        for _ in range(12):
            world.poll()
            calls.append((stopwatch, sum(request.job_id is not None for request in simulator.requests)))
            stopwatch += 15
        for then, before in calls:
            later = max(count for time, count in calls if time < then + 60)
            assert later - before <= 10
        assert calls[-1][1] == 30


def test_active_jobs_share_a_budget_that_is_too_small_fairly() -> None:
    plans = [Plan(id=f"ft-{i}", created=NOW - 1800) for i in range(9)]
    schedule = Schedule(requests_per_minute=3)
    stopwatch = 0.0
    with simulated(*plans, schedule=schedule) as (simulator, clock):
        world = World(simulator.url, schedule=schedule, stopwatch=lambda: stopwatch)
        for _ in range(6):
            world.poll()
            stopwatch += 61
            world.now = clock.now = world.now + 61
        assert set(asked(simulator).values()) == {2}


@pytest.mark.parametrize("headers", [{"Retry-After": "90"}, {}])
def test_a_rate_limit_pauses_the_calls_about_jobs(headers: dict[str, str]) -> None:
    plans = [Plan(id=f"ft-{i}", created=NOW - 1800) for i in range(9)]
    stopwatch = 0.0
    schedule = Schedule(concurrency=1)
    with simulated(*plans, schedule=schedule) as (simulator, _):
        world = World(simulator.url, schedule=schedule, stopwatch=lambda: stopwatch)
        simulator.faults = [Fault("retrieve", status=429, headers=headers)]
        world.poll()
        assert asked(simulator).total() == 1
        simulator.faults = []
        stopwatch = 89.0 if headers else 29.0
        world.poll()
        assert asked(simulator).total() == 1
        stopwatch += 2
        world.poll()
        assert asked(simulator).total() == 10


def test_an_api_that_fails_is_not_asked_about_jobs() -> None:
    with simulated(RUNNING) as (simulator, world):
        simulator.faults = [Fault("list", status=500)]
        world.poll()
        assert asked(simulator).total() == 0


def test_calls_that_were_left_over_are_dropped_when_the_api_begins_to_fail() -> None:
    schedule = Schedule(requests_per_minute=1)
    stopwatch = 0.0
    with simulated(RUNNING, QUEUED, schedule=schedule) as (simulator, _):
        world = World(simulator.url, schedule=schedule, stopwatch=lambda: stopwatch)
        world.poll()
        simulator.faults = [Fault("list", status=500)]
        stopwatch = 61.0
        world.poll()
        assert asked(simulator).total() == 1


def test_slow_calls_about_one_job_delay_neither_the_list_nor_other_jobs() -> None:
    schedule = Schedule(active=0.1, idle=0.1, concurrency=2)
    with simulated(RUNNING, QUEUED, schedule=schedule) as (simulator, world):
        simulator.faults = [Fault("retrieve", latency=3600, job_id="ft-run")]
        world.timeout = 3600
        thread = threading.Thread(target=world.poller.run)
        thread.start()
        try:
            wait_for(lambda: sum(request.endpoint == "list" for request in simulator.requests) >= 5)
            wait_for(lambda: asked(simulator)["retrieve", "ft-wait"] >= 3)
            assert asked(simulator)["retrieve", "ft-run"] == 1
            assert world.value("job_queue_depth", job_id="ft-wait") is not None
            assert world.value("job_status", job_id="ft-run", status="running") == 1
        finally:
            world.poller.stop()
            thread.join()
