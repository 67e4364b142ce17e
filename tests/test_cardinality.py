"""How many series there are, and which jobs have them."""

import re
from pathlib import Path

import pytest

from exporter.poller import Schedule
from exporter.simulator import Plan
from exporter.snapshot import Selection
from tests.support import NOW, Samples, Wire, World, http, job, jobs_json, simulated

DAY = 86400.0
METRICS = Path(__file__).parent.parent / "docs/metrics.md"


def with_series(samples: Samples) -> set[str]:
    """The jobs that have series of their own."""
    return {dict(labels)["job_id"] for _, labels in samples if "job_id" in dict(labels)}


def world_of(wire: Wire, *jobs: object, selection: Selection | None = None, exclude: str = "") -> World:
    wire.answer = http(jobs_json(*jobs))
    schedule = Schedule(details="off", selection=selection or Selection())
    world = World(wire.url, schedule=schedule, exclude=exclude)
    world.poll()
    return world


def test_a_finished_job_keeps_its_series_for_the_retention_and_sums_count_it_on(wire: Wire) -> None:
    world = world_of(
        wire,
        job("ft-old", "completed", updated_at="2026-09-20T14:13:19Z", token_count=5, model="m"),
        job("ft-new", "completed", updated_at="2026-09-20T14:13:21Z", token_count=6, model="m"),
        job("ft-run", "running", updated_at="2026-01-01T00:00:00Z"),
        selection=Selection(retention=DAY),
    )
    samples = world.scrape()
    assert with_series(samples) == {"ft-new", "ft-run"}
    assert samples.get_one("unexported_jobs", account="default", reason="retention") == 1
    assert samples.get_one("unexported_jobs", account="default", reason="limit") == 0
    assert samples.get_one("jobs", account="default", status="completed") == 2
    assert samples.get_one("tokens", account="default", status="completed") == 11
    assert samples.get_one("model_jobs", account="default", model="m", status="completed") == 2


def test_series_vanish_when_the_retention_is_over(wire: Wire) -> None:
    world = world_of(wire, job("ft-1", "completed"), selection=Selection(retention=DAY))
    assert with_series(world.scrape()) == {"ft-1"}
    world.now += DAY
    world.poll()
    assert with_series(world.scrape()) == set()


def test_over_the_limit_active_jobs_come_first_then_the_newest(wire: Wire) -> None:
    world = world_of(
        wire,
        *(job(f"ft-done-{day}", "completed", created_at=f"2026-09-{day}T00:00:00Z") for day in (18, 20, 19)),
        job("ft-run-old", "running", created_at="2026-09-01T00:00:00Z"),
        job("ft-wait", "queued", created_at="2026-09-02T00:00:00Z"),
        selection=Selection(limit=3),
    )
    samples = world.scrape()
    assert with_series(samples) == {"ft-run-old", "ft-wait", "ft-done-20"}
    assert samples.get_one("unexported_jobs", account="default", reason="limit") == 2
    assert samples.get_one("jobs", account="default", status="completed") == 3


def test_a_limit_of_zero_leaves_the_sums(wire: Wire) -> None:
    samples = world_of(wire, job("ft-1"), selection=Selection(limit=0)).scrape()
    assert with_series(samples) == set()
    assert samples.get_one("jobs", account="default", status="running") == 1


@pytest.mark.parametrize(
    ("exclude", "gone", "there"),
    [
        ("together_finetune_job_hyperparameter", "job_hyperparameter", "job_status"),
        ("together_finetune_job_.*", "job_status", "jobs"),
        ("together_finetune_tokens|together_finetune_up", "up", "jobs"),
        ("together_finetune_job", "nothing", "job_status"),
    ],
)
def test_excluded_metrics_are_not_served(wire: Wire, exclude: str, gone: str, there: str) -> None:
    names = world_of(wire, job(learning_rate=0.1, token_count=3), exclude=exclude).scrape().names()
    assert gone not in names
    assert there in names


def test_what_a_job_costs_is_as_the_docs_say() -> None:
    plan = Plan(id="ft-1", created=NOW, train=3600, n_evals=10)
    told = re.findall(r"\| (from the list|with details|with training metrics) \| (\d+) \|", METRICS.read_text())
    schedules = (Schedule(details="off"), Schedule(), Schedule(training=True))
    counted = []
    for schedule in schedules:
        with simulated(plan, schedule=schedule) as (_, world):
            world.now += 2400
            world.poll()
            counted.append(sum("job_id" in dict(labels) for _, labels in world.scrape()))
    assert [int(count) for _, count in told] == counted
