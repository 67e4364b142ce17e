"""When the next sign of life is due: patience, estimates, and the table of cases."""

import pytest

from tests.state.history import WHOLE, History, job

RUNNING, WAITING, CANCELLING = 60, 120, 15  # thresholds in minutes


def started(**fields: object) -> History:
    """A job that is seen to start at 0."""
    return History().list(-1, job("queued")).list(0, job(started=0, **fields))


def stepping(*times: float) -> History:
    """A job that is seen to start at 0, and to make a step at each of these times; details arrive just before, too."""
    history = started().details(0, job(started=0, steps=0))
    for step, at in enumerate(times, start=1):
        history.details(at, job(started=0, steps=step - 1)).details(at, job(started=0, steps=step))
    return history


# ----------------------------------------------------------------------------------------------------------- patience


def test_patience_is_at_least_the_threshold() -> None:
    assert stepping(10, 20).deadline() == 20 + RUNNING


def test_patience_is_twice_the_longest_gap() -> None:
    assert stepping(10, 55, 60).deadline() == 60 + 2 * 45


def test_an_outage_is_no_gap() -> None:
    history = stepping(10, 20).details(25, job(started=0, steps=2))
    for at in range(30, 200, 10):
        history.fails(at, "retrieve")
    assert history.details(200, job(started=0, steps=3)).deadline() == 200 + RUNNING


def test_a_gap_counts_up_to_twice_the_threshold() -> None:
    assert stepping(10, 1000, 1010).deadline() == 1010 + 2 * 2 * RUNNING


def test_a_hang_after_an_earlier_hang_that_recovered_is_due_within_four_thresholds() -> None:
    history = stepping(10, 20, 620, 621)
    assert history.deadline() == 621 + 4 * RUNNING
    assert not history.details(621 + 4 * RUNNING, job(started=0, steps=4)).verdict().stuck
    assert history.details(622 + 4 * RUNNING, job(started=0, steps=4)).verdict().stuck


# ---------------------------------------------------------------------------------------------------------- the table


def test_running_with_two_moves_of_a_step() -> None:
    assert stepping(1, 2).deadline() == 2 + RUNNING


def test_running_with_two_moves_of_rows() -> None:
    assert started().rows(9, 6, 7, 8).deadline() == 8 + RUNNING


@pytest.mark.parametrize("times", [[], [10]])
def test_running_with_steps_and_fewer_than_two_moves(times: list[float]) -> None:
    assert stepping(*times).rows(11).deadline() == max(times, default=0) + 3 * RUNNING


def test_running_with_steps_and_fewer_than_two_moves_after_a_long_gap() -> None:
    assert stepping(200).deadline() == 200 + 2 * 2 * RUNNING


def test_running_with_rows_and_fewer_than_two_moves() -> None:
    assert started().rows(9, 8).deadline() == 8 + 3 * RUNNING


def test_a_step_and_its_row_are_one_move() -> None:
    assert stepping(8).rows(9, 8).deadline() == 8 + 3 * RUNNING
    history = started().rows(9, 8).details(10, job(started=0, steps=1))
    assert history.deadline() == 8 + 3 * RUNNING
    assert history.details(20, job(started=0, steps=2)).deadline() == 20 + RUNNING


def test_running_with_steps_after_a_restart_of_the_exporter() -> None:
    history = History().list(0, job(started=-600)).details(1, job(started=-600, steps=300)).rows(1)
    assert history.deadline() == 1 + 3 * RUNNING


def test_running_with_neither_steps_nor_rows() -> None:
    history = started().details(1, job(started=0)).rows(1)
    assert history.deadline() == 12 * RUNNING


def test_running_with_neither_and_an_estimate_beyond_twelve_thresholds() -> None:
    history = started(estimate=1200).details(1, job(started=0, estimate=1200)).rows(1)
    assert history.deadline() == 1200 + 1200 / 4


def test_running_with_neither_and_a_short_estimate() -> None:
    history = started(estimate=30).details(1, job(started=0, estimate=30)).rows(1)
    assert history.deadline() == 12 * RUNNING


def test_running_with_epochs_alone() -> None:
    history = started().details(300, job(started=0, epochs=1)).rows(300)
    assert history.deadline() == 300 + 12 * RUNNING


@pytest.mark.parametrize("status", ["compressing", "uploading"])
def test_finishing(status: str) -> None:
    assert started().list(50, job(status, started=49)).deadline() == 50 + RUNNING


@pytest.mark.parametrize("status", ["compressing", "uploading"])
@pytest.mark.parametrize(("estimate", "slack"), [(100, 60), (400, 100)])
def test_finishing_with_an_estimate(status: str, estimate: float, slack: float) -> None:
    assert started().list(50, job(status, started=50, estimate=estimate)).deadline() == 50 + estimate + slack


@pytest.mark.parametrize("status", ["pending", "queued"])
def test_waiting(status: str) -> None:
    history = History().list(0, job(status, created=0)).details(1, job(status, created=0, place=5))
    assert history.details(9, job(status, created=0, place=4)).deadline() == 9 + WAITING


def test_waiting_needs_no_training_rows_and_heeds_no_gap() -> None:
    history = History().list(0, job("queued")).details(1, job("queued", place=5))
    assert history.details(600, job("queued", place=4)).deadline() == 600 + WAITING


def test_cancelling_heeds_no_estimate_of_the_run_and_no_updated_at() -> None:
    history = started(estimate=1200).list(50, job("cancel_requested", started=0, estimate=1200, updated=50))
    for at in (51, 55, 60):
        history.list(at, job("cancel_requested", started=0, estimate=1200, updated=at))
    assert history.deadline() == 50 + CANCELLING


@pytest.mark.parametrize("status", ["running", "queued"])
def test_without_details_the_estimate_alone_decides(status: str) -> None:
    history = History(details=False).list(0, job(status, started=0, estimate=400))
    assert history.deadline() == 400 + max(400 / 4, RUNNING if status == "running" else WAITING)
    assert History(details=False).list(0, job(status, started=0)).verdict().stuck is None


def test_without_details_a_whole_list_decides_as_details_do() -> None:
    whole = job("queued", created=-10, **WHOLE, events={"job_pending": -10})
    assert History(details=False).list(0, whole).deadline() == WAITING


def test_an_unknown_status_has_no_verdict() -> None:
    history = History().list(0, job("dreaming", started=-6000)).details(1, job("dreaming", started=-6000))
    assert history.verdict().stuck is None
    assert history.verdict().failed is None
    assert history.verdict().unjudged


# ---------------------------------------------------------------------------------------------------------- estimates


def neither(*answers: tuple[float, dict[str, object]]) -> float | None:
    """The deadline of a job without steps and rows after these details, the first at its start."""
    history = started()
    for at, fields in answers:
        history.details(at, job(started=0, **fields))
    return history.rows(answers[-1][0]).deadline()


def test_the_first_estimate_after_a_sign_of_life_counts() -> None:
    creeping: list[tuple[float, dict[str, object]]] = [(at, {"estimate": 1200 + at}) for at in (0.0, 60.0, 120.0)]
    assert neither(*creeping) == 1200 + 300
    jumping: list[tuple[float, dict[str, object]]] = [(0, {"estimate": 1200}), (60, {"estimate": 9000})]
    assert neither(*jumping) == 1200 + 300


def test_a_sign_of_life_lets_the_next_estimate_count() -> None:
    assert neither((0, {"estimate": 1200, "epochs": 0}), (60, {"estimate": 1600, "epochs": 1})) == 1600 + 400


def test_a_row_lets_the_next_estimate_count_at_once() -> None:
    history = started(**{**WHOLE, "estimate": 1200, "events": {"job_start": 0}}).rows(10, 9)
    assert history.fails(20, "metrics").fails(21, "metrics").deadline() == 1200 + 300


def test_an_estimate_that_is_over_when_it_is_given_is_ignored() -> None:
    assert neither((30, {"estimate": 20}), (31, {"estimate": 20})) == 12 * RUNNING
    history = started().list(50, job("uploading", started=-1000, estimate=1040))
    assert history.deadline() == 50 + RUNNING


def test_an_estimate_that_comes_some_minutes_after_the_start_counts() -> None:
    history = started().list(50, job("uploading", started=50)).list(55, job("uploading", started=50, estimate=200))
    assert history.deadline() == 50 + 200 + RUNNING


def test_an_upload_that_takes_a_tenth_longer_than_estimated_is_not_stuck() -> None:
    history = started().list(50, job("uploading", started=50, estimate=600))
    assert not history.list(50 + 660, job("uploading", started=50, estimate=600)).verdict().stuck
