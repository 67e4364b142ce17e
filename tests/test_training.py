"""Training metrics of running jobs: the newest values, and only new rows are asked for."""

import math

from exporter.models import parse_training
from exporter.poller import Schedule
from exporter.simulator import Fault, Plan, training_rows
from tests.support import NOW, simulated

TRAINED = Schedule(training=True)
RUNNING = Plan(id="ft-1", created=NOW - 1800, train=7200, total_steps=300, n_evals=20)
NAMES = {
    "job_training_loss": "train/loss",
    "job_eval_loss": "eval/loss",
    "job_grad_norm": "train/grad_norm",
    "job_learning_rate": "train/learning_rate",
}


def test_the_newest_value_of_each_name_is_shown() -> None:
    with simulated(RUNNING, schedule=TRAINED) as (_, world):
        for _ in range(3):
            world.now += 600
            world.poll()
            rows = training_rows(RUNNING, world.now)
            for metric, name in NAMES.items():
                assert world.value(metric, job_id="ft-1") == [row[name] for row in rows if name in row][-1]
            epoch = [row["train/epoch"] for row in rows if "train/epoch" in row][-1]
            assert world.value("job_training_metric", job_id="ft-1", name="train/epoch") == epoch
            assert world.value("job_training_step", job_id="ft-1") == rows[-1]["train/global_step"]
            times = [row["timestamp"] / 1e9 for row in rows if "timestamp" in row]
            assert world.value("job_training_timestamp_seconds", job_id="ft-1") == max(times)


def test_only_rows_after_the_last_seen_are_asked_for() -> None:
    with simulated(RUNNING, schedule=TRAINED) as (simulator, world):
        world.poll()
        step = world.value("job_training_step", job_id="ft-1")
        world.now += 600
        world.poll()
        first, second = (request.query for request in simulator.requests if request.endpoint == "metrics")
        assert step is not None
        assert first == {}
        assert second == {"global_step_from": f"{step + 1:.0f}"}


def test_without_the_setting_no_training_metrics_are_asked_for() -> None:
    with simulated(RUNNING) as (simulator, world):
        world.poll()
        assert "metrics" not in {request.endpoint for request in simulator.requests}
        assert world.value("job_training_loss", job_id="ft-1") is None


def test_a_loss_that_diverged_is_shown_as_such() -> None:
    plan = Plan(id="ft-1", created=NOW - 1800, train=7200, diverges_at=0.01)
    with simulated(plan, schedule=TRAINED) as (_, world):
        world.now += 600
        world.poll()
        loss = world.value("job_training_loss", job_id="ft-1")
        assert loss is not None
        assert math.isnan(loss)


def test_infinite_values_pass_through() -> None:
    body = b'{"metrics": [{"train/global_step": 1, "train/loss": Infinity, "eval/loss": -Infinity, "x": "y"}, 5]}'
    [point] = parse_training(body)
    assert point.values == {"train/loss": math.inf, "eval/loss": -math.inf}


def test_the_last_values_stay_after_the_end_of_the_job() -> None:
    plan = Plan(id="ft-1", created=NOW - 1800, train=1500)
    with simulated(plan, schedule=TRAINED) as (simulator, world):
        world.poll()
        world.now += 7200
        for _ in range(3):
            world.poll()
            world.now += 30
        assert world.value("jobs", status="completed") == 1
        last = [row["train/loss"] for row in training_rows(plan, world.now) if "train/loss" in row][-1]
        assert world.value("job_training_loss", job_id="ft-1") == last
        assert sum(request.endpoint == "metrics" for request in simulator.requests) == 2


def test_after_a_restart_of_the_job_its_rows_are_asked_for_from_the_beginning() -> None:
    plan = Plan(id="ft-1", created=NOW - 1800, train=3000, fate="restart", fate_at=0.8)
    with simulated(plan, schedule=TRAINED) as (simulator, world):
        for _ in range(6):
            world.poll()
            world.now += 600
        assert world.value("job_restarts", job_id="ft-1") == 1
        rows = training_rows(plan, world.now - 600)
        assert world.value("job_training_step", job_id="ft-1") == rows[-1]["train/global_step"]
        assert [request.query for request in simulator.requests if request.endpoint == "metrics"].count({}) == 2


def test_training_rows_are_a_sign_of_life() -> None:
    with simulated(RUNNING, schedule=TRAINED) as (simulator, world):
        world.poll()
        world.now += 600
        simulator.faults = [Fault("retrieve", status=500)]
        world.poll()
        progress = world.value("job_last_progress_timestamp_seconds", job_id="ft-1")
        last = world.value("job_training_timestamp_seconds", job_id="ft-1")
        assert progress is not None
        assert last is not None
        assert progress >= last > NOW


def test_failing_training_metrics_cost_nothing_else() -> None:
    with simulated(RUNNING, schedule=TRAINED) as (simulator, world):
        simulator.faults = [Fault("metrics", status=200, body=b'{"metrics": null}')]
        world.poll()
        assert world.value("job_steps_completed", job_id="ft-1") is not None
        assert world.value("job_training_loss", job_id="ft-1") is None
        assert world.value("api_requests_total", endpoint="metrics", code="body") == 1
