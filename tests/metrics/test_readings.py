"""What the metrics of jobs and accounts say: sums, unknown values, names, models."""

from typing import Any

import pytest

from exporter.metrics import PREFIX, ROWS, Scope, samples
from tests.state.history import WHOLE, History, job

ROW = {row.name.removeprefix(PREFIX): row for row in ROWS}


def account(name: str, *jobs: Any) -> dict[tuple[str, ...], float]:
    """The samples of an account's metric after a list of these jobs: label values and value."""
    reading = ROW[name].read(History().list(0, *jobs).view)
    return {tuple(label for _, label in labels): value for _, labels, value in samples(ROW[name], reading)}


def of_job(name: str, *history: dict[str, Any]) -> dict[tuple[str, ...], float]:
    """The samples of a job's metric after lists of it."""
    told = History()
    for at, fields in enumerate(history):
        told.list(at, fields)
    return {
        tuple(label for _, label in labels): value
        for _, labels, value in samples(ROW[name], ROW[name].read(told.view.shown[0]))
    }


def test_jobs_are_counted_under_all_known_statuses_and_unknown() -> None:
    jobs = [job("running", "ft-1"), job("QUEUED", "ft-2"), job("running", "ft-3"), job("new", "ft-4")]
    assert account("jobs", *jobs) == {
        ("pending",): 0,
        ("queued",): 1,
        ("running",): 2,
        ("compressing",): 0,
        ("uploading",): 0,
        ("cancel_requested",): 0,
        ("completed",): 0,
        ("error",): 0,
        ("user_error",): 0,
        ("cancelled",): 0,
        ("unknown",): 1,
    }


@pytest.mark.parametrize("name", ["tokens", "price_usd", "epochs", "epochs_completed"])
def test_sums_leave_out_what_is_unknown_and_are_0_where_there_are_no_jobs(name: str) -> None:
    known = {"token_count": 2, "total_price": 2e9, "n_epochs": 2, "epochs": 2}
    sums = account(name, job("running", "ft-1", **known), job("running", "ft-2"), job("queued", "ft-3"))
    assert sums[("running",)] == 2
    assert ("queued",) not in sums
    assert sums[("pending",)] == 0


def test_sums_include_jobs_without_series_of_their_own() -> None:
    history = History(limit=0).list(0, job("completed", token_count=3, updated=-60 * 24 * 30))
    assert ROW["tokens"].read(history.view)[("completed",)] == 3  # type: ignore[index]  # a mapping


def test_what_the_list_leaves_out_has_no_sample() -> None:
    view = History().list(0, job(events={})).view.shown[0]
    present = {row.name for row in ROWS if row.scope is Scope.JOB and list(samples(row, row.read(view)))}
    assert {name.removeprefix(PREFIX) for name in present} == {
        "job_info",
        "job_status",
        "job_created_timestamp_seconds",
        "job_updated_timestamp_seconds",
        "job_status_since_timestamp_seconds",
    }


def test_old_names_of_fields_are_understood() -> None:
    old = job(Suffix="old", TrainingFileNumLines=5, TrainingFileSize="6")
    assert of_job("job_training_file_lines", old) == {(): 5}
    assert of_job("job_training_file_bytes", old) == {(): 6}
    assert "old" in next(iter(of_job("job_info", old)))


def test_a_batch_size_that_is_no_number_has_no_sample() -> None:
    assert of_job("job_hyperparameter", job(batch_size="max", lora_r=8)) == {}
    assert of_job("job_hyperparameter", job(batch_size=8)) == {("batch_size",): 8}


@pytest.mark.parametrize(("given", "label"), [(True, "true"), (False, "false"), ("auto", "auto"), (None, "")])
def test_train_on_inputs_is_a_word(given: object, label: str) -> None:
    [labels] = of_job("job_info", job(train_on_inputs=given))
    assert labels[6] == label


def test_the_queue_depth_is_the_largest_place_of_a_waiting_job() -> None:
    jobs = [job("queued", "ft-1", place=3), job("pending", "ft-2", place=8), job("running", "ft-3", place=99)]
    assert account("queue_depth", *jobs) == {(): 8}
    assert of_job("job_queue_depth", job("queued", place=3)) == {(): 3}
    assert of_job("job_queue_depth", job("running", place=3)) == {}


def test_the_price_of_the_month_is_that_of_the_jobs_created_in_it() -> None:
    jobs = [
        job("running", "ft-1", created="2026-09-01T00:00:00Z", total_price=1e9),
        job("running", "ft-2", created="2026-09-21T00:00:00+02:00", total_price=2e9),
        job("running", "ft-3", created="2026-08-31T23:59:59Z", total_price=4e9),
    ]
    assert account("month_price_usd", *jobs) == {(): 3}


def test_models_are_counted_by_status() -> None:
    jobs = [
        job("running", "ft-1", model="a"),
        job("running", "ft-2", model="a"),
        job("error", "ft-3", model="b"),
        job("queued", "ft-4"),
    ]
    counts = account("model_jobs", *jobs)
    assert counts == {("a", "running"): 2, ("b", "error"): 1, ("unknown", "queued"): 1}


def test_the_hundred_models_with_the_oldest_jobs_have_series_and_the_others_share_one() -> None:
    old = [job("running", f"ft-{n}", model=f"model-{n}", created=-1000 + n) for n in range(150)]
    counts = account("model_jobs", *old)
    assert counts.pop(("other", "running")) == 50
    assert counts == {(f"model-{n}", "running"): 1 for n in range(100)}


def test_a_new_model_moves_no_other_model() -> None:
    old = [job("running", f"ft-{n}", model=f"model-{n}", created=-1000 + n) for n in range(150)]
    new = [job("running", f"ft-new-{n}", model=f"a-{n}", created=0, total_price=1e9) for n in range(50)]
    before, after = account("model_jobs", *old), account("model_jobs", *reversed([*old, *new]))
    assert after.keys() == before.keys()
    assert account("model_price_usd", *old, *new) == {("other", "running"): 50}


def test_events_without_any_are_unknown() -> None:
    assert of_job("job_events", job(events={})) == {}
    assert of_job("job_events", job(events={"job_start": 0})) == {("info",): 1, ("warning",): 0, ("error",): 0}
    assert of_job("job_billing_limited", job()) == {}
    assert of_job("job_billing_limited", job(events={"job_start": 0})) == {(): 0}
    assert of_job("job_restarts", job(events={"job_start": 0})) == {(): 0}


def test_a_job_of_a_whole_list_needs_no_details_for_a_verdict() -> None:
    whole = job("queued", **WHOLE, events={"job_pending": -60})
    assert of_job("job_stuck", whole) == {("queued",): 0}
    assert of_job("job_checked_timestamp_seconds", whole) == {}


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
