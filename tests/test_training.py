"""Training rows of running jobs: the newest values are exported, and only new rows are requested."""

import json
import math

from exporter.poller import Schedule
from exporter.simulator import Fault, Plan, training_rows
from tests.support import NOW, Api, Harness, job, parse, restarted, simulated

TRAINED = Schedule(training=True)
RUNNING = Plan(id="ft-1", created=NOW - 1800, train=7200, total_steps=300, n_evals=20)
NAMES = {
    "job_training_loss": "train/loss",
    "job_eval_loss": "eval/loss",
    "job_grad_norm": "train/grad_norm",
    "job_learning_rate": "train/learning_rate",
}


def test_the_newest_value_of_each_name_is_exported() -> None:
    with simulated(RUNNING, schedule=TRAINED) as (_, harness):
        for _ in range(3):
            harness.now += 600
            harness.poll()
            rows = training_rows(RUNNING, harness.now)
            for metric, name in NAMES.items():
                assert harness.value(metric, job_id="ft-1") == [row[name] for row in rows if name in row][-1]
            epoch = [row["train/epoch"] for row in rows if "train/epoch" in row][-1]
            assert harness.value("job_training_metric", job_id="ft-1", name="train/epoch") == epoch
            assert harness.value("job_training_step", job_id="ft-1") == rows[-1]["train/global_step"]
            times = [row["timestamp"] / 1e9 for row in rows if "timestamp" in row]
            assert harness.value("job_training_timestamp_seconds", job_id="ft-1") == max(times)


def test_only_rows_after_the_last_known_step_are_requested() -> None:
    with simulated(RUNNING, schedule=TRAINED) as (simulator, harness):
        harness.poll()
        step = harness.value("job_training_step", job_id="ft-1")
        harness.now += 600
        harness.poll()
        first, second = (request.query for request in simulator.requests if request.endpoint == "metrics")
        assert step is not None
        assert first == {}
        assert second == {"global_step_from": f"{step + 1:.0f}"}


def test_without_the_setting_rows_are_requested_once_after_a_restart() -> None:
    with simulated(RUNNING) as (simulator, first):
        for harness in (first, restarted(first)):
            simulator.requests.clear()
            for _ in range(5):
                harness.poll()
            assert sum(request.endpoint == "metrics" for request in simulator.requests) == 1


def test_without_the_setting_no_rows_are_requested_of_a_job_seen_to_start() -> None:
    with simulated(Plan(id="ft-1", created=NOW - 500, train=7200)) as (simulator, harness):
        for _ in range(20):
            harness.poll()
            harness.now += 30
        assert harness.value("job_status", job_id="ft-1", status="running") == 1
        assert harness.value("job_steps_completed", job_id="ft-1") is not None
        assert sum(request.endpoint == "metrics" for request in simulator.requests) <= 1  # before its first step


def test_a_loss_that_diverged_is_exported_as_nan() -> None:
    plan = Plan(id="ft-1", created=NOW - 1800, train=7200, diverges_at=0.01)
    with simulated(plan, schedule=TRAINED) as (_, harness):
        harness.now += 600
        harness.poll()
        loss = harness.value("job_training_loss", job_id="ft-1")
        assert loss is not None
        assert math.isnan(loss)


def test_the_last_values_stay_after_the_end_of_the_job() -> None:
    plan = Plan(id="ft-1", created=NOW - 1800, train=1500)
    with simulated(plan, schedule=TRAINED) as (simulator, harness):
        harness.poll()
        harness.now += 7200
        for _ in range(3):
            harness.poll()
            harness.now += 30
        assert harness.value("jobs", status="completed") == 1
        last = [row["train/loss"] for row in training_rows(plan, harness.now) if "train/loss" in row][-1]
        assert harness.value("job_training_loss", job_id="ft-1") == last
        assert sum(request.endpoint == "metrics" for request in simulator.requests) == 2


def test_after_a_restart_of_the_job_its_rows_are_requested_from_the_first() -> None:
    plan = Plan(id="ft-1", created=NOW - 1800, train=3000, fate="restart", fate_at=0.8)
    with simulated(plan, schedule=TRAINED) as (simulator, harness):
        for _ in range(6):
            harness.poll()
            harness.now += 600
        assert harness.value("job_restarts", job_id="ft-1") == 1
        rows = training_rows(plan, harness.now - 600)
        assert harness.value("job_training_step", job_id="ft-1") == rows[-1]["train/global_step"]
        assert [request.query for request in simulator.requests if request.endpoint == "metrics"].count({}) == 2


def test_training_rows_are_a_sign_of_life() -> None:
    with simulated(RUNNING, schedule=TRAINED) as (simulator, harness):
        harness.poll()
        harness.now += 600
        simulator.faults = [Fault("retrieve", status=500)]
        harness.poll()
        progress = harness.value("job_last_progress_timestamp_seconds", job_id="ft-1")
        last = harness.value("job_training_timestamp_seconds", job_id="ft-1")
        assert progress is not None
        assert last is not None
        assert progress >= last > NOW


def test_failing_training_rows_cost_nothing_else() -> None:
    with simulated(RUNNING, schedule=TRAINED) as (simulator, harness):
        simulator.faults = [Fault("metrics", status=200, body=b'{"metrics": null}')]
        harness.poll()
        assert harness.value("job_steps_completed", job_id="ft-1") is not None
        assert harness.value("job_training_loss", job_id="ft-1") is None
        assert harness.value("api_requests_total", endpoint="metrics", code="body") == 1


def trained(*rows: object) -> Harness:
    """An exporter that received a list with one running job, and these training rows."""
    api = Api(job("ft-1"), metrics=json.dumps({"metrics": rows}).encode())
    harness = api.harness(schedule=TRAINED)
    harness.poll()
    return harness


def names(harness: Harness) -> set[str]:
    """The names of the training metrics without a metric of their own."""
    return {dict(labels)["name"] for name, labels in harness.scrape() if name.endswith("_job_training_metric")}


def test_a_job_has_at_most_a_hundred_training_metrics() -> None:
    rows = [{f"train/{row}-{name}": 1.0 for name in range(100)} for row in range(300)]
    assert len(names(trained(*rows))) == 100


def test_a_bound_on_names_keeps_those_that_were_there_first() -> None:
    first = {"train/global_step": 1, "train/loss": 2.0, "train/first": 1.0}
    harness = trained(first, *({f"train/{number}": 1.0} for number in range(300)), {"train/first": 5.0})
    assert harness.value("job_training_metric", job_id="ft-1", name="train/first") == 5
    assert harness.value("job_training_loss", job_id="ft-1") == 2


def test_a_name_with_half_a_surrogate_pair_does_no_harm() -> None:
    harness = trained({"train/global_step": 1, "train/\ud83d": 1.5, "train/loss": 2.0})
    page = harness.exposition.page().body.decode()
    assert "train/\N{REPLACEMENT CHARACTER}" in names(harness)
    assert parse(page).get_one("job_training_loss", account="default", job_id="ft-1") == 2


def test_infinite_values_are_exported() -> None:
    harness = trained({"train/global_step": 1, "train/loss": math.inf, "eval/loss": -math.inf})
    assert harness.value("job_training_loss", job_id="ft-1") == math.inf
    assert harness.value("job_eval_loss", job_id="ft-1") == -math.inf


def test_rows_and_values_that_are_not_numbers_cost_no_other() -> None:
    harness = trained(5, None, {"train/loss": "low", "eval/loss": [], "x": True, "train/grad_norm": 0.5}, [])
    assert harness.value("job_grad_norm", job_id="ft-1") == 0.5
    assert not harness.scrape().names() & {"job_training_loss", "job_eval_loss", "job_training_metric"}
