"""What limits requests about single jobs: the budget of a minute, pauses, and the backoff of a job or an endpoint."""

import math

import pytest

from exporter.api import ApiError
from exporter.poller import Schedule, Task
from exporter.poller.backoff import Budget

ERROR = ApiError("http", "HTTP 500", 500)
NOT_FOUND = ApiError("http", "HTTP 404", 404)
ACTIVE = Task("retrieve", "ft-1", ended=False)
ENDED = Task("retrieve", "ft-2", ended=True)
T = 1000.0


def details(number: int) -> Task:
    return Task("retrieve", f"ft-{number}", ended=False)


def fail(budget: Budget, task: Task, now: float = T, error: ApiError = ERROR) -> None:
    budget.sent(task, now, now)
    budget.failed(task, error, now)


def test_a_minute_has_room_for_so_many_requests() -> None:
    budget = Budget(Schedule(requests_per_minute=2))
    for now in (T, T + 10):
        assert not budget.is_spent(now)
        budget.sent(ACTIVE, now, now)
    assert budget.is_spent(T + 59.9)
    assert not budget.is_spent(T + 60)


def test_a_task_that_was_never_attempted_comes_first() -> None:
    assert Budget(Schedule()).asked(ACTIVE, T) == 0


def test_a_task_is_dated_by_its_last_attempt() -> None:
    budget = Budget(Schedule())
    budget.sent(ACTIVE, T, 0.0)
    budget.succeeded(ACTIVE)
    assert budget.asked(ACTIVE, T) == T


def test_a_finished_job_is_attempted_once() -> None:
    budget = Budget(Schedule())
    budget.sent(ENDED, T, 0.0)
    budget.succeeded(ENDED)
    assert budget.asked(ENDED, T + 1e9) == math.inf


def test_a_job_that_left_its_terminal_status_is_attempted_at_once() -> None:
    budget = Budget(Schedule())
    budget.sent(ENDED, T, 0.0)
    budget.succeeded(ENDED)
    assert budget.asked(Task("retrieve", "ft-2", ended=False), T) == 0


@pytest.mark.parametrize(("task", "longest"), [(ACTIVE, 300), (ENDED, 3600)])
def test_a_failing_task_backs_off_longer_if_its_job_has_ended(task: Task, longest: float) -> None:
    budget = Budget(Schedule(active=30))
    waits = []
    for _ in range(12):
        fail(budget, task)
        waits.append(next(wait for wait in range(5000) if budget.asked(task, T + wait) == T))
    assert waits[:4] == [30, 60, 120, 240]
    assert waits[-1] == longest


def test_a_success_ends_the_backoff_of_a_task() -> None:
    budget = Budget(Schedule())
    for _ in range(5):
        fail(budget, ACTIVE)
    budget.succeeded(ACTIVE)
    assert budget.asked(ACTIVE, T) == T


@pytest.mark.parametrize("failed", [False, True])
def test_a_clock_that_is_set_back_holds_up_no_task(failed: bool) -> None:
    budget = Budget(Schedule())
    budget.sent(ACTIVE, T, 0.0)
    if failed:
        budget.failed(ACTIVE, ERROR, 0.0)
    assert budget.asked(ACTIVE, T - 1) == 0


def test_details_older_than_the_list_are_attempted_again_after_a_backoff() -> None:
    budget = Budget(Schedule(active=30))
    budget.sent(ENDED, T, T)
    budget.succeeded(ENDED, outdated=True)
    assert budget.asked(ENDED, T + 29) == math.inf
    assert budget.asked(ENDED, T + 30) == T


def test_an_endpoint_that_fails_for_three_jobs_in_a_row_pauses() -> None:
    budget = Budget(Schedule(active=30))
    fail(budget, details(1))
    fail(budget, details(1))
    fail(budget, details(2))
    assert budget.allows(ACTIVE, T)
    fail(budget, details(3))
    assert not budget.allows(ACTIVE, T + 29)
    assert budget.allows(ACTIVE, T + 30)
    assert budget.allows(Task("events", "ft-1", ended=False), T)


def test_a_success_in_between_keeps_an_endpoint_going() -> None:
    budget = Budget(Schedule())
    for number in range(10):
        fail(budget, details(number))
        if number % 2:
            budget.sent(ACTIVE, T, T)
            budget.succeeded(ACTIVE)
    assert budget.allows(ACTIVE, T)


def test_the_pause_of_an_endpoint_doubles_with_each_attempt_up_to_five_minutes() -> None:
    budget = Budget(Schedule(active=30))
    fail(budget, details(1))
    fail(budget, details(2))
    now, pauses = T, []
    for number in range(6):
        fail(budget, details(number + 3), now)
        pauses.append(next(pause for pause in range(1000) if budget.allows(ACTIVE, now + pause)))
        now += pauses[-1]
    assert pauses == [30, 60, 120, 240, 300, 300]


def test_requests_sent_before_a_pause_do_not_prolong_it() -> None:
    budget = Budget(Schedule(active=30))
    for number in range(50):
        fail(budget, details(number))
    assert budget.allows(ACTIVE, T + 30)


def test_jobs_that_are_not_found_do_not_count_against_the_endpoint() -> None:
    budget = Budget(Schedule())
    for number in range(50):
        fail(budget, details(number), error=NOT_FOUND)
    assert budget.allows(ACTIVE, T)
    assert budget.asked(details(1), T) == math.inf


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (ApiError("http", "HTTP 429", 429), 30),
        (ApiError("http", "HTTP 429", 429, retry_after=77), 77),
        (ApiError("http", "HTTP 503", 503, retry_after=77), 77),
        (ApiError("http", "HTTP 429", 429, retry_after=3600), 300),
        (ERROR, 0),
    ],
)
def test_the_api_can_ask_for_a_pause_of_all_requests_about_jobs(error: ApiError, pause: float) -> None:
    budget = Budget(Schedule(active=30))
    fail(budget, ACTIVE, error=error)
    assert not budget.is_spent(T + pause)
    assert pause == 0 or budget.is_spent(T + pause - 1)


def test_jobs_that_left_the_list_are_forgotten() -> None:
    budget = Budget(Schedule())
    for task in (ENDED, details(8), details(9)):
        fail(budget, task)
    budget.forget_all_but({"ft-2"})
    assert budget.asked(ENDED, T) == math.inf
    assert budget.asked(details(8), T) == 0


def test_an_answer_about_a_job_that_left_the_list_is_accepted() -> None:
    budget = Budget(Schedule())
    for task in (details(8), details(9)):
        budget.sent(task, T, T)
    budget.forget_all_but(set())
    budget.succeeded(details(8))
    budget.failed(details(9), ERROR, T)
    assert budget.asked(details(9), T) == 0
