import time
from dataclasses import replace
from typing import Literal

import pytest

from exporter.simulator import Fleet, Simulator, job, live, reference, training_rows
from tests.simulator.support import DAY, KEY, PLAN, START, Clock, get, listed, simulator, types


def test_the_live_list_is_truncated_and_the_detail_is_complete() -> None:
    running = simulator(PLAN, at=700)
    [listed] = get(running, "/fine-tunes")["data"]
    missing = {"epochs_completed", "queue_depth", "param_count"}
    assert not missing & listed.keys()
    assert listed["events"] == []
    assert listed.keys() >= {"id", "status", "created_at", "updated_at", "progress", "started_at", "total_price"}
    detail = get(running, f"/fine-tunes/{PLAN.id}")
    assert detail.keys() >= missing | listed.keys() | {"steps_completed", "total_steps", "refund_amount", "suffix"}
    assert {name: detail[name] for name in listed if name != "events"} == {
        name: listed[name] for name in listed if name != "events"
    }


def test_the_reference_shape_has_exactly_the_fields_of_the_reference_page() -> None:
    expected = """
        id training_file validation_file model model_output_name model_output_path trainingfile_numlines
        trainingfile_size created_at updated_at n_epochs n_checkpoints n_evals batch_size learning_rate lr_scheduler
        warmup_ratio max_grad_norm weight_decay eval_steps train_on_inputs training_method training_type status
        job_id events token_count param_count total_price epochs_completed queue_depth wandb_project_name wandb_url
        from_checkpoint
    """
    running = simulator(PLAN, at=700, shape="reference")
    [listed] = get(running, "/fine-tunes")["data"]
    assert listed.keys() == set(expected.split())
    assert listed["training_type"] == {"type": "Lora"}
    assert listed == get(running, f"/fine-tunes/{PLAN.id}")


def test_live_events_are_upper_case_with_five_fields() -> None:
    running = simulator(PLAN, at=1450)
    events = get(running, f"/fine-tunes/{PLAN.id}/events")["data"]
    assert events[-1].keys() == {"object", "created_at", "level", "message", "type"}
    assert (events[0]["type"], events[-1]["type"]) == ("JOB_PENDING", "COMPRESSING_MODEL")
    assert {event["level"] for event in events} == {"Info"}
    assert get(running, f"/fine-tunes/{PLAN.id}")["events"] == events


def test_reference_events_are_lower_case() -> None:
    running = simulator(PLAN, at=1450, shape="reference")
    events = get(running, f"/fine-tunes/{PLAN.id}/events")["data"]
    assert [event["type"] for event in events] == types(job(PLAN, START + 1450))
    assert {event["level"] for event in events} == {"info"}
    assert get(running, "/fine-tunes")["data"][0]["events"] == events


@pytest.mark.parametrize(("shape", "level"), [("live", ""), ("reference", "legacy_info")])
def test_events_of_old_jobs_have_old_levels(shape: Literal["live", "reference"], level: str) -> None:
    running = simulator(replace(PLAN, legacy_levels=True), at=50, shape=shape)
    [event] = get(running, f"/fine-tunes/{PLAN.id}/events")["data"]
    assert event["level"] == level


def test_the_shapes_are_views_of_the_full_object() -> None:
    full = job(PLAN, START + 700)
    assert live(full).items() <= (full | {"events": []}).items()
    assert reference(full)["events"] == full["events"]


def test_metrics_can_start_at_a_step() -> None:
    running = simulator(PLAN, at=700)
    rows = get(running, f"/fine-tunes/{PLAN.id}/metrics")["metrics"]
    assert rows == training_rows(PLAN, START + 700)
    newer = get(running, f"/fine-tunes/{PLAN.id}/metrics?global_step_from=25")["metrics"]
    assert newer == [row for row in rows if row["train/global_step"] >= 25]
    assert {row["train/global_step"] for row in newer} == set(range(25, 31))
    assert get(running, f"/fine-tunes/{PLAN.id}/metrics?global_step_from=31")["metrics"] == []


def test_metrics_that_start_at_a_step_include_its_evaluations() -> None:
    rows = get(simulator(PLAN, at=DAY), f"/fine-tunes/{PLAN.id}/metrics?global_step_from=51&resolution=1")["metrics"]
    assert [(row["train/global_step"], "eval/loss" in row) for row in rows] == [(75, True), (100, False), (100, True)]


def test_unknown_options_of_the_metrics_are_ignored() -> None:
    metrics = f"/fine-tunes/{PLAN.id}/metrics"
    running = simulator(PLAN, at=700)
    assert get(running, f"{metrics}?logged_at_from=2025-10-09T08:00:00Z") == get(running, metrics)


@pytest.mark.parametrize("points", [1, 2, 7, 30, 99])
def test_resolution_thins_the_training_rows_but_keeps_the_newest(points: int) -> None:
    rows = get(simulator(PLAN, at=705), f"/fine-tunes/{PLAN.id}/metrics?resolution={points}")["metrics"]
    steps = [row["train/global_step"] for row in rows if "train/loss" in row]
    assert len(steps) == min(points, 30)
    assert steps[-1] == 30
    assert sum("eval/loss" in row for row in rows) == 1


def test_full_objects_are_available_without_http_whatever_the_shape() -> None:
    truth = [job(PLAN, START + 700)]
    assert simulator(PLAN, at=700).jobs() == simulator(PLAN, at=700, shape="reference").jobs() == truth


def test_the_clock_decides_which_jobs_there_are() -> None:
    later = replace(PLAN, id="ft-later", created=START + 500)
    assert [j["id"] for j in simulator(PLAN, later, at=499).jobs()] == [PLAN.id]
    assert [j["id"] for j in simulator(PLAN, later, at=500).jobs()] == [PLAN.id, "ft-later"]


@pytest.mark.parametrize("shape", ["live", "reference"])
def test_a_list_does_not_depend_on_earlier_lists(shape: Literal["live", "reference"]) -> None:
    clock = Clock()
    fleet = Fleet(start=START, jobs=12)
    kept = Simulator(fleet, key=KEY, shape=shape, clock=clock)
    for clock.at in (0, 0, 90, 91, 400, 399, 90, 2000, 0):
        fresh = Simulator(Fleet(start=START, jobs=12), key=KEY, shape=shape, clock=clock)
        assert get(kept, "/fine-tunes") == get(fresh, "/fine-tunes")


def test_an_unchanged_list_is_much_faster_than_a_new_one() -> None:
    running = simulator(*(replace(PLAN, id=f"ft-{number}") for number in range(200)), at=DAY)
    seconds = []
    for _ in range(6):
        before = time.thread_time()
        listed(running)
        seconds.append(time.thread_time() - before)
    assert min(seconds[1:]) < seconds[0] / 3
