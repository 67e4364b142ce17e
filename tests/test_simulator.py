import json
import math
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from http.client import HTTPConnection
from typing import Any, Literal
from urllib.parse import urlsplit

import pytest

from exporter.simulator import (
    Endpoint,
    Fate,
    Fault,
    Fleet,
    Json,
    Plan,
    Script,
    Simulator,
    job,
    live,
    reference,
    training_rows,
)

START = 1_760_000_000.0
HOUR, DAY = 3600.0, 86400.0
KEY = "test-key"
TERMINAL = {"completed", "error", "user_error", "cancelled"}
ACTIVE = {"pending", "queued", "running", "compressing", "uploading", "cancel_requested"}
History = list[tuple[float, list[Json]]]
FLEET = Fleet(start=START)
COUNTERS = ("steps_completed", "epochs_completed", "evals_completed")

# Its moments: queued at 100, running at 300, training from 400 to 1400, uploading at 1500, completed at 1600.
PLAN = Plan(
    id="ft-0a1b2c3d-4e5f",
    created=START,
    pending=100,
    queued=200,
    download=100,
    train=1000,
    compress=100,
    upload=100,
    queue_depth=4,
    total_steps=100,
    n_epochs=2,
    n_evals=4,
    n_checkpoints=2,
)


OTHER = replace(PLAN, id="ft-5e6f7a8b-9c0d")
PATHS: dict[Endpoint, str] = {
    "list": "/fine-tunes",
    "retrieve": f"/fine-tunes/{PLAN.id}",
    "events": f"/fine-tunes/{PLAN.id}/events",
    "metrics": f"/fine-tunes/{PLAN.id}/metrics",
}


@dataclass
class Clock:
    """A clock that stands until a test sets it, in seconds after START."""

    at: float = 700

    def __call__(self) -> float:
        return START + self.at


def simulator(*plans: Plan, at: float, shape: Literal["live", "reference"] = "live") -> Simulator:
    return Simulator(Script(plans), key=KEY, shape=shape, clock=lambda: START + at)


def get(simulator: Simulator, path: str) -> Json:
    answer = simulator.answer(f"/v1{path}", f"Bearer {KEY}")
    assert answer.status == 200
    body: Json = json.loads(answer.body)
    return body


def status(simulator: Simulator, path: str, key: str | None = KEY) -> int:
    return simulator.answer(f"/v1{path}", None if key is None else f"Bearer {key}").status


def listed(simulator: Simulator, key: str = KEY) -> list[str]:
    jobs = json.loads(simulator.answer("/v1/fine-tunes", f"Bearer {key}").body)["data"]
    return [job["id"] for job in jobs]


def call(connection: HTTPConnection, path: str, method: str = "GET", key: str | None = KEY) -> tuple[int, Any]:
    connection.request(method, path, headers={} if key is None else {"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    content = response.read()
    assert int(response.headers["Content-Length"]) == len(content)
    return response.status, json.loads(content)


@pytest.fixture
def connection() -> Iterator[HTTPConnection]:
    with simulator(PLAN, at=700) as running:
        http = HTTPConnection(urlsplit(running.url).netloc, timeout=10)
        yield http
        http.close()


def moment(stamp: str) -> float:
    matched = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z", stamp)
    assert matched
    return datetime.fromisoformat(f"{matched[1]}+00:00").timestamp() + float(matched[2] or 0)


def types(job: Json) -> list[str]:
    return [event["type"] for event in job["events"]]


@pytest.fixture(scope="module")
def history() -> History:
    """Three simulated days of the default fleet: each moment with its jobs, a quarter of an hour apart."""
    moments = [START + quarter * HOUR / 4 / FLEET.speed for quarter in range(3 * 24 * 4)]
    return [(now, [job(plan, now) for plan in FLEET.plans(now)]) for now in moments]


# One job


@pytest.mark.parametrize(
    ("at", "status"),
    [
        (0, "pending"),
        (99, "pending"),
        (100, "queued"),
        (300, "running"),
        (1399, "running"),
        (1400, "compressing"),
        (1500, "uploading"),
        (1599, "uploading"),
        (1600, "completed"),
    ],
)
def test_a_job_goes_through_the_stages_of_its_plan(at: float, status: str) -> None:
    assert job(PLAN, START + at)["status"] == status


@pytest.mark.parametrize(
    ("fate", "status", "last"),
    [
        ("completed", "completed", ["model_upload_complete", "job_complete"]),
        ("error", "error", ["job_error"]),
        ("user_error", "user_error", ["job_user_error"]),
        ("cancelled", "cancelled", ["cancel_requested", "job_stopped"]),
        ("billing_limit", "cancelled", ["billing_limit", "job_stopped"]),
        ("restart", "completed", ["model_upload_complete", "job_complete"]),
    ],
)
def test_a_job_ends_as_its_fate_says(fate: Fate, status: str, last: list[str]) -> None:
    ended = job(replace(PLAN, fate=fate), START + DAY)
    assert ended["status"] == status
    assert types(ended)[-len(last) :] == last


def test_a_job_that_completes_tells_all_its_events_in_order() -> None:
    completed = job(PLAN, START + DAY)
    expected = """
        job_pending job_start model_downloading model_download_complete training_data_downloading
        training_data_download_complete training_start eval_complete eval_complete checkpoint_save epoch_complete
        eval_complete eval_complete checkpoint_save epoch_complete training_complete model_compressing
        model_compression_complete model_uploading model_upload_complete job_complete
    """
    assert types(completed) == expected.split()
    stamps = [moment(event["created_at"]) for event in completed["events"]]
    assert stamps == sorted(stamps)
    assert stamps[-1] == START + 1600 == moment(completed["updated_at"])


def test_a_user_cancels_through_cancel_requested() -> None:
    plan = replace(PLAN, fate="cancelled", fate_stage="queued", cancel=50)
    assert [job(plan, START + at)["status"] for at in (199, 200, 249, 250)] == [
        "queued",
        "cancel_requested",
        "cancel_requested",
        "cancelled",
    ]


def test_a_job_that_hangs_stands_still_while_running() -> None:
    plan = replace(PLAN, fate="hang", fate_at=0.3)
    hung = job(plan, START + 700)
    assert (hung["status"], hung["steps_completed"]) == ("running", 30)
    assert job(plan, START + 700 + 1000 * DAY) == hung
    assert training_rows(plan, START + 1000 * DAY)[-1]["train/global_step"] == 30


def test_a_restart_refunds_and_begins_the_training_again() -> None:
    plan = replace(PLAN, fate="restart", fate_at=0.6)
    before, after, done = (job(plan, START + at) for at in (999, 1000, DAY))
    assert [before[name] for name in COUNTERS] == [59, 1, 2]
    assert [after[name] for name in COUNTERS] == [0, 0, 0]
    assert types(after)[-3:] == ["job_restarted", "refund", "training_start"]
    assert moment(after["started_at"]) == START + 1000
    assert (before["refund_amount"], after["refund_amount"]) == (0, after["total_price"] * 6 // 10)
    assert moment(done["updated_at"]) == START + 2200
    assert [done[name] for name in COUNTERS] == [100, 2, 4]
    assert before["job_id"] != after["job_id"] == done["job_id"]


def test_the_place_in_the_queue_counts_down_while_queued() -> None:
    places = [job(PLAN, START + at)["queue_depth"] for at in (50, 100, 149, 150, 200, 250, 299, 300)]
    assert places == [None, 4, 4, 3, 2, 1, 1, 0]


def test_what_is_not_known_yet_is_null_or_0() -> None:
    early, late = job(PLAN, START + 50), job(PLAN, START + DAY)
    unknown = ("started_at", "queue_depth", "param_count", "total_steps", "job_id", "model_output_path")
    assert [early[name] for name in unknown] == [None] * len(unknown)
    assert None not in [late[name] for name in unknown]
    assert early["token_count"] == early["total_price"] == 0


def test_the_price_is_in_nano_dollars_once_the_tokens_are_counted() -> None:
    plan = replace(PLAN, token_count=1_000_000, n_epochs=3, usd_per_million_tokens=0.5)
    assert [job(plan, START + at)["total_price"] for at in (399, 400)] == [0, 1_500_000_000]


def test_the_estimate_runs_from_the_start_of_the_stage_to_its_end() -> None:
    for at, end in ((350, 1400), (1000, 1400), (1450, 1500), (1550, 1600)):
        now = job(PLAN, START + at)
        assert now["progress"]["estimate_available"]
        assert moment(now["started_at"]) + now["progress"]["seconds_remaining"] == START + end
    for at in (50, 150, 1600):
        assert job(PLAN, START + at)["progress"] == {"estimate_available": False, "seconds_remaining": 0}


def test_the_estimate_of_a_plan_can_be_wrong() -> None:
    now = job(replace(PLAN, estimate=0.5), START + 500)
    assert now["progress"]["seconds_remaining"] == 550


def test_updated_at_is_the_last_change() -> None:
    updated = [moment(job(PLAN, START + at)["updated_at"]) - START for at in (60, 160, 399, 404, 419, 1450)]
    assert updated == [0, 150, 360, 400, 410, 1400]


@pytest.mark.parametrize("digits", range(10))
def test_timestamps_have_the_fraction_digits_of_their_plan(digits: int) -> None:
    stamped = job(replace(PLAN, created=START + 0.75, fraction_digits=digits), START + 1)["created_at"]
    assert stamped == "2025-10-09T08:53:20" + (f".{'750000000'[:digits]}" if digits else "") + "Z"


def test_training_types_and_methods_carry_their_own_settings() -> None:
    lora, full, dpo = (job(replace(PLAN, **fields), START) for fields in ({}, {"lora_r": None}, {"dpo_beta": 0.2}))
    assert lora["training_type"].items() >= {"type": "Lora", "lora_r": 16, "lora_alpha": 32}.items()
    assert full["training_type"] == {"type": "Full"}
    assert (lora["training_method"], dpo["training_method"]) == (
        {"method": "sft"},
        {"method": "dpo", "dpo_beta": 0.2},
    )


def test_a_job_is_never_younger_than_new() -> None:
    assert job(PLAN, START - 1) == job(PLAN, START)


def test_no_caller_can_change_what_the_next_one_gets() -> None:
    first = job(PLAN, START + 700)
    expected = json.dumps(first)
    first["progress"]["seconds_remaining"] = first["lr_scheduler"]["lr_scheduler_args"]["num_cycles"] = -1
    first["events"].clear()
    assert json.dumps(job(PLAN, START + 700)) == expected


# Training metrics


def test_training_rows_grow_with_the_steps_and_never_change() -> None:
    early, late = training_rows(PLAN, START + 650), training_rows(PLAN, START + 900)
    assert late[: len(early)] == early
    assert [row["train/global_step"] for row in early if "train/loss" in row] == list(range(1, 26))
    assert training_rows(PLAN, START + 399) == []


def test_training_rows_are_what_together_sends() -> None:
    row = training_rows(PLAN, START + 410)[0]
    assert row.keys() == {
        *("train/global_step", "train/loss", "train/grad_norm", "train/learning_rate", "train/epoch", "timestamp")
    }
    assert row["timestamp"] == int((START + 410) * 1e9)
    assert isinstance(row["timestamp"], int)
    assert row["train/epoch"] == 0.02


def test_evaluations_are_rows_of_their_own_in_time_order() -> None:
    rows = training_rows(PLAN, START + DAY)
    evals = [row for row in rows if "eval/loss" in row]
    assert [row["train/global_step"] for row in evals] == [25, 50, 75, 100]
    assert not any("train/loss" in row for row in evals)
    assert [row["timestamp"] for row in rows] == sorted(row["timestamp"] for row in rows)


def test_the_loss_falls_with_noise_that_the_seed_decides() -> None:
    losses = [row["train/loss"] for row in training_rows(replace(PLAN, n_evals=0), START + DAY)]
    assert sum(losses[-10:]) < sum(losses[:10]) / 1.5
    assert losses != sorted(losses, reverse=True)
    other = [row["train/loss"] for row in training_rows(replace(PLAN, n_evals=0, seed=2), START + DAY)]
    assert other != losses


def test_preference_training_adds_names_to_its_rows() -> None:
    rows = training_rows(replace(PLAN, dpo_beta=0.1), START + DAY)
    assert all("train/accuracies" in row or "eval/accuracies" in row for row in rows)


def test_a_restart_begins_the_rows_anew() -> None:
    plan = replace(PLAN, fate="restart", fate_at=0.6, n_evals=0)
    steps = [row["train/global_step"] for row in training_rows(plan, START + 1100)]
    assert steps == list(range(1, 11))


def test_a_long_training_writes_some_hundreds_of_rows() -> None:
    rows = training_rows(replace(PLAN, total_steps=5000, n_evals=0), START + DAY)
    assert 200 < len(rows) <= 300


def test_a_training_that_diverges_has_a_loss_of_nan_from_that_share_on() -> None:
    rows = training_rows(replace(PLAN, diverges_at=0.4), START + DAY)
    losses = {row["train/global_step"]: row["train/loss"] for row in rows if "train/loss" in row}
    assert [step for step, loss in losses.items() if math.isnan(loss)] == list(range(40, 101))


def test_what_diverges_changes_nothing_else_in_the_rows() -> None:
    sound, diverged = (training_rows(replace(PLAN, diverges_at=share), START + DAY) for share in (None, 0.4))
    assert [row | {"train/loss": 0} for row in diverged] == [row | {"train/loss": 0} for row in sound]


def test_nan_is_written_into_the_json_as_python_does() -> None:
    path = f"/v1/fine-tunes/{PLAN.id}/metrics?global_step_from=30"
    body = simulator(replace(PLAN, diverges_at=0), at=700).answer(path, f"Bearer {KEY}").body
    assert b'"train/loss": NaN' in body


# The fleet


def test_a_plan_of_a_script_is_there_from_its_creation_on() -> None:
    script = Script([PLAN, replace(OTHER, created=START + 500)])
    moments = (-1, 0, 499, 500, DAY)
    assert [len(script.plans(START + at)) for at in moments] == [0, 1, 1, 2, 2]
    assert script.plans(START + DAY) == script.jobs


def test_the_same_seed_and_start_make_the_same_fleet() -> None:
    later = START + DAY
    assert Fleet(start=START, seed=7).plans(later) == Fleet(start=START, seed=7).plans(later)
    ids = [{plan.id for plan in Fleet(start=START, seed=seed).plans(later)} for seed in (7, 8)]
    assert not ids[0] & ids[1]


@pytest.mark.parametrize("count", [1, 6, 40])
def test_there_are_always_as_many_jobs_as_asked_for(count: int) -> None:
    fleet, seen = Fleet(start=START, jobs=count), set[str]()
    for tick in range(3 * 24 * 6):
        ids = [plan.id for plan in fleet.plans(START + tick * 600 / fleet.speed)]
        assert len(ids) == len(set(ids)) == count
        seen.update(ids)
    assert len(seen) > 8 * (count - 1)


def test_every_status_occurs_and_a_third_of_the_jobs_is_active(history: History) -> None:
    statuses: Counter[str] = Counter()
    for _, jobs in history:
        now = Counter(job["status"] for job in jobs)
        assert 0.2 < sum(now[status] for status in ACTIVE) / len(jobs) < 0.55
        statuses += now
    assert statuses.keys() == ACTIVE | TERMINAL
    assert 0.3 < sum(statuses[status] for status in ACTIVE) / statuses.total() < 0.45


def test_a_terminal_job_never_changes_and_stays_for_2_to_8_hours(history: History) -> None:
    ended: dict[str, Json] = {}
    last_seen: dict[str, float] = {}
    for now, jobs in history:
        for seen in jobs:
            last_seen[seen["id"]] = now
            if seen["id"] in ended:
                assert seen == ended[seen["id"]]
            elif seen["status"] in TERMINAL:
                ended[seen["id"]] = seen
    replaced = [name for name in ended if last_seen[name] < max(last_seen.values())]
    stays = [(last_seen[name] - moment(ended[name]["updated_at"])) * FLEET.speed / HOUR for name in replaced]
    assert len(stays) > 300
    assert 1.7 < min(stays) < max(stays) <= 8


def test_figures_never_go_back_but_at_a_restart(history: History) -> None:
    before: dict[str, Json] = {}
    restarts = 0
    for _, jobs in history:
        for seen in jobs:
            old = before.get(seen["id"], seen)
            restarted = types(seen).count("job_restarted") > types(old).count("job_restarted")
            restarts += restarted
            assert restarted or all(seen[name] >= old[name] for name in COUNTERS)
            assert types(seen)[: len(old["events"])] == types(old)
            before[seen["id"]] = seen
    assert restarts


def test_timestamps_are_in_order_and_none_is_in_the_future(history: History) -> None:
    widths = set()
    for now, jobs in history:
        for seen in jobs:
            times = [seen["created_at"], seen["started_at"] or seen["created_at"], seen["updated_at"]]
            values = [moment(stamp) for stamp in times]
            assert values == sorted(values)
            assert values[-1] <= now
            widths.add(len(seen["created_at"]))
    assert len(widths) == 10


def test_the_estimates_of_a_fleet_are_near_the_truth(history: History) -> None:
    checked = 0
    for now, jobs in history[::8]:
        for plan, seen in zip(FLEET.plans(now), jobs, strict=True):
            if plan.fate == "completed" and seen["status"] == "running":
                end = plan.created + plan.pending + plan.queued + plan.download + plan.train
                estimated = moment(seen["started_at"]) + seen["progress"]["seconds_remaining"]
                assert abs(estimated - end) < 0.1 * (plan.download + plan.train) + 1  # stamps may be whole seconds
                checked += 1
    assert checked > 100


def test_speed_makes_the_same_world_faster() -> None:
    slow, fast = Fleet(start=START, speed=1), Fleet(start=START, speed=100)
    for hours in (0, 1, 5, 30):
        now = START + hours * HOUR + 1, START + (hours * HOUR + 1) / 100
        one, other = ([job(plan, at) for plan in fleet.plans(at)] for fleet, at in zip((slow, fast), now, strict=True))
        assert [(j["id"], j["status"], types(j)) for j in one] == [(j["id"], j["status"], types(j)) for j in other]
    a, b = slow.plans(START)[0], fast.plans(START)[0]
    assert a.train == pytest.approx(100 * b.train)
    assert (a.total_steps, a.token_count) == (b.total_steps, b.token_count)


def test_jobs_differ_in_all_that_a_client_has_to_cope_with(history: History) -> None:
    ids, batches, inputs, methods, trainings, levels = (set[object]() for _ in range(6))
    for _, jobs in history:
        for seen in jobs:
            ids.add(len(seen["id"]))
            batches.add(type(seen["batch_size"]))
            inputs.add(seen["train_on_inputs"])
            methods.add(seen["training_method"]["method"])
            trainings.add(seen["training_type"]["type"])
            levels |= {event["level"] for event in seen["events"]}
    assert ids == {len("ft-01234567-89ab"), len("ft-01234567-89ab-cdef-0123-456789abcdef")}
    assert (batches, inputs) == ({str, int}, {"auto", True, False})
    assert (methods, trainings) == ({"sft", "dpo"}, {"Full", "Lora"})
    assert {"info", "warning", "error", "legacy_info", "legacy_iwarning", "legacy_ierror"} == levels


STORIES = {
    1: ("completed", "job_restarted"),
    2: ("cancelled", "billing_limit"),
    3: ("error", "job_error"),
    4: ("cancelled", "cancel_requested"),
    5: ("user_error", "job_user_error"),
}


@pytest.mark.parametrize("slot", STORIES)
def test_the_first_slots_tell_their_stories_within_two_hours(slot: int) -> None:
    for seed in range(5):
        fleet = Fleet(start=START, jobs=6, seed=seed)
        seen = job(fleet.plans(START)[slot], START + 2 * HOUR / fleet.speed)
        assert seen["status"] == STORIES[slot][0]
        assert STORIES[slot][1] in types(seen)


def test_the_first_slot_hangs_from_the_start_and_for_ever() -> None:
    fleet = Fleet(start=START, jobs=1)
    [hung] = [job(plan, START) for plan in fleet.plans(START)]
    assert hung["status"] == "running"
    assert hung["steps_completed"] > 0
    [later] = [job(plan, START + 30 * DAY) for plan in fleet.plans(START + 30 * DAY)]
    assert later == hung


# The wire


def test_the_live_list_is_truncated_and_the_detail_is_whole() -> None:
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


def test_the_reference_shape_has_the_fields_of_the_reference_page_alone() -> None:
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


def test_live_events_are_upper_case_and_bare() -> None:
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


def test_metrics_from_a_step_on_are_those_rows_only() -> None:
    running = simulator(PLAN, at=700)
    rows = get(running, f"/fine-tunes/{PLAN.id}/metrics")["metrics"]
    assert rows == training_rows(PLAN, START + 700)
    newer = get(running, f"/fine-tunes/{PLAN.id}/metrics?global_step_from=25")["metrics"]
    assert newer == [row for row in rows if row["train/global_step"] >= 25]
    assert {row["train/global_step"] for row in newer} == set(range(25, 31))
    assert get(running, f"/fine-tunes/{PLAN.id}/metrics?global_step_from=31")["metrics"] == []


def test_metrics_from_a_step_on_have_the_evaluations_of_those_steps() -> None:
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


def test_the_truth_is_there_without_http_and_in_any_shape() -> None:
    truth = [job(PLAN, START + 700)]
    assert simulator(PLAN, at=700).jobs() == simulator(PLAN, at=700, shape="reference").jobs() == truth


def test_the_clock_decides_which_jobs_there_are() -> None:
    later = replace(PLAN, id="ft-later", created=START + 500)
    assert [j["id"] for j in simulator(PLAN, later, at=499).jobs()] == [PLAN.id]
    assert [j["id"] for j in simulator(PLAN, later, at=500).jobs()] == [PLAN.id, "ft-later"]


@pytest.mark.parametrize("shape", ["live", "reference"])
def test_a_list_is_that_of_its_moment_whichever_was_asked_for_before(shape: Literal["live", "reference"]) -> None:
    clock = Clock()
    fleet = Fleet(start=START, jobs=12)
    kept = Simulator(fleet, key=KEY, shape=shape, clock=clock)
    for clock.at in (0, 0, 90, 91, 400, 399, 90, 2000, 0):
        fresh = Simulator(Fleet(start=START, jobs=12), key=KEY, shape=shape, clock=clock)
        assert get(kept, "/fine-tunes") == get(fresh, "/fine-tunes")


def test_a_list_makes_those_jobs_anew_in_which_something_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    made: list[str] = []

    def counted(plan: Plan, now: float) -> Json:
        made.append(plan.id)
        return job(plan, now)

    running = Simulator(Script([PLAN, replace(OTHER, train=DAY)]), key=KEY, clock=clock)
    monkeypatch.setattr("exporter.simulator.api.job", counted)
    for clock.at, expected in ((700, [PLAN.id, OTHER.id]), (709, []), (710, [PLAN.id]), (2000, [PLAN.id, OTHER.id])):
        made.clear()
        listed(running)
        assert made == expected


# Keys

KEYS = {"key-a": Script([PLAN]), "key-b": Script([OTHER])}


def test_each_key_sees_its_own_fleet_only() -> None:
    running = Simulator(KEYS, clock=Clock())
    assert [listed(running, key) for key in KEYS] == [[PLAN.id], [OTHER.id]]
    assert [status(running, PATHS["retrieve"], key) for key in KEYS] == [200, 404]


@pytest.mark.parametrize("key", ["key-c", "", None])
def test_a_key_of_nobody_is_refused(key: str | None) -> None:
    assert status(Simulator(KEYS, clock=Clock()), "/fine-tunes", key) == 401


def test_a_key_counts_as_a_bearer_token_only() -> None:
    running = Simulator(KEYS, clock=Clock())
    assert [running.answer("/v1/fine-tunes", f"{scheme}key-a").status for scheme in ("Basic ", "")] == [401, 401]


def test_the_truth_is_that_of_one_key() -> None:
    running = Simulator(KEYS, clock=Clock())
    assert running.jobs("key-b") == [job(OTHER, START + 700)]
    with pytest.raises(ValueError, match="too many values"):
        running.jobs()


def test_a_fleet_needs_its_key_and_a_mapping_has_them() -> None:
    with pytest.raises(TypeError, match="needs its key"):
        Simulator(Script([]))
    with pytest.raises(TypeError, match="has the keys"):
        Simulator({}, key=KEY)


# Faults


@pytest.mark.parametrize("endpoint", PATHS)
def test_a_fault_is_that_of_one_endpoint(endpoint: Endpoint) -> None:
    running = simulator(PLAN, at=700)
    running.faults = [Fault(endpoint, status=503)]
    statuses = {name: status(running, path) for name, path in PATHS.items()}
    assert statuses == dict.fromkeys(PATHS, 200) | {endpoint: 503}


def test_a_fault_of_a_job_leaves_the_others_alone() -> None:
    running = simulator(PLAN, OTHER, at=700)
    running.faults.append(Fault("retrieve", status=500, job_id=OTHER.id))
    assert [status(running, f"/fine-tunes/{plan.id}") for plan in (PLAN, OTHER)] == [200, 500]


def test_a_fault_of_a_key_leaves_the_others_alone() -> None:
    running = Simulator(KEYS, clock=Clock())
    running.faults.append(Fault("list", status=500, key="key-b"))
    assert [status(running, "/fine-tunes", key) for key in KEYS] == [200, 500]


def test_the_first_fault_that_matches_applies() -> None:
    running = simulator(PLAN, at=700)
    running.faults = [Fault("events", status=500), Fault("list", status=502), Fault("list", status=504)]
    assert status(running, "/fine-tunes") == 502


def test_faults_come_and_go_between_requests() -> None:
    running = simulator(PLAN, at=700)
    seen = [status(running, "/fine-tunes")]
    running.faults.append(Fault("list", status=529))
    seen.append(status(running, "/fine-tunes"))
    running.faults.clear()
    assert [*seen, status(running, "/fine-tunes")] == [200, 529, 200]


def test_a_fault_has_the_error_body_of_the_api_by_default() -> None:
    running = simulator(PLAN, at=700)
    running.faults = [Fault("list", status=402)]
    error = json.loads(running.answer("/v1/fine-tunes", f"Bearer {KEY}").body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}


def test_a_fault_with_a_body_and_headers_is_sent_as_it_is() -> None:
    with simulator(PLAN, at=700) as running:
        running.faults = [Fault("list", status=529, body=b"<html>", headers={"Content-Type": "text/html", "X-A": "b"})]
        client = HTTPConnection(urlsplit(running.url).netloc, timeout=10)
        client.request("GET", "/v1/fine-tunes", headers={"Authorization": f"Bearer {KEY}"})
        response = client.getresponse()
        assert (response.status, response.read()) == (529, b"<html>")
        assert response.headers.get_all("Content-Type") == ["text/html"]
        assert response.headers["X-A"] == "b"
        client.close()


def test_a_late_answer_is_the_ordinary_one_of_its_own_time() -> None:
    times = iter([START + 700, START + DAY])
    running = Simulator(Script([PLAN]), key=KEY, clock=lambda: next(times))
    running.faults = [Fault("list", latency=0.05)]
    before = time.monotonic()
    [late] = get(running, "/fine-tunes")["data"]
    assert time.monotonic() - before >= 0.05
    assert late == live(job(PLAN, START + DAY))


def test_stopping_does_not_wait_for_an_answer_that_is_late() -> None:
    asked = threading.Event()

    def clock() -> float:
        asked.set()
        return START

    running = Simulator(Script([PLAN]), key=KEY, clock=clock).start()
    running.faults = [Fault("list", latency=60)]
    client = HTTPConnection(urlsplit(running.url).netloc, timeout=30)
    client.request("GET", "/v1/fine-tunes", headers={"Authorization": f"Bearer {KEY}"})
    asked.wait()
    stopping = threading.Thread(target=running.stop)
    stopping.start()
    stopping.join(30)
    assert not stopping.is_alive()
    assert client.sock.recv(1) == b""
    client.close()


# The budget


def test_a_call_above_the_budget_is_refused_until_a_minute_after_the_oldest() -> None:
    clock, statuses = Clock(), {}
    running = Simulator(Script([PLAN]), key=KEY, clock=clock, requests_per_minute=2)
    for clock.at in (0, 20, 30, 59.5, 60, 61, 80):
        statuses[clock.at] = status(running, "/fine-tunes")
    assert statuses == {0: 200, 20: 200, 30: 429, 59.5: 429, 60: 200, 61: 429, 80: 200}


def test_a_refusal_says_in_how_many_whole_seconds_a_call_is_allowed_again() -> None:
    clock = Clock(0)
    running = Simulator(Script([PLAN]), key=KEY, clock=clock, requests_per_minute=1)
    status(running, "/fine-tunes")
    waits = {}
    for clock.at in (0, 19.5, 59.5):
        refusal = running.answer("/v1/fine-tunes", f"Bearer {KEY}")
        waits[clock.at] = refusal.headers["retry-after"]
        assert json.loads(refusal.body)["error"].keys() == {"message", "type", "param", "code"}
    assert waits == {0: "60", 19.5: "41", 59.5: "1"}


def test_the_budget_is_one_for_all_endpoints_and_another_for_each_key() -> None:
    running = Simulator(KEYS, clock=Clock(), requests_per_minute=3)
    assert [status(running, path, "key-a") for path in PATHS.values()] == [200, 200, 200, 429]
    assert status(running, "/fine-tunes", "key-b") == 200


def test_every_answer_of_a_budgeted_simulator_tells_of_the_budget() -> None:
    running = Simulator(Script([PLAN]), key=KEY, clock=Clock(), requests_per_minute=3)
    running.faults = [Fault("events", status=500)]
    calls = [(PATHS["list"], KEY), (PATHS["events"], KEY), ("/none", KEY), (PATHS["list"], KEY), (PATHS["list"], "x")]
    answers = [running.answer(f"/v1{path}", f"Bearer {key}") for path, key in calls]
    assert [answer.status for answer in answers] == [200, 500, 404, 429, 401]
    names = ("limit", "remaining", "reset")
    told = [tuple(answer.headers[f"x-ratelimit-{name}"] for name in names) for answer in answers]
    assert told == [("3", "2", "60"), ("3", "1", "60"), ("3", "0", "60"), ("3", "0", "60"), ("3", "2", "60")]


def test_without_a_budget_no_answer_tells_of_one() -> None:
    assert simulator(PLAN, at=700).answer("/v1/fine-tunes", f"Bearer {KEY}").headers == {}


def test_the_headers_of_a_refusal_go_over_http() -> None:
    with Simulator(Script([PLAN]), key=KEY, clock=Clock(), requests_per_minute=0) as running:
        client = HTTPConnection(urlsplit(running.url).netloc, timeout=10)
        client.request("GET", "/v1/fine-tunes")
        response = client.getresponse()
        response.read()
        assert (response.status, response.headers["Retry-After"]) == (429, "60")
        assert response.headers["x-ratelimit-limit"] == "0"
        client.close()


# Deletion


def test_a_deleted_job_is_nowhere_until_it_is_restored() -> None:
    running = simulator(PLAN, OTHER, at=700)
    running.delete(PLAN.id)
    assert [job["id"] for job in running.jobs()] == listed(running) == [OTHER.id]
    assert [status(running, PATHS[name]) for name in ("retrieve", "events", "metrics")] == [404, 404, 404]
    running.restore(PLAN.id)
    assert listed(running) == [PLAN.id, OTHER.id]
    assert status(running, PATHS["retrieve"]) == 200


# What was asked


def test_requests_are_kept_in_order_with_all_that_a_test_may_count() -> None:
    clock = Clock()
    running = Simulator(KEYS, clock=clock)
    status(running, "/fine-tunes", "key-a")
    clock.at = 701
    status(running, f"{PATHS['metrics']}?global_step_from=5", "key-b")
    status(running, "/models", None)
    seen = [(asked.endpoint, asked.job_id, asked.key, asked.query, asked.at - START) for asked in running.requests]
    assert seen == [
        ("list", None, "key-a", {}, 700),
        ("metrics", PLAN.id, "key-b", {"global_step_from": "5"}, 701),
        (None, None, None, {}, 701),
    ]


def test_requests_are_kept_whatever_became_of_them() -> None:
    running = Simulator(Script([PLAN]), key=KEY, clock=Clock(), requests_per_minute=1)
    running.faults = [Fault("events", status=500)]
    for name in ("events", "list"):
        status(running, PATHS[name])
    status(running, PATHS["retrieve"], "wrong")
    assert [asked.endpoint for asked in running.requests] == ["events", "list", "retrieve"]


def test_of_the_requests_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.simulator.api.REQUESTS_KEPT", 2)
    running = simulator(PLAN, at=700)
    for name in ("list", "retrieve", "events"):
        status(running, PATHS[name])
    assert [asked.endpoint for asked in running.requests] == ["retrieve", "events"]


# HTTP


@pytest.mark.parametrize("path", ["", f"/{PLAN.id}", f"/{PLAN.id}/events", f"/{PLAN.id}/metrics"])
def test_every_call_is_answered_over_http(connection: HTTPConnection, path: str) -> None:
    status, body = call(connection, f"/v1/fine-tunes{path}")
    assert status == 200
    assert body == get(simulator(PLAN, at=700), f"/fine-tunes{path}")


@pytest.mark.parametrize("key", [None, "", "wrong", KEY + "x"])
def test_without_the_key_a_call_is_refused(connection: HTTPConnection, key: str | None) -> None:
    status, body = call(connection, "/v1/fine-tunes", key=key)
    assert status == 401
    assert body["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    "path",
    ["/", "/fine-tunes", "/v1/models", "/v1/fine-tunes/", "/v1/fine-tunes/ft-none", f"/v1/fine-tunes/{PLAN.id}/x"],
)
def test_what_is_not_there_is_not_found(connection: HTTPConnection, path: str) -> None:
    status, body = call(connection, path)
    assert status == 404
    assert body["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_nothing_but_get_is_allowed(connection: HTTPConnection, method: str) -> None:
    status, body = call(connection, "/v1/fine-tunes", method)
    assert status == 405
    assert "message" in body["error"]


def test_a_head_request_is_refused_without_a_body(connection: HTTPConnection) -> None:
    connection.connect()
    connection.sock.sendall(b"HEAD /v1/fine-tunes HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head = b"".join(iter(lambda: connection.sock.recv(4096), b""))
    assert head.startswith(b"HTTP/1.1 405 ")
    assert head.endswith(b"\r\n\r\n")


def test_a_connection_is_kept_alive_through_answers_good_and_bad(connection: HTTPConnection) -> None:
    call(connection, "/v1/fine-tunes")
    kept = connection.sock
    assert kept is not None
    call(connection, "/v1/nothing")
    call(connection, "/v1/fine-tunes", key=None)
    status, _ = call(connection, "/v1/fine-tunes")
    assert status == 200
    assert connection.sock is kept


def test_nothing_is_written_to_the_terminal(connection: HTTPConnection, capfd: pytest.CaptureFixture[str]) -> None:
    call(connection, "/v1/fine-tunes")
    call(connection, "/v1/fine-tunes", "POST")
    assert capfd.readouterr() == ("", "")


def test_a_client_that_leaves_before_its_answer_disturbs_nobody(capfd: pytest.CaptureFixture[str]) -> None:
    asked, left = threading.Event(), threading.Event()

    def clock() -> float:
        asked.set()
        left.wait()
        return START

    with Simulator(Script((PLAN,)), key=KEY, clock=clock) as running:
        client = HTTPConnection(urlsplit(running.url).netloc, timeout=10)
        client.request("GET", "/v1/fine-tunes", headers={"Authorization": f"Bearer {KEY}"})
        asked.wait()
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leaves with a reset
        client.close()
        left.set()
        other = HTTPConnection(urlsplit(running.url).netloc, timeout=10)
        assert call(other, "/v1/fine-tunes")[0] == 200
        other.close()
    assert capfd.readouterr() == ("", "")


def test_stopping_ends_idle_connections_and_every_thread() -> None:
    before = set(threading.enumerate())
    running = simulator(PLAN, at=700).start()
    clients = [HTTPConnection(urlsplit(running.url).netloc, timeout=10) for _ in range(5)]
    for client in clients:
        call(client, "/v1/fine-tunes")
    assert set(threading.enumerate()) > before
    running.stop()
    assert set(threading.enumerate()) == before
    for client in clients:
        assert client.sock is not None
        assert client.sock.recv(1) == b""
        client.close()


def test_a_stopped_simulator_can_start_again_on_its_port() -> None:
    with simulator(PLAN, at=700) as first:
        port = urlsplit(first.url).port
        assert port
        client = HTTPConnection("127.0.0.1", port, timeout=10)
        call(client, "/v1/fine-tunes")
    client.close()
    with Simulator(Script((PLAN,)), key=KEY, port=port, clock=lambda: START) as again:
        assert urlsplit(again.url).port == port
