"""What follows from the state and the settings: verdicts, and which jobs have series of their own."""

from dataclasses import replace

import pytest

from exporter.state import AccountSettings, AccountView
from tests.state.history import History, job

DAY = 24 * 60


def shown(history: History) -> list[str]:
    """The jobs with series of their own."""
    return sorted(view.job.id for view in history.view.shown)


def finished_at(day: int, status: str = "completed") -> dict[str, object]:
    """A job that finished and was created that many days ago, named after the day."""
    return job(status, f"ft-{day}", created=-day * DAY, updated=-day * DAY)


def test_a_finished_job_keeps_its_series_for_the_retention() -> None:
    history = History().list(0, finished_at(6), finished_at(8))
    assert shown(history) == ["ft-6"]
    assert history.view.unexported == {"retention": 1, "limit": 0}
    assert shown(history.list(1.1 * DAY, finished_at(6), finished_at(8))) == []


def test_an_active_job_keeps_its_series_however_old_it_is() -> None:
    assert shown(History().list(0, job(created=-900 * DAY, updated=-900 * DAY))) == ["ft-1"]


def test_a_job_of_unknown_status_leaves_with_the_retention_by_its_last_change() -> None:
    assert shown(History().list(0, finished_at(6, "dreaming"), finished_at(8, "dreaming"))) == ["ft-6"]


def test_within_the_limit_stuck_jobs_come_first_then_failed_then_active_then_the_newest() -> None:
    jobs = {
        "ft-new": job("completed", "ft-new", created=-10),
        "ft-old": job("completed", "ft-old", created=-50),
        "ft-active": job("queued", "ft-active", created=-900),
        "ft-failed": job("error", "ft-failed", created=-901),
        "ft-stuck": job("uploading", "ft-stuck", created=-902, started=-61),
    }
    order = ["ft-stuck", "ft-failed", "ft-active", "ft-new", "ft-old"]
    for limit in range(len(order) + 1):
        history = History(limit=limit).list(0, *jobs.values())
        assert set(shown(history)) == set(order[:limit])
        assert history.view.unexported == {"retention": 0, "limit": len(order) - limit}


def test_jobs_without_series_are_still_judged() -> None:
    history = History(limit=0).list(0, job("uploading", started=-61), job("error", "ft-2"))
    assert history.view.totals.by_status("stuck") == {"uploading": 1}
    assert history.view.totals.by_status("failed") == {"error": 1}


def test_a_changed_threshold_takes_effect_without_a_new_event() -> None:
    history = History().list(0, job("uploading", started=-61))
    assert history.verdict().stuck is True
    patient = replace(history.settings, stuck_after={**history.settings.stuck_after, "uploading": 7200.0})
    assert AccountView(patient, history.state).verdicts["ft-1"].stuck is False


def test_a_changed_failure_window_takes_effect_without_a_new_event() -> None:
    state = History().list(0, job("error", updated=-10)).state
    assert AccountView(AccountSettings(), state).verdicts["ft-1"].failed is True
    assert AccountView(AccountSettings(failure_window=300.0), state).verdicts["ft-1"].failed is False


@pytest.mark.parametrize("limit", [0, 1])
def test_a_changed_limit_takes_effect_without_a_new_event(limit: int) -> None:
    state = History().list(0, job(), job("running", "ft-2")).state
    assert len(AccountView(AccountSettings(limit=limit), state).shown) == limit
