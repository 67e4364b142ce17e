"""The end of a job: which answer is believed, when it was, and how long a failure keeps alerting."""

import pytest

from tests.state.history import History, job, minutes

WINDOW = 360
AGO_9H, AHEAD, YEARS = -540, 10, 73 * 365 * 24 * 60


def seen_active(**fields: object) -> History:
    """A job that a list had as running at 0."""
    return History().list(0, job(**{"updated": -1, **fields}))


def finished(history: History) -> float | None:
    return minutes(history.job().finished)


# -------------------------------------------------------------------------------------------- which answer is believed


@pytest.mark.parametrize("updated", [-30, -10, None, "", YEARS], ids=["older", "same", "null", "empty", "years ahead"])
def test_a_terminal_answer_beats_a_non_terminal_one_whatever_its_time(updated: float | str | None) -> None:
    history = seen_active(updated=-10).list(1, job("error", updated=updated))
    assert history.job().job.status.name == "error"
    assert history.verdict().failed is True


def test_a_failure_is_seen_after_one_answer_years_ahead() -> None:
    assert seen_active(updated=YEARS).list(1, job("error", updated=0.5)).verdict().failed is True


@pytest.mark.parametrize("updated", [-5, -1, None], ids=["older", "same", "null"])
def test_a_non_terminal_answer_that_is_not_newer_is_believed_when_three_lists_in_a_row_say_so(
    updated: float | None,
) -> None:
    history = seen_active().list(1, job("error", updated=-1))
    for at, status in ((2, "error"), (3, "error"), (4, "running")):
        assert history.list(at, job(updated=updated)).job().job.status.name == status


def test_lists_that_take_turns_are_not_in_a_row() -> None:
    history = seen_active().list(1, job("error", updated=-1))
    for at in range(2, 20, 3):
        history.list(at, job(updated=-2)).list(at + 1, job(updated=-2)).list(at + 2, job("error", updated=-1))
        assert history.job().job.status.name == "error"


def test_a_strictly_newer_non_terminal_answer_is_believed_at_once() -> None:
    history = seen_active().list(1, job("error", updated=0.5)).list(2, job(updated=1.5))
    assert history.job().job.status.name == "running"
    assert history.verdict().failed is None


def test_one_answer_ten_years_ahead_does_not_outlast_the_next() -> None:
    history = seen_active(updated=YEARS, token_count=1).list(1, job(updated=0.5, token_count=2))
    assert history.job().fields.get("token_count") == 2


def test_a_replica_that_lags_does_not_flap() -> None:
    history = History().list(0, job("queued", updated=-10)).list(1, job(updated=0.5))
    for at in range(2, 20, 2):
        history.list(at, job("queued", updated=-10))
        assert history.job().job.status.name == "running"
        history.list(at + 1, job(updated=0.5))
    assert minutes(history.job().entered) == 1


def test_a_job_that_leaves_a_terminal_status_loses_its_end_and_counts_again() -> None:
    history = seen_active().list(1, job("error", updated=0.5)).details(2, job("error", updated=0.5))
    assert history.job().final
    assert finished(history) == 0.5
    history.list(10, job(updated=9))
    assert finished(history) is None
    assert not history.job().final
    history.list(20, job("completed", updated=19))
    assert finished(history) == 19
    assert not history.job().final
    assert history.details(21, job("completed", updated=19)).job().final
    assert history.verdict().failed is False
    assert history.state.lifecycle is not None
    assert history.state.lifecycle.finished == {"completed": 1, "error": 1, "user_error": 0, "cancelled": 0}


# ------------------------------------------------------------------------------------------------------ when it was


@pytest.mark.parametrize(
    ("end", "expected"),
    [(0.5, 0.5), (AGO_9H, 0), (-10, 0), (3, 1), (AHEAD, 1), (None, 1), (YEARS, 1)],
    ids=["right", "9 h ago", "10 minutes behind", "a little ahead", "10 minutes ahead", "null", "years ahead"],
)
@pytest.mark.parametrize("source", ["updated_at", "the event"])
def test_the_end_lies_between_the_last_list_that_had_the_job_active_and_now(
    source: str, end: float | None, expected: float
) -> None:
    fields = {"updated": end} if source == "updated_at" else {"updated": None, "events": {"job_error": end}}
    history = seen_active(updated=None).list(1, job("error", **fields))
    assert finished(history) == expected
    assert history.verdict().failed is True


def test_the_event_of_the_end_tells_it_more_exactly_than_updated_at() -> None:
    assert finished(History().list(0, job("error", updated=-1, events={"JOB_ERROR": -7}))) == -7


def test_the_end_does_not_move_when_the_job_changes_later() -> None:
    history = seen_active().list(1, job("completed", updated=0.5)).list(60, job("completed", updated=59))
    assert finished(history) == 0.5


def test_a_job_that_ended_while_it_was_missing_ended_after_the_last_list_that_had_it() -> None:
    history = seen_active().list(5, job(updated=-1))
    for at in (6, 8, 20, 60):
        history.list(at)
    assert finished(history.list(90, job("error", updated=30))) == 30


def test_the_end_without_any_change_is_the_newest_time_known() -> None:
    assert finished(History().list(0, job("error", updated=None, started=-20))) == -20
    assert finished(History().list(0, job("error", updated=None))) == -60


# ----------------------------------------------------------------------------------------------------- failure window


def test_a_failure_alerts_until_the_failure_window_is_over() -> None:
    history = seen_active().list(1, job("error", updated=0.5))
    assert history.list(WINDOW, job("error", updated=0.5)).verdict().failed is True
    assert history.list(WINDOW + 1, job("error", updated=0.5)).verdict().failed is False


def test_the_window_counts_from_the_first_sight_where_the_job_was_seen_active() -> None:
    history = seen_active()
    for at in range(10, 420, 10):
        history.list_fails(at)
    assert history.list(420, job("error", updated=2)).verdict().failed is True
    assert history.list(420 + WINDOW, job("error", updated=2)).verdict().failed is False


def test_a_job_that_came_and_failed_during_an_outage_alerts() -> None:
    history = History().list(0).list(420, job("error", created=1, updated=2))
    assert finished(history) == 2
    assert history.verdict().failed is True


def test_an_old_failure_is_silent_at_the_start_of_the_exporter() -> None:
    assert History().list(0, job("error", updated=-WINDOW - 1)).verdict().failed is False
    assert History().list(0, job("error", updated=-WINDOW + 1)).verdict().failed is True


def test_a_failure_alerts_although_the_clock_was_days_ahead_before() -> None:
    history = History().list(7 * 24 * 60, job()).list(0, job())
    assert history.list(1, job("error", updated=0.5)).verdict().failed is True


@pytest.mark.parametrize("sent", [job("error", updated=-1), job("error", updated=-1, events={"job_error": -1})])
def test_a_failure_seen_while_the_clock_was_days_ahead_alerts_for_one_window(sent: dict[str, object]) -> None:
    ahead = 7 * 24 * 60
    history = History().list(ahead, job(updated=-2)).list(ahead + 1, sent).list(0, sent)
    assert history.verdict().failed
    assert history.list(WINDOW - 1, sent).verdict().failed
    assert not history.list(WINDOW + 1, sent).verdict().failed


def test_an_old_failure_that_reappears_is_silent() -> None:
    assert History().list(0).list(1, job("error", updated=-WINDOW - 1)).verdict().failed is False


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_other_ends_are_no_failures(status: str) -> None:
    assert seen_active().list(1, job(status, updated=0.5)).verdict().failed is False


def test_a_failure_keeps_its_series_while_it_alerts_however_short_the_retention() -> None:
    history = History(retention=60.0).list(0, job()).list(1, job("error", updated=0.5))
    assert len(history.list(10, job("error", updated=0.5)).view.shown) == 1
    assert len(history.list(WINDOW + 1, job("error", updated=0.5)).view.shown) == 0
