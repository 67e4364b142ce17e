import json
from dataclasses import replace

import pytest

from exporter.simulator import (
    Fate,
    job,
    training_rows,
)
from tests.simulator.support import (
    COUNTERS,
    DAY,
    PLAN,
    START,
    moment,
    types,
)


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


def test_a_completed_job_has_all_its_events_in_order() -> None:
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


def test_a_cancelled_job_is_first_cancel_requested() -> None:
    plan = replace(PLAN, fate="cancelled", fate_stage="queued", cancel=50)
    assert [job(plan, START + at)["status"] for at in (199, 200, 249, 250)] == [
        "queued",
        "cancel_requested",
        "cancel_requested",
        "cancelled",
    ]


def test_a_job_that_hangs_keeps_running_without_progress() -> None:
    plan = replace(PLAN, fate="hang", fate_at=0.3)
    hung = job(plan, START + 700)
    assert (hung["status"], hung["steps_completed"]) == ("running", 30)
    assert job(plan, START + 700 + 1000 * DAY) == hung
    assert training_rows(plan, START + 1000 * DAY)[-1]["train/global_step"] == 30


def test_a_restart_refunds_the_lost_steps_and_repeats_the_training() -> None:
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


def test_fields_are_null_or_0_until_they_are_known() -> None:
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


def test_an_estimate_can_be_wrong_by_a_factor() -> None:
    now = job(replace(PLAN, estimate=0.5), START + 500)
    assert now["progress"]["seconds_remaining"] == 550


def test_updated_at_is_the_last_change() -> None:
    updated = [moment(job(PLAN, START + at)["updated_at"]) - START for at in (60, 160, 399, 404, 419, 1450)]
    assert updated == [0, 150, 360, 400, 410, 1400]


@pytest.mark.parametrize("digits", range(10))
def test_timestamps_have_the_fraction_digits_of_their_plan(digits: int) -> None:
    stamped = job(replace(PLAN, created=START + 0.75, fraction_digits=digits), START + 1)["created_at"]
    assert stamped == "2025-10-09T08:53:20" + (f".{'750000000'[:digits]}" if digits else "") + "Z"


def test_training_types_and_methods_have_their_own_settings() -> None:
    lora, full, dpo = (job(replace(PLAN, **fields), START) for fields in ({}, {"lora_r": None}, {"dpo_beta": 0.2}))
    assert lora["training_type"].items() >= {"type": "Lora", "lora_r": 16, "lora_alpha": 32}.items()
    assert full["training_type"] == {"type": "Full"}
    assert (lora["training_method"], dpo["training_method"]) == (
        {"method": "sft"},
        {"method": "dpo", "dpo_beta": 0.2},
    )


def test_before_its_creation_a_job_is_as_at_its_creation() -> None:
    assert job(PLAN, START - 1) == job(PLAN, START)


def test_changing_a_returned_job_changes_no_other() -> None:
    first = job(PLAN, START + 700)
    expected = json.dumps(first)
    first["progress"]["seconds_remaining"] = first["lr_scheduler"]["lr_scheduler_args"]["num_cycles"] = -1
    first["events"].clear()
    assert json.dumps(job(PLAN, START + 700)) == expected
