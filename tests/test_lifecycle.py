"""Counters of what the exporter saw happen: each job once, and never less."""

from exporter.simulator import Plan
from tests.support import NOW, Wire, World, http, job, jobs_json, restarted, simulated

# pending 60 s, queued 600 s, then a run of 180 + 1200 + 120 + 180 s
WILL_END = Plan(id="ft-1", created=NOW - 1000)
WILL_FAIL = Plan(id="ft-2", created=NOW - 1000, fate="error")
LONG_OVER = Plan(id="ft-0", created=NOW - 86400)


def ended(world: World, status: str = "completed") -> float | None:
    return world.value("jobs_finished_total", status=status)


def after(world: World, seconds: float) -> None:
    world.now += seconds
    world.poll()


def test_jobs_that_had_ended_at_the_first_poll_are_not_counted() -> None:
    with simulated(LONG_OVER, WILL_END) as (_, world):
        world.poll()
        assert {status: ended(world, status) for status in ("completed", "error", "user_error", "cancelled")} == {
            "completed": 0,
            "error": 0,
            "user_error": 0,
            "cancelled": 0,
        }


def test_a_job_that_ends_is_counted_once_by_its_status() -> None:
    with simulated(WILL_END, WILL_FAIL, LONG_OVER) as (_, world):
        world.poll()
        for _ in range(3):
            after(world, 3600)
        assert (ended(world), ended(world, "error")) == (1, 1)


def test_a_job_that_came_and_went_between_two_polls_is_counted() -> None:
    with simulated(Plan(id="ft-1", created=NOW + 10)) as (_, world):
        world.poll()
        after(world, 7200)
        assert ended(world) == 1
        assert world.value("job_queue_duration_seconds_count") == 1
        assert world.value("job_run_duration_seconds_count", status="completed") == 1


def test_a_deleted_job_takes_nothing_from_the_counters_and_counts_once_when_it_reappears() -> None:
    with simulated(WILL_END) as (simulator, world):
        world.poll()
        after(world, 3600)
        simulator.delete("ft-1")
        after(world, 30)
        assert ended(world) == 1
        simulator.restore("ft-1")
        after(world, 30)
        assert ended(world) == 1
        assert world.value("job_run_duration_seconds_count", status="completed") == 1


def test_a_job_that_was_lost_at_the_first_poll_and_had_ended_before_is_not_counted() -> None:
    with simulated(LONG_OVER) as (simulator, world):
        simulator.delete("ft-0")
        world.poll()
        simulator.restore("ft-0")
        after(world, 30)
        assert ended(world) == 0


def test_after_a_restart_nothing_is_counted_again() -> None:
    with simulated(WILL_END) as (_, world):
        world.poll()
        after(world, 3600)
        again = restarted(world)
        again.poll()
        assert ended(again) == 0
        assert again.value("job_run_duration_seconds_count", status="completed") is None


def test_the_wait_is_from_creation_to_start() -> None:
    with simulated(Plan(id="ft-1", created=NOW - 100)) as (_, world):
        world.poll()
        assert world.value("job_queue_duration_seconds_count") == 0
        after(world, 700)
        after(world, 700)
        assert world.value("job_queue_duration_seconds_count") == 1
        assert world.value("job_queue_duration_seconds_sum") == 660
        assert world.value("job_queue_duration_seconds_bucket", le="300.0") == 0
        assert world.value("job_queue_duration_seconds_bucket", le="900.0") == 1


def test_the_wait_of_a_job_that_ran_already_is_not_observed() -> None:
    with simulated(WILL_END) as (_, world):
        world.poll()
        after(world, 60)
        assert world.value("job_queue_duration_seconds_count") == 0


def test_the_run_is_from_start_to_end() -> None:
    with simulated(WILL_END) as (_, world):
        world.poll()
        after(world, 3600)
        assert world.value("job_run_duration_seconds_count", status="completed") == 1
        assert world.value("job_run_duration_seconds_sum", status="completed") == 1680


def test_a_job_that_was_cancelled_while_it_waited_has_no_run() -> None:
    plan = Plan(id="ft-1", created=NOW - 100, fate="cancelled", fate_stage="queued")
    with simulated(plan) as (_, world):
        world.poll()
        after(world, 3600)
        assert ended(world, "cancelled") == 1
        assert world.value("job_run_duration_seconds_count", status="cancelled") is None
        assert world.value("job_queue_duration_seconds_count") == 0


def test_counters_stay_when_the_figures_are_stale() -> None:
    with simulated(WILL_END) as (_, world):
        world.poll()
        after(world, 3600)
        world.now += 3600
        assert ended(world) == 1
        assert world.value("jobs", status="completed") is None


def test_a_clock_of_the_api_that_is_ahead_makes_no_old_end_a_new_one(wire: Wire) -> None:
    ahead = "2026-09-21T14:14:20Z"  # a minute after NOW
    wire.answer = http(jobs_json(job("ft-1", "completed", updated_at=ahead, started_at=ahead)))
    world = World(wire.url)
    for _ in range(2):
        after(world, 30)
    assert ended(world) == 0
