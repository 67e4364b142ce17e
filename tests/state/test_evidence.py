"""Which answers count as evidence, and what is not judged at all."""

import pytest

from exporter.metrics import ROWS
from tests.state.history import WHOLE, History, job, minutes


def started() -> History:
    """A job that is seen to start at 0."""
    return History().list(-1, job("queued")).list(0, job(started=0))


def stepping() -> History:
    """A job that made two steps, the last at 10: the next is due at 70."""
    history = started()
    for step, at in enumerate((5, 10), start=1):
        history.details(at, job(started=0, steps=step))
    assert history.deadline() == 70
    return history


def test_a_job_is_stuck_when_the_evidence_is_past_the_deadline() -> None:
    history = stepping()
    assert history.details(70, job(started=0, steps=2)).verdict().stuck is False
    assert history.details(70.1, job(started=0, steps=2)).verdict().stuck is True
    assert history.details(80, job(started=0, steps=3)).verdict().stuck is False


def test_an_error_is_no_evidence() -> None:
    history = stepping().fails(200, "retrieve").fails(200, "metrics").fails(200, "events").list_fails(200)
    assert history.list(210, job(started=0)).verdict().stuck is False


def test_an_outage_freezes_the_verdict() -> None:
    history = stepping().details(71, job(started=0, steps=2))
    for at in range(72, 600, 10):
        history.list_fails(at)
    assert history.verdict().stuck is True


def test_details_that_have_shown_a_step_are_evidence_without_rows() -> None:
    assert stepping().details(71, job(started=0, steps=2)).verdict().stuck is True


def test_rows_that_have_been_seen_are_evidence_without_details() -> None:
    history = started().rows(9, 6, 7, 8)
    assert history.deadline() == 68
    assert history.rows(69).verdict().stuck is True


def test_details_are_no_evidence_where_only_rows_have_shown_life() -> None:
    assert started().rows(9, 6, 7, 8).details(69, job(started=0)).verdict().stuck is False


def test_a_step_counter_that_stays_at_zero_is_no_evidence() -> None:
    history = started().details(1, job(started=0, steps=0)).rows(9, 6, 7, 8)
    assert history.details(200, job(started=0, steps=0)).verdict().stuck is False
    assert history.rows(201, 200, step=4).verdict().stuck is False
    assert history.rows(441).verdict().stuck is True


def test_where_neither_has_shown_life_both_must_have_answered() -> None:
    overdue = 12 * 60 + 1
    history = started().details(overdue, job(started=0))
    assert history.verdict().stuck is None
    assert history.verdict().unjudged
    assert history.rows(overdue).verdict().stuck is True
    rows_alone = started().rows(overdue)
    assert rows_alone.verdict().stuck is None
    assert rows_alone.details(overdue, job(started=0)).verdict().stuck is True


def test_where_neither_has_shown_life_the_older_answer_is_the_evidence() -> None:
    overdue = 12 * 60 + 1
    assert started().rows(10).details(overdue, job(started=0)).verdict().stuck is False


def test_rows_that_failed_twice_count_as_none() -> None:
    overdue = 12 * 60 + 1
    history = started().details(overdue, job(started=0)).fails(10, "metrics")
    assert history.verdict().stuck is None
    assert history.fails(11, "metrics").verdict().stuck is True


def test_failed_details_excuse_no_rows() -> None:
    history = started().details(1, job(started=0)).fails(10, "retrieve").fails(11, "events").fails(12, "retrieve")
    assert history.verdict().stuck is None


def test_rows_that_fail_once_now_and_then_are_not_excused() -> None:
    history = started().details(1, job(started=0)).fails(10, "metrics").rows(11).fails(12, "metrics")
    assert history.details(12 * 60 + 1, job(started=0)).verdict().stuck is False


@pytest.mark.parametrize("status", ["compressing", "uploading", "cancel_requested"])
def test_the_list_is_the_evidence_where_only_the_status_can_show_life(status: str) -> None:
    history = started().list(10, job(status)).list(71, job(status))
    assert history.verdict().stuck is True
    assert history.verdict().checked is None


def test_the_list_is_the_evidence_where_it_is_whole() -> None:
    fields = {**WHOLE, "events": {"job_pending": -60}}
    history = History().list(0, job("queued", **fields)).list(121, job("queued", **fields))
    assert history.verdict().stuck is True
    assert history.verdict().checked is None


@pytest.mark.parametrize("status", ["pending", "queued"])
def test_waiting_jobs_are_judged_by_their_details(status: str) -> None:
    history = History().list(0, job(status, created=0)).list(121, job(status, created=0))
    assert history.verdict().stuck is None
    assert history.details(122, job(status, created=0)).verdict().stuck is True


def test_a_job_that_a_list_lacks_is_judged_by_the_last_list_that_had_it() -> None:
    history = started().list(10, job("uploading")).list(69, job("uploading"))
    assert history.deadline() == 70
    assert history.list(600).verdict().stuck is False
    assert history.list(601, job("uploading")).verdict().stuck is True


def test_the_latest_answer_about_a_job_is_when_it_was_checked() -> None:
    history = stepping().rows(12, 11)
    assert minutes(history.verdict().checked) == 12
    assert minutes(history.details(15, job(started=0, steps=3)).verdict().checked) == 15


# ------------------------------------------------------------------------------------- after a restart of the exporter


def test_a_running_job_has_no_verdict_until_its_rows_were_answered() -> None:
    history = History().list(0, job(started=-600)).details(1, job(started=-600, steps=300))
    assert history.verdict().stuck is None
    assert history.verdict().unjudged
    assert history.verdict().deadline is None
    assert history.rows(2, -2, -1).verdict().stuck is False


def test_rows_restore_what_was_known_before() -> None:
    history = History().list(0, job(started=-600)).details(1, job(started=-600, steps=300))
    history.rows(2, -120, -110, -100)
    assert history.deadline() == -40
    assert history.verdict().stuck is True


def test_times_of_the_api_survive_by_themselves() -> None:
    assert History().list(0, job("uploading", started=-61)).verdict().stuck is True
    cancelled = job("cancel_requested", events={"cancel_requested": -16})
    assert History().list(0, cancelled).verdict().stuck is True
    pending = job("pending", created=-121)
    assert History().list(0, pending).details(1, pending).verdict().stuck is True


def test_first_sight_is_progress_where_the_api_has_no_time() -> None:
    history = History().list(0, job("queued", created=-6000)).details(1, job("queued", created=-6000))
    assert history.deadline() == 120
    assert history.verdict().stuck is False


def test_a_running_job_with_epochs_of_five_hours_is_not_stuck_after_a_restart() -> None:
    history = History().list(0, job(started=-1000)).details(1, job(started=-1000, epochs=3)).rows(1)
    assert history.details(180, job(started=-1000, epochs=3)).rows(180).verdict().stuck is False


# ------------------------------------------------------------------------------------------------------------ unjudged


def test_old_evidence_leaves_the_verdict_and_makes_the_job_unjudged() -> None:
    history = stepping().details(71, job(started=0, steps=2)).list_fails(131)
    assert not history.verdict().unjudged
    history.list_fails(132)
    assert history.verdict().unjudged
    assert history.verdict().stuck is True


def test_jobs_that_have_ended_are_never_unjudged_and_have_no_verdict_about_progress() -> None:
    history = stepping().list(20, job("completed")).list_fails(6000)
    assert not history.verdict().unjudged
    assert (history.verdict().stuck, history.verdict().deadline, history.verdict().progress) == (None, None, None)


def test_counts_of_an_account_are_by_status_and_never_missing() -> None:
    history = History().list(0, job("uploading", "ft-1", started=-61), job("queued", "ft-2"), job("error", "ft-3"))
    rows = {row.name.removeprefix("together_finetune_"): row for row in ROWS}
    assert rows["stuck_jobs"].read(history.view) == {
        ("pending",): 0,
        ("queued",): 0,
        ("running",): 0,
        ("compressing",): 0,
        ("uploading",): 1,
        ("cancel_requested",): 0,
        ("unknown",): 0,
    }
    assert rows["failed_jobs"].read(history.view) == {("error",): 1, ("user_error",): 0}
    unjudged = rows["unjudged_jobs"].read(history.view)
    assert isinstance(unjudged, dict)
    assert {status for (status,), count in unjudged.items() if count} == {"queued"}
