"""Counters of what the exporter observed: each start and end once."""

import pytest

from exporter.state import Histogram, Lifecycle
from tests.state.history import History, job


def observed(history: History) -> Lifecycle:
    """The counters of the account."""
    assert history.state.lifecycle is not None
    return history.state.lifecycle


def ends(history: History) -> dict[str, int]:
    """The statuses with which jobs were observed to finish."""
    return {status: count for status, count in observed(history).finished.items() if count}


def durations(histogram: Histogram | None) -> tuple[int, float]:
    """The number of observations, and their sum in minutes."""
    return (histogram.cumulative[-1], histogram.sum / 60) if histogram else (0, 0.0)


def test_nothing_is_counted_before_the_first_list() -> None:
    assert History().list_fails(0).state.lifecycle is None


def test_jobs_that_had_ended_at_the_first_list_are_not_counted() -> None:
    history = History().list(0, job("completed", updated=-1), job("error", "ft-2", updated=-1))
    assert ends(history) == {}
    assert observed(history).finished.keys() == {"completed", "error", "user_error", "cancelled"}


@pytest.mark.parametrize("status", ["completed", "error", "user_error", "cancelled"])
def test_a_job_that_ends_is_counted_once_by_its_status(status: str) -> None:
    history = History().list(0, job()).list(1, job(status, updated=0.5)).details(2, job(status, updated=0.5))
    assert ends(history.list(3, job(status, updated=2.5))) == {status: 1}


def test_an_end_that_details_bring_is_counted() -> None:
    assert ends(History().list(0, job()).details(1, job("error", updated=0.5))) == {"error": 1}


def test_a_job_that_came_and_went_between_two_lists_is_counted() -> None:
    events = {"job_start": 2, "job_complete": 12}
    history = History().list(0).list(30, job("completed", created=1, updated=12, events=events))
    assert ends(history) == {"completed": 1}
    assert durations(observed(history).queued) == (1, 1)
    assert durations(observed(history).ran["completed"]) == (1, 10)


def test_a_job_that_the_first_list_lacked_and_that_had_ended_before_is_not_counted() -> None:
    assert ends(History().list(0).list(1, job("completed", updated=-5))) == {}


def test_a_clock_of_the_api_that_is_ahead_makes_no_old_end_a_new_one() -> None:
    history = History().list(0, job("completed", updated=1, started=1)).list(1, job("completed", updated=1, started=1))
    assert ends(history) == {}


def test_the_wait_is_from_creation_to_start() -> None:
    history = History().list(0, job("queued", created=-10)).list(10, job(created=-10, started=5, updated=5))
    assert durations(observed(history).queued) == (1, 15)
    assert durations(observed(history.list(20, job(created=-10, started=5, updated=5))).queued) == (1, 15)


def test_the_wait_of_a_job_that_ran_at_first_sight_is_not_observed() -> None:
    assert durations(observed(History().list(0, job(started=-5)).list(1, job(started=-5))).queued) == (0, 0)


def test_the_run_is_from_start_to_end() -> None:
    history = History().list(0, job(started=-30, updated=-30)).list(10, job("completed", updated=5))
    assert durations(observed(history).ran["completed"]) == (1, 35)


def test_the_run_is_counted_when_the_details_bring_its_start() -> None:
    history = History().list(0, job("queued")).list(30, job("completed", updated=20))
    assert observed(history).ran == {}
    history.details(31, job("completed", updated=20, events={"job_start": 5, "job_complete": 20}))
    assert durations(observed(history).ran["completed"]) == (1, 15)
    assert durations(observed(history).queued) == (1, 65)


def test_a_job_that_was_cancelled_while_it_waited_has_no_run() -> None:
    history = History().list(0, job("queued")).list(10, job("cancelled", updated=5))
    assert ends(history) == {"cancelled": 1}
    assert observed(history).ran == {}
    assert durations(observed(history).queued) == (0, 0)


def test_an_observation_goes_into_the_bucket_with_the_next_upper_bound() -> None:
    histogram = Histogram.empty(1.0, 2.0)
    for value in (0.5, 1.0, 1.5, 9.0):
        histogram = histogram.observe(value)
    assert histogram.cumulative == (2, 3, 4)
    assert histogram.sum == 12
