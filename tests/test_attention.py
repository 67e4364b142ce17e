"""What needs attention, in which words and in which order."""

from datetime import UTC, datetime
from typing import Any

from exporter.state import AccountSettings, AccountView, Store
from tests.support import ABOUT, NOW, job, list_answered

HOUR, DAY = 3600.0, 86400.0
SHOWN_WHOLE = {"events": [{"type": "JOB_PENDING"}], "epochs_completed": 0, "queue_depth": 3, "param_count": 1}
STUCK = job("ft-stuck", "queued", **SHOWN_WHOLE)  # once the list has shown nothing new of it for long


def ago(seconds: float) -> str:
    """A time before the second list."""
    return datetime.fromtimestamp(NOW - seconds, UTC).isoformat()


def seen(*jobs: dict[str, Any], old: dict[str, Any] | None = None, **settings: Any) -> AccountView:
    """The account after a list with these jobs, and after another with the `old` one five hours before."""
    before = [old] if old else []
    store = Store(ABOUT, {"default": AccountSettings(**settings)})
    publisher = store.publisher("default")
    publisher.apply(list_answered(*before, at=NOW - 5 * HOUR))
    publisher.apply(list_answered(*before, *jobs))
    return store.read().accounts["default"]


def marks(view: AccountView) -> dict[str, tuple[str, float | None]]:
    """The words of each job that is marked, and the time that they are about."""
    return {entry.view.job.id: (entry.mark.words, entry.mark.since) for entry in view.entries if entry.mark}


def test_a_stuck_job_is_marked_with_its_last_progress() -> None:
    assert marks(seen(old=STUCK)) == {"ft-stuck": ("no progress for {}", NOW - 5 * HOUR)}


def test_a_failure_is_marked_for_a_day() -> None:
    view = seen(
        job("ft-new", "error", updated_at=ago(23 * HOUR)), job("ft-old", "user_error", updated_at=ago(25 * HOUR))
    )
    assert marks(view) == {"ft-new": ("failed {} ago", NOW - 23 * HOUR)}


def test_a_failure_is_marked_for_as_long_as_it_alerts() -> None:
    view = seen(job("ft-old", "error", updated_at=ago(25 * HOUR)), failure_window=2 * DAY)
    assert marks(view) == {"ft-old": ("failed {} ago", NOW - 25 * HOUR)}


def test_a_job_is_overdue_when_it_is_late_by_more_than_its_estimate_may_be_off() -> None:
    def training(job_id: str, late: float) -> dict[str, Any]:
        estimate = {"estimate_available": True, "seconds_remaining": 2 * HOUR}
        return job(job_id, started_at=ago(2 * HOUR + late), progress=estimate)

    found = marks(seen(training("ft-late", HOUR), training("ft-soon", 0.4 * HOUR)))
    assert found == {"ft-late": ("overdue {}", NOW - HOUR), "ft-soon": ("details loading", None)}


def test_a_job_whose_details_are_to_come_says_so() -> None:
    assert marks(seen(job())) == {"ft-1": ("details loading", None)}


def test_a_job_of_unknown_status_is_one_whose_progress_is_unknown() -> None:
    assert marks(seen(job(status="dreaming"))) == {"ft-1": ("progress unknown", None)}


def test_without_details_no_job_is_marked_for_what_only_details_show() -> None:
    assert marks(seen(job(), details=False)) == {}


def test_jobs_that_need_attention_come_first_then_active_ones_then_the_newest() -> None:
    view = seen(
        job("ft-done-old", "completed", updated_at=ago(3 * HOUR)),
        job("ft-done-new", "cancelled", updated_at=ago(HOUR)),
        job("ft-odd", "paused"),
        job("ft-waiting", "queued"),
        job("ft-new", "running", created_at=ago(HOUR)),
        job("ft-old", "running", created_at=ago(2 * HOUR)),
        job("ft-failed", "error", updated_at=ago(HOUR)),
        job("ft-late", started_at=ago(9 * HOUR), progress={"estimate_available": True, "seconds_remaining": 60}),
        old=STUCK,
    )
    order = [entry.view.job.id for entry in view.entries]
    assert order == [
        *("ft-stuck", "ft-failed", "ft-late"),
        *("ft-new", "ft-old", "ft-waiting", "ft-odd"),
        *("ft-done-new", "ft-done-old"),
    ]


def test_every_active_job_is_either_running_or_waiting() -> None:
    statuses = {"pending": "waiting", "queued": "waiting", "running": "running", "compressing": "running"}
    statuses |= {"uploading": "running", "cancel_requested": "running"}
    view = seen(*(job(f"ft-{status}", status, created_at=ago(40 * DAY)) for status in statuses))
    assert {entry.view.job.status.name: (entry.groups[-1:]) for entry in view.entries} == {
        status: (group,) for status, group in statuses.items()
    }


def test_a_job_belongs_to_the_month_that_it_was_created_in() -> None:
    view = seen(
        job("ft-now", "completed", created_at="2026-09-01T00:00:00Z", total_price=3e9),
        job("ft-before", "completed", created_at="2026-08-31T23:59:59Z", total_price=4e9),
        retention=90 * DAY,
    )
    assert {entry.view.job.id: entry.groups for entry in view.entries} == {"ft-now": ("month",), "ft-before": ()}
    assert view.month_price_usd == 3


def test_within_the_limit_the_jobs_that_need_attention_come_first() -> None:
    view = seen(*(job(f"ft-{i}") for i in range(3)), job("ft-failed", "error", updated_at=ago(HOUR)), limit=1)
    assert [entry.view.job.id for entry in view.entries] == ["ft-failed"]
