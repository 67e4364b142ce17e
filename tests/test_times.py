"""Signs of life, since when, until when: from the API's times, and from what was seen to change."""

import time
from typing import Any

import pytest

from exporter.poller import Schedule
from exporter.simulator import Fault, Plan
from tests.support import NOW, Wire, World, http, job, jobs_json, restarted, simulated

EARLIER = "2026-09-21T11:00:00Z"
LIST_ONLY = Schedule(details="off")


def shown(wire: Wire, *polls: dict[str, Any], every: float = 30) -> World:
    """A world that polled these states of one job, one after the other."""
    world = World(wire.url)
    for number, fields in enumerate(polls):
        world.now = NOW + every * number
        wire.answer = http(jobs_json(job(**({"job_id": "ft-1"} | fields))))
        world.poll()
    return world


def at(text: str) -> float:
    """Unix seconds of a time of the day of NOW."""
    hours, minutes, seconds = map(int, text.split(":"))
    return NOW - (14 * 3600 + 13 * 60 + 20) + hours * 3600 + minutes * 60 + seconds


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, at("13:00:00")),
        ({"started_at": "2026-09-21T13:30:00Z"}, at("13:30:00")),
        ({"events": [{"type": "checkpoint_save", "created_at": "2026-09-21T13:40:00Z"}]}, at("13:40:00")),
        ({"updated_at": "2026-09-21T14:17:00Z"}, at("14:17:00")),
        ({"updated_at": "2030-01-01T00:00:00Z"}, at("12:00:00")),
    ],
    ids=["updated", "started", "an event", "a clock that is a little ahead", "a slip years ahead"],
)
def test_the_newest_time_of_the_api_is_a_sign_of_life(wire: Wire, fields: dict[str, Any], expected: float) -> None:
    world = shown(wire, {"status": "running", **fields})
    assert world.value("job_last_progress_timestamp_seconds", job_id="ft-1") == expected


@pytest.mark.parametrize(
    ("status", "counter"),
    [
        ("running", "steps_completed"),
        ("running", "epochs_completed"),
        ("running", "evals_completed"),
        ("queued", "queue_depth"),
        ("pending", "queue_depth"),
    ],
)
def test_a_counter_without_a_time_is_a_sign_of_life_when_it_changes(wire: Wire, status: str, counter: str) -> None:
    five, six = ({"status": status, counter: count} for count in (5, 6))
    assert shown(wire, five, five, six).value("job_last_progress_timestamp_seconds", job_id="ft-1") == NOW + 60
    assert shown(wire, five, six, six).value("job_last_progress_timestamp_seconds", job_id="ft-1") == NOW + 30


def test_a_counter_of_another_stage_is_no_sign_of_life(wire: Wire) -> None:
    polls = [{"status": "uploading", "steps_completed": count} for count in (5, 6)]
    assert shown(wire, *polls).value("job_last_progress_timestamp_seconds", job_id="ft-1") == at("13:00:00")


def test_a_job_that_hangs_shows_no_sign_of_life() -> None:
    plan = Plan(id="ft-1", created=NOW - 1800, fate="hang", fate_at=0.9)
    with simulated(plan) as (_, world):
        world.poll()
        world.now += 3600
        world.poll()
        before = world.value("job_last_progress_timestamp_seconds", job_id="ft-1")
        world.now += 7200
        world.poll()
        assert world.value("job_last_progress_timestamp_seconds", job_id="ft-1") == before
        assert before is not None
        assert before <= NOW + 3600


def test_a_job_that_runs_shows_signs_of_life_between_its_events() -> None:
    plan = Plan(id="ft-1", created=NOW - 1800, train=36000, total_steps=3000, n_epochs=1, n_checkpoints=1)
    with simulated(plan) as (_, world):
        for _ in range(5):
            world.now += 600
            world.poll()
            progress = world.value("job_last_progress_timestamp_seconds", job_id="ft-1")
            assert progress is not None
            assert progress > world.now - 300


@pytest.mark.parametrize("plan", [
    Plan(id="ft-1", created=NOW - 7200, queued=36000),
    Plan(id="ft-1", created=NOW - 7200, train=36000, total_steps=10, n_epochs=1),
], ids=["waiting", "running"])  # fmt: skip
def test_after_a_restart_in_the_middle_no_job_looks_stuck_that_was_not(plan: Plan) -> None:
    with simulated(plan) as (simulator, world):
        world.poll()
        world.now += 600
        world.poll()
        seen = world.value("job_last_progress_timestamp_seconds", job_id="ft-1")
        world.now += 30
        again = restarted(world)
        # The list alone, before the detail came: no figure, rather than one that looks old.
        again.poller.cycle()
        assert again.value("job_status_since_timestamp_seconds", job_id="ft-1", status=simulator.jobs()[0]["status"])
        assert again.value("job_last_progress_timestamp_seconds", job_id="ft-1") is None
        again.poller.settle()
        progress = again.value("job_last_progress_timestamp_seconds", job_id="ft-1")
        assert seen is not None
        assert progress is not None
        assert progress >= seen


def test_a_restart_forgets_nothing_that_the_api_has_a_time_for() -> None:
    plan = Plan(id="ft-1", created=NOW - 7200, upload=36000)
    with simulated(plan) as (_, world):
        world.poll()
        progress = world.value("job_last_progress_timestamp_seconds", job_id="ft-1")
        world.now += 600
        again = restarted(world)
        again.poll()
        assert progress is not None
        assert again.value("job_last_progress_timestamp_seconds", job_id="ft-1") == progress


def test_there_is_no_sign_of_life_until_the_details_are_known() -> None:
    with simulated(Plan(id="ft-1", created=NOW - 1800)) as (simulator, world):
        simulator.faults = [Fault("retrieve", status=500)]
        for _ in range(2):
            world.poll()
            assert world.value("job_last_progress_timestamp_seconds", job_id="ft-1") is None
        assert world.value("job_status", job_id="ft-1", status="running") == 1
        simulator.faults = []
        world.poll()
        assert world.value("job_last_progress_timestamp_seconds", job_id="ft-1") is not None


def test_without_details_the_lists_own_times_are_the_signs_of_life() -> None:
    with simulated(Plan(id="ft-1", created=NOW - 1800), schedule=LIST_ONLY) as (_, world):
        world.poll()
        assert world.value("job_last_progress_timestamp_seconds", job_id="ft-1") is not None


@pytest.mark.parametrize(
    ("fields", "since"),
    [
        ({"status": "pending"}, at("12:00:00")),
        ({"status": "running", "started_at": "2026-09-21T12:30:00Z"}, at("12:30:00")),
        ({"status": "uploading", "started_at": "2026-09-21T12:30:00Z"}, at("12:30:00")),
        ({"status": "queued"}, at("13:00:00")),
        (
            {"status": "cancel_requested", "events": [{"type": "CANCEL_REQUESTED", "created_at": EARLIER}]},
            at("11:00:00"),
        ),
        ({"status": "compressing", "events": [{"type": "COMPRESSING_MODEL", "created_at": EARLIER}]}, at("11:00:00")),
        ({"status": "error", "events": [{"type": "job_error", "created_at": EARLIER}]}, at("11:00:00")),
        ({"status": "completed"}, at("13:00:00")),
        ({"status": "paused"}, at("13:00:00")),
    ],
)
def test_since_when_a_job_is_in_its_status(wire: Wire, fields: dict[str, Any], since: float) -> None:
    world = shown(wire, fields)
    [(labels, value)] = [
        (dict(labels), value)
        for (name, labels), value in world.scrape().items()
        if name.endswith("job_status_since_timestamp_seconds")
    ]
    assert value == since
    assert labels["status"] == ("unknown" if fields["status"] == "paused" else fields["status"])


def test_the_beginning_of_a_status_stays_while_the_status_does(wire: Wire) -> None:
    queued = {"status": "queued", "updated_at": "2026-09-21T13:00:00Z"}
    later = {"status": "queued", "updated_at": "2026-09-21T14:00:00Z"}
    world = shown(wire, queued, later)
    assert world.value("job_status_since_timestamp_seconds", job_id="ft-1", status="queued") == at("13:00:00")


def test_the_end_of_a_job_does_not_move_when_it_is_changed_later(wire: Wire) -> None:
    ended = {"status": "completed", "updated_at": "2026-09-21T13:00:00Z"}
    touched = {"status": "completed", "updated_at": "2026-09-21T14:00:00Z"}
    world = shown(wire, ended, touched)
    assert world.value("job_finished_timestamp_seconds", job_id="ft-1", status="completed") == at("13:00:00")


def test_the_end_of_a_job_is_the_time_of_its_last_event(wire: Wire) -> None:
    world = shown(wire, {"status": "error", "events": [{"type": "JOB_ERROR", "created_at": EARLIER}]})
    assert world.value("job_finished_timestamp_seconds", job_id="ft-1", status="error") == at("11:00:00")


def test_the_estimate_follows_the_simulators_own_plan() -> None:
    plan = Plan(id="ft-1", created=NOW - 1800, train=7200, estimate=1.0)
    with simulated(plan) as (simulator, world):
        world.poll()
        until = world.value("job_estimated_completion_timestamp_seconds", job_id="ft-1")
        assert until is not None
        world.now = until - 5
        assert simulator.jobs()[0]["status"] == "running"
        world.now = until + 5
        assert simulator.jobs()[0]["status"] == "compressing"


def test_an_estimate_appears_when_its_stage_is_no_longer_in_the_future(wire: Wire) -> None:
    fields = {
        "status": "running",
        "started_at": "2026-09-21T14:13:25Z",
        "progress": {"estimate_available": True, "seconds_remaining": 60},
    }
    assert shown(wire, fields).value("job_estimated_completion_timestamp_seconds", job_id="ft-1") is None
    assert shown(wire, fields, fields).value("job_estimated_completion_timestamp_seconds", job_id="ft-1") == NOW + 65


def test_progress_is_by_steps_where_they_are_known() -> None:
    plan = Plan(id="ft-1", created=NOW - 1800, train=1900, total_steps=100, n_epochs=2)
    for shape, expected in (("live", "steps"), ("reference", "epochs")):
        with simulated(plan, shape=shape) as (simulator, world):  # type: ignore[arg-type]  # a literal
            world.poll()
            [truth] = simulator.jobs()
            steps = truth["steps_completed"] / truth["total_steps"]
            epochs = truth["epochs_completed"] / truth["n_epochs"]
            assert world.value("job_progress_ratio", job_id="ft-1") == {"steps": steps, "epochs": epochs}[expected]


def test_times_without_an_offset_are_utc(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        world = shown(wire, {"status": "running", "created_at": "2026-09-21T12:00:00"})
        created = world.value("job_created_timestamp_seconds", job_id="ft-1")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert created == at("12:00:00")
