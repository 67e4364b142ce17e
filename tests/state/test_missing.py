"""Jobs that a list lacks: kept for a while, remembered for longer, and then forgotten."""

from collections.abc import Iterable

from exporter.metrics import ROWS
from tests.state.history import History, job, minutes

DAY = 24 * 60
REMEMBERED = 1000


def missing_jobs(history: History) -> object:
    [row] = [row for row in ROWS if row.name.endswith("missing_jobs")]
    return row.read(history.view)


def test_a_job_is_kept_for_three_minutes_after_the_last_list_that_had_it() -> None:
    history = History().list(0, job())
    for at in (0.5, 1, 1.5, 2, 2.5):
        assert "ft-1" in history.list(at).state.jobs
    assert "ft-1" not in history.list(3).state.jobs


def test_a_job_is_gone_after_three_minutes_where_polls_a_minute_apart_come_early() -> None:
    history = History().list(0, job())
    for at in (0.95, 1.9):
        assert "ft-1" in history.list(at).state.jobs
    assert "ft-1" not in history.list(2.85).state.jobs


def test_a_missing_job_is_kept_for_two_lists_if_that_is_longer() -> None:
    history = History().list(0, job())
    for at in (5, 10):
        assert "ft-1" in history.list(at).list_fails(at + 1).state.jobs
    assert "ft-1" not in history.list(15).state.jobs


def test_a_missing_job_is_gone_after_three_lists_if_the_clock_was_days_ahead_before() -> None:
    history = History().list(7 * DAY, job()).list(7 * DAY + 1)
    for at in (0, 1):
        history.list(at)
    assert "ft-1" not in history.state.jobs


def test_missing_jobs_are_counted() -> None:
    history = History().list(0, job(), job("running", "ft-2")).list(1, job("running", "ft-2"))
    assert missing_jobs(history) == 1
    assert missing_jobs(history.list(2, job(), job("running", "ft-2"))) == 0


def test_a_job_that_is_back_in_time_is_as_before() -> None:
    history = History().list(0, job())
    before = history.job()
    assert history.list(1).list(2, job()).job() == before


def test_half_lists_make_no_job_old_or_new() -> None:
    history = History().list(-1, job("queued")).list(0, job(started=0)).details(10, job(started=0, steps=5))
    for at in range(11, 60):
        history.list(at, *([job(started=0)] if at % 3 == 0 else []))
    assert history.progress() == 10
    assert history.details(60, job(started=0, steps=6)).progress() == 60


def test_the_signs_of_life_of_a_vanished_job_are_remembered_for_a_day() -> None:
    history = History().list(0, job("queued")).details(0, job("queued", place=3))
    for at in (1, 3, 10, DAY - 1):
        history.list(at)
    assert history.list(DAY, job("queued")).progress() == 0


def test_a_vanished_job_is_forgotten_after_a_day() -> None:
    history = History().list(0, job("queued")).details(0, job("queued", place=3))
    for at in (1, 3, 10, DAY + 2):
        history.list(at)
    assert history.list(DAY + 3, job("queued")).progress() == DAY + 3


def test_answers_about_a_vanished_job_change_nothing() -> None:
    history = History().list(0, job()).list(1).list(2).list(10)
    before = history.state
    for after in (
        history.details(11, job(steps=3)),
        history.rows(11, 10),
        history.events(11, job_start=1),
        history.fails(11, "metrics"),
    ):
        assert after.state.jobs == before.jobs
        assert after.state.vanished == before.vanished


def test_a_job_that_is_deleted_while_it_is_stuck_is_gone_in_minutes() -> None:
    history = History().list(0, job("uploading", started=-61))
    assert history.verdict().stuck is True
    for at in (1, 2, 3, 4):
        history.list(at)
    assert history.view.verdicts == {}


def test_of_15000_jobs_that_came_ended_and_were_deleted_nothing_remains_after_a_day() -> None:
    history, batches = History(), 15

    def batch(number: int, status: str) -> Iterable[dict[str, object]]:
        return (job(status, f"ft-{number}-{n}", created=0, updated=0) for n in range(1000))

    for number in range(batches):
        at = 20 * number
        history.list(at, *batch(number, "running")).list(at + 5, *batch(number, "completed"))
        history.list(at + 6).list(at + 8).list(at + 10)
        assert not history.state.jobs
        assert len(history.state.vanished) <= REMEMBERED
    last = 20 * (batches - 1) + 10
    assert history.state.vanished
    history.list(last + DAY + 1)
    assert (len(history.state.jobs), len(history.state.vanished)) == (0, 0)
    assert history.state.lifecycle is not None
    assert history.state.lifecycle.finished["completed"] == 1000 * batches


def test_a_vanished_job_is_not_counted_twice() -> None:
    history = History().list(0, job()).list(1, job("completed", updated=0.5)).list(2).list(4).list(10)
    history.list(20, job("completed", updated=0.5))
    assert history.state.lifecycle is not None
    assert history.state.lifecycle.finished["completed"] == 1


def test_the_time_of_a_missing_job_is_that_of_the_first_list_without_it() -> None:
    history = History().list(0, job()).list(1).list(2)
    assert minutes(history.job().missing_since) == 1
