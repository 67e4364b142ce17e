"""Since when a job has its status, its estimated end, and its progress."""

import time
from typing import Any

import pytest

from tests.state.history import History, job, minutes


@pytest.mark.parametrize(
    ("status", "fields", "since"),
    [
        ("pending", {}, -60),
        ("running", {"started": -40}, -40),
        ("uploading", {"started": -40}, -40),
        ("queued", {"updated": -50}, -50),
        ("cancel_requested", {"events": {"CANCEL_REQUESTED": -20}}, -20),
        ("compressing", {"events": {"COMPRESSING_MODEL": -20}}, -20),
        ("error", {"events": {"job_error": -20}}, -20),
        ("completed", {"updated": -50}, -50),
        ("paused", {"updated": -50}, -50),
    ],
)
def test_a_status_lasts_since_the_time_that_the_api_gives_for_it(
    status: str, fields: dict[str, Any], since: float
) -> None:
    assert minutes(History().list(0, job(status, **fields)).job().status_since) == since


def test_the_start_of_a_status_stays_while_the_status_does() -> None:
    history = History().list(0, job("queued", updated=-50)).list(10, job("queued", updated=5))
    assert minutes(history.job().status_since) == -50


@pytest.mark.parametrize(("updated", "since"), [(4, 4), (-90, 0), (400, 5), (None, 5)])
def test_a_change_of_status_lies_between_two_lists(updated: float | None, since: float) -> None:
    history = History().list(0, job("running", updated=None)).list(5, job("queued", updated=updated))
    assert minutes(history.job().status_since) == since


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"started": -10, "estimate": 60}, 50),
        ({"estimate": 60}, None),
        ({"started": 1, "estimate": 60}, None),
        ({"started": -10}, None),
        ({"started": -10, "progress": {"estimate_available": False, "seconds_remaining": 60}}, None),
        ({"started": -10, "estimate": 0}, None),
        ({"started": -10, "estimate": -1}, None),
    ],
    ids=["given", "not started", "starts later", "none", "not available", "zero", "negative"],
)
def test_the_estimated_end_is_the_start_of_the_stage_plus_its_length(
    fields: dict[str, Any], expected: float | None
) -> None:
    assert minutes(History().list(0, job(**fields)).job().estimated_completion) == expected


def test_an_estimate_appears_when_its_stage_has_started() -> None:
    fields = {"started": 0.5, "estimate": 60}
    history = History().list(0, job(**fields)).list(1, job(**fields)).list(1.5, job(**fields))
    assert minutes(history.job().estimated_completion) == 60.5


def test_a_finished_job_has_no_estimated_end() -> None:
    assert History().list(0, job("completed", started=-10, estimate=60)).job().estimated_completion is None


@pytest.mark.parametrize(
    ("fields", "ratio"),
    [
        ({"steps": 30, "total_steps": 100, "epochs": 1, "n_epochs": 2}, 0.3),
        ({"epochs": 1, "n_epochs": 4}, 0.25),
        ({"steps": 30, "epochs": 1, "n_epochs": 4}, 0.25),
        ({"steps": 300, "total_steps": 100}, 1.0),
        ({"epochs": 0, "n_epochs": 0}, None),
    ],
)
def test_progress_is_by_steps_else_by_epochs(fields: dict[str, Any], ratio: float | None) -> None:
    assert History().list(0, job(**fields)).job().progress_ratio == ratio


def test_a_completed_job_has_completed_all_epochs_where_nothing_else_is_known() -> None:
    history = History().list(0, job("completed", n_epochs=4), job("error", "ft-2", n_epochs=4))
    assert history.job().epochs_completed == 4
    assert history.job("ft-2").epochs_completed is None
    assert history.details(1, job("completed", n_epochs=4, epochs=3)).job().epochs_completed == 3


def test_times_without_an_offset_are_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        created = History().list(0, job(created="2026-09-21T14:13:20")).job().job.created
    finally:
        monkeypatch.undo()
        time.tzset()
    assert minutes(created) == 0
