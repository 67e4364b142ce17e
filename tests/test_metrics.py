"""What the figures say of a job and of an account."""

import subprocess
from typing import Any

import pytest

from exporter.exposition import Exposition
from exporter.metrics import ROWS
from tests.support import NOW, PREFIX, Samples, Wire, World, http, job, jobs_json

FULL = job(
    "ft-full",
    "running",
    created_at="2026-09-21T10:00:00Z",
    updated_at="2026-09-21T14:00:00.123456789Z",
    started_at="2026-09-21T15:13:20+01:00",  # NOW
    progress={"estimate_available": True, "seconds_remaining": 600.5},
    model="meta-llama/Llama-3",
    model_output_name="me/Llama-3-mine",
    suffix="mine",
    training_file="file-1",
    validation_file="file-2",
    from_checkpoint="ft-0:1",
    wandb_project_name="llamas",
    train_on_inputs=True,
    training_type={"type": "Lora", "lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.1, "lora_trainable_modules": "all"},
    training_method={"method": "dpo", "dpo_beta": 0.2},
    lr_scheduler={"lr_scheduler_type": "cosine", "lr_scheduler_args": {"min_lr_ratio": 0.1, "num_cycles": 0.5}},
    batch_size=32,
    learning_rate=1e-5,
    warmup_ratio=0.03,
    max_grad_norm=1,
    weight_decay=0.01,
    eval_steps=5,
    token_count=1_000_000,
    param_count=8_000_000_000,
    total_price=12_500_000_000,
    refund_amount=500_000_000,
    trainingfile_numlines=1000,
    trainingfile_size=123_456,
    n_epochs=4,
    epochs_completed=1,
    total_steps=200,
    steps_completed=60,
    n_evals=10,
    evals_completed=3,
    n_checkpoints=2,
    queue_depth=0,
    events=[
        {"type": "JOB_PENDING", "level": "info", "message": "m", "created_at": "2026-09-21T10:00:00Z"},
        {"type": "checkpoint_save", "level": "legacy_info"},
        {"type": "warning", "level": "legacy_iwarning"},
        {"type": "job_restarted", "level": "Error"},
        {"type": "refund", "level": None},
        {"type": "COMPRESSING_MODEL", "level": ""},
    ],
)


def scrape(wire: Wire, *jobs: Any) -> Samples:
    wire.answer = http(jobs_json(*jobs))
    world = World(wire.url)
    world.poll()
    return world.scrape()


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("job_status", {"status": "running"}, 1),
        ("job_created_timestamp_seconds", {}, NOW - 4 * 3600 - 800),
        ("job_updated_timestamp_seconds", {}, NOW - 800 + 0.123456),
        ("job_started_timestamp_seconds", {}, NOW),
        ("job_estimated_completion_timestamp_seconds", {}, NOW + 600.5),
        ("job_epochs", {}, 4),
        ("job_epochs_completed", {}, 1),
        ("job_steps", {}, 200),
        ("job_steps_completed", {}, 60),
        ("job_evals", {}, 10),
        ("job_evals_completed", {}, 3),
        ("job_checkpoints", {}, 2),
        ("job_checkpoints_saved", {}, 1),
        ("job_progress_ratio", {}, 0.3),
        ("job_tokens", {}, 1e6),
        ("job_parameters", {}, 8e9),
        ("job_price_usd", {}, 12.5),
        ("job_refund_usd", {}, 0.5),
        ("job_training_file_lines", {}, 1000),
        ("job_training_file_bytes", {}, 123456),
        ("job_hyperparameter", {"name": "batch_size"}, 32),
        ("job_hyperparameter", {"name": "learning_rate"}, 1e-5),
        ("job_hyperparameter", {"name": "min_lr_ratio"}, 0.1),
        ("job_hyperparameter", {"name": "num_cycles"}, 0.5),
        ("job_hyperparameter", {"name": "lora_r"}, 8),
        ("job_hyperparameter", {"name": "dpo_beta"}, 0.2),
        ("job_events", {"level": "info"}, 4),
        ("job_events", {"level": "warning"}, 1),
        ("job_events", {"level": "error"}, 1),
        ("job_restarts", {}, 1),
        ("job_billing_limited", {}, 0),
    ],
)
def test_a_job_with_everything_fills_every_series_of_it(
    wire: Wire, name: str, labels: dict[str, str], value: float
) -> None:
    samples = scrape(wire, FULL)
    assert samples.get_one(name, account="default", job_id="ft-full", **labels) == pytest.approx(value, rel=1e-12)
    assert "unknown_values_total" not in samples.names()


def test_the_names_of_a_job_stand_in_its_info(wire: Wire) -> None:
    names = {
        "model": "meta-llama/Llama-3",
        "output_name": "me/Llama-3-mine",
        "suffix": "mine",
        "training_type": "Lora",
        "training_method": "dpo",
        "lr_scheduler": "cosine",
        "train_on_inputs": "true",
        "training_file": "file-1",
        "validation_file": "file-2",
        "from_checkpoint": "ft-0:1",
        "wandb_project": "llamas",
    }
    assert scrape(wire, FULL).get_one("job_info", account="default", job_id="ft-full", **names) == 1


def test_old_names_of_fields_are_understood(wire: Wire) -> None:
    samples = scrape(wire, job("ft-1", Suffix="old", TrainingFileNumLines=5, TrainingFileSize="6"))
    assert samples.get_one("job_training_file_lines", account="default", job_id="ft-1") == 5
    assert samples.get_one("job_training_file_bytes", account="default", job_id="ft-1") == 6
    assert {dict(labels).get("suffix") for name, labels in samples if name.endswith("job_info")} == {"old"}


def test_what_the_list_leaves_out_is_no_sample(wire: Wire) -> None:
    samples = scrape(wire, job("ft-1", "running", events=[]))
    of_job = {name for name, labels in samples if ("job_id", "ft-1") in labels}
    assert {name.removeprefix(PREFIX) for name in of_job} == {
        "job_info",
        "job_status",
        "job_created_timestamp_seconds",
        "job_updated_timestamp_seconds",
        "job_status_since_timestamp_seconds",
        "job_last_progress_timestamp_seconds",
    }


@pytest.mark.parametrize(
    "fields",
    [
        {"started_at": "2026-09-21T14:13:21Z", "progress": {"estimate_available": True, "seconds_remaining": 60}},
        {"progress": {"estimate_available": True, "seconds_remaining": 60}},
        {"started_at": "2026-09-21T14:00:00Z", "progress": {"estimate_available": False, "seconds_remaining": 60}},
        {"started_at": "2026-09-21T14:00:00Z", "progress": {"estimate_available": True, "seconds_remaining": 0}},
        {"started_at": "2026-09-21T14:00:00Z", "progress": {"estimate_available": True, "seconds_remaining": -1}},
        {"started_at": "2026-09-21T14:00:00Z", "progress": None},
    ],
    ids=["started in the future", "not started", "no estimate", "nothing left", "less than nothing", "null"],
)
def test_an_estimate_that_says_nothing_is_no_sample(wire: Wire, fields: dict[str, Any]) -> None:
    assert "job_estimated_completion_timestamp_seconds" not in scrape(wire, job("ft-1", "running", **fields)).names()


def test_jobs_are_counted_under_all_known_statuses_and_unknown(wire: Wire) -> None:
    samples = scrape(wire, job("ft-1", "running"), job("ft-2", "QUEUED"), job("ft-3", "running"), job("ft-4", "new"))
    counts = {dict(labels)["status"]: value for (name, labels), value in samples.items() if name == PREFIX + "jobs"}
    assert counts == {
        "pending": 0,
        "queued": 1,
        "running": 2,
        "compressing": 0,
        "uploading": 0,
        "cancel_requested": 0,
        "cancelled": 0,
        "error": 0,
        "user_error": 0,
        "completed": 0,
        "unknown": 1,
    }


def test_sums_by_status_leave_out_what_is_not_known(wire: Wire) -> None:
    samples = scrape(
        wire,
        job("ft-1", "running", token_count=5, total_price=2e9, n_epochs=3, epochs_completed=1),
        job("ft-2", "running", token_count=6),
        job("ft-3", "queued"),
    )
    values = {
        (name, status): samples.get_one(name, account="default", status=status)
        for name in ("tokens", "price_usd", "epochs", "epochs_completed")
        for status in ("running", "queued", "pending")
    }
    assert values == {
        ("tokens", "running"): 11,
        ("tokens", "queued"): None,
        ("tokens", "pending"): 0,
        ("price_usd", "running"): 2,
        ("price_usd", "queued"): None,
        ("price_usd", "pending"): 0,
        ("epochs", "running"): 3,
        ("epochs", "queued"): None,
        ("epochs", "pending"): 0,
        ("epochs_completed", "running"): 1,
        ("epochs_completed", "queued"): None,
        ("epochs_completed", "pending"): 0,
    }


def test_the_queue_depth_is_the_largest_place_of_a_waiting_job(wire: Wire) -> None:
    samples = scrape(
        wire, job("ft-1", "queued", queue_depth=3), job("ft-2", "pending", queue_depth=8), job("ft-3", queue_depth=99)
    )
    assert samples.get_one("queue_depth", account="default") == 8
    assert samples.get_one("job_queue_depth", account="default", job_id="ft-1") == 3
    assert samples.get_one("job_queue_depth", account="default", job_id="ft-3") is None


def test_the_price_of_the_month_is_that_of_the_jobs_created_in_it(wire: Wire) -> None:
    samples = scrape(
        wire,
        job("ft-1", created_at="2026-09-01T00:00:00Z", total_price=1e9),
        job("ft-2", created_at="2026-09-21T00:00:00+02:00", total_price=2e9),
        job("ft-3", created_at="2026-08-31T23:59:59Z", total_price=4e9),
    )
    assert samples.get_one("month_price_usd", account="default") == 3


def test_models_are_counted_by_status(wire: Wire) -> None:
    samples = scrape(wire, job("ft-1", model="a"), job("ft-2", model="a"), job("ft-3", "error", model="b"), job("ft-4"))
    counts = {
        (dict(labels)["model"], dict(labels)["status"]): value
        for (name, labels), value in samples.items()
        if name == PREFIX + "model_jobs"
    }
    assert counts == {("a", "running"): 2, ("b", "error"): 1, ("unknown", "running"): 1}


@pytest.mark.parametrize("status", ["completed", "error", "user_error", "cancelled"])
def test_a_job_that_ended_says_when(wire: Wire, status: str) -> None:
    samples = scrape(wire, job("ft-1", status, updated_at="2026-09-21T14:13:20Z"))
    finished = samples.get_one("job_finished_timestamp_seconds", account="default", job_id="ft-1", status=status)
    assert finished == NOW


def test_a_billing_limit_shows(wire: Wire) -> None:
    samples = scrape(wire, job("ft-1", "cancelled", events=[{"type": "BILLING_LIMIT", "level": "error"}]))
    assert samples.get_one("job_billing_limited", account="default", job_id="ft-1") == 1


def test_progress_falls_back_on_epochs(wire: Wire) -> None:
    samples = scrape(wire, job("ft-1", n_epochs=4, epochs_completed=3), job("ft-2", n_epochs=0, epochs_completed=0))
    assert samples.get_one("job_progress_ratio", account="default", job_id="ft-1") == 0.75
    assert samples.get_one("job_progress_ratio", account="default", job_id="ft-2") is None


def test_every_row_has_a_name_of_its_own_and_says_what_it_is() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert row.name.startswith(PREFIX)
        assert row.help.endswith(".")
        assert (row.type == "counter") == row.name.endswith("_total")
        assert (row.type == "info") == row.name.endswith("_info")
        assert (
            row.unit not in ("usd", "seconds") or {"usd": "dollars", "seconds": "seconds"}[row.unit] in row.help.lower()
        )


def test_promtool_has_no_complaint(wire: Wire, promtool: str) -> None:
    wire.answer = http(
        jobs_json(FULL, job("ft-2", "error"), job("ft-3", "queued", queue_depth=3)), x_ratelimit_remaining="5"
    )
    world = World(wire.url)
    world.poll()
    page = Exposition(world.board, clock=lambda: NOW).page().body
    check = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, check=False)
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")
