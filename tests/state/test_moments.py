"""What is kept from one event to the next makes no difference where time alone, or a list that repeats itself, changes
what follows from a job."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from exporter.state import AccountSettings
from tests.state.both import Both
from tests.state.history import WHOLE, job, minutes
from tests.support import jobs_json

HOUR, DAY, SECOND = 60.0, 24 * 60.0, 1 / 60
NEXT_MONTH = minutes(datetime(2026, 10, 1, tzinfo=UTC).timestamp()) or 0.0

Step = Callable[[Both], None]


def account(*steps: Step, **settings: Any) -> Both:
    """An account after these steps; after each of them, what is kept makes no difference."""
    both = Both(replace(AccountSettings(), **settings))
    for step in steps:
        step(both)
        both.assert_same()
    return both


def listed(at: float, *jobs: dict[str, Any]) -> Step:
    """A list arrives."""

    def step(both: Both) -> None:
        both.now = at
        both.list(jobs_json(*jobs))

    return step


def again(at: float) -> Step:
    """The same list arrives again."""

    def step(both: Both) -> None:
        both.now = at
        both.list(both.bodies[-1])

    return step


def list_fails(at: float) -> Step:
    """A request for the list fails."""
    return lambda both: both.about(lambda history: history.list_fails(at))


def details(at: float, sent: dict[str, Any]) -> Step:
    """The details of a job arrive."""
    return lambda both: both.about(lambda history: history.details(at, sent))


def rows(at: float, *times: float) -> Step:
    """Training rows arrive."""
    return lambda both: both.about(lambda history: history.rows(at, *times))


def seen(both: Both) -> object:
    """What an instant may change."""
    jobs = {job_id: both.anew.entry(job_id) for job_id in both.state.jobs}
    entries = {
        job_id: (entry.view.verdict, entry.mark, entry.groups, entry.retained)
        for job_id, entry in jobs.items()
        if entry
    }
    times = {job_id: state.estimated_completion for job_id, state in both.state.jobs.items()}
    return entries, times, set(both.state.vanished)


def events(at: float, **times: float) -> Step:
    """The events of a job arrive."""
    return lambda both: both.about(lambda history: history.events(at, "ft-1", **times))


def whole(**events: float) -> dict[str, Any]:
    """A running job with all that the details have."""
    return job(started=-10, **WHOLE, events=events)


IN_FIVE_MINUTES = job(started=5, estimate=60)
PATIENT = job("uploading", started=-10, estimate=600)
UPLOADING = job("uploading", started=-10)
OTHER = job("completed", "ft-2")
STEPPING = job(started=-10, steps=1)
FAILED = (listed(-1, job()), listed(0, job("error", updated=0)))


@pytest.mark.parametrize("tick", [again, list_fails])
@pytest.mark.parametrize(
    ("steps", "instant"),
    [
        pytest.param([listed(0, STEPPING), details(0, STEPPING), rows(0, 0)], HOUR, id="old-details-and-rows"),
        pytest.param([listed(0, STEPPING), rows(0, 0), details(5, STEPPING)], 5 + HOUR, id="old-details"),
        pytest.param([listed(0, STEPPING), details(0, STEPPING), rows(5, 0)], 5 + HOUR, id="old-rows"),
        pytest.param([*FAILED], 6 * HOUR, id="end-of-failure-window"),
        pytest.param([*FAILED], DAY, id="failed-for-a-day"),
        pytest.param([listed(0, job(started=0, estimate=60))], 75.0, id="overdue"),
        pytest.param(
            [
                listed(0, job(started=0, estimate=600)),
                listed(1, job(started=0, estimate=600), job("running", "ft-2", started=0, estimate=60)),
            ],
            75.0,
            id="overdue-of-a-later-job",
        ),
    ],
)
def test_now_passes(steps: list[Step], instant: float, tick: Callable[[float], Step]) -> None:
    assert_moves(account(*steps), instant, tick)


@pytest.mark.parametrize(
    ("steps", "instant"),
    [
        pytest.param([listed(0, UPLOADING)], 50.0, id="deadline"),
        pytest.param([listed(0, job("completed", updated=-60))], -60 + 7 * DAY, id="retention-of-ended"),
        pytest.param([listed(0, job("dreaming", updated=-60))], -60 + 7 * DAY, id="retention-of-unknown-status"),
        pytest.param([listed(0, job("dreaming", updated=""))], -60 + 7 * DAY, id="retention-without-a-change"),
        pytest.param([listed(0, job("queued", total_price=2e9))], NEXT_MONTH, id="turn-of-the-month"),
        pytest.param([listed(0, IN_FIVE_MINUTES)], 5.0, id="start-in-the-future"),
        pytest.param([listed(0, UPLOADING), listed(1), again(2), again(5)], 1 + DAY, id="vanished"),
    ],
)
def test_the_last_list_passes(steps: list[Step], instant: float) -> None:
    assert_moves(account(*steps), instant, again)


@pytest.mark.parametrize(
    ("steps", "instant"),
    [
        pytest.param([listed(0, PATIENT)], HOUR, id="old-list"),
        pytest.param([listed(0, PATIENT), listed(1)], HOUR, id="old-list-that-had-a-missing-job"),
    ],
)
def test_now_passes_without_lists(steps: list[Step], instant: float) -> None:
    both = account(*steps)
    assert_moves(both, instant, list_fails)
    again(instant + 2)(both)
    both.assert_same()


def assert_moves(both: Both, instant: float, tick: Callable[[float], Step]) -> None:
    """That the instant changes something, and that what is kept makes no difference just before, at and after it."""
    found = []
    for at in (instant - SECOND, instant, instant + SECOND):
        tick(at)(both)
        both.assert_same()
        found.append(seen(both))
    assert found[0] != found[2]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([listed(0, UPLOADING), again(51), again(10), again(51)], id="deadline"),
        pytest.param([*FAILED, again(7 * HOUR), again(1), again(7 * HOUR)], id="failure-window"),
        pytest.param([*FAILED, again(7 * HOUR), list_fails(1), list_fails(7 * HOUR)], id="failing-list"),
        pytest.param([listed(0, job("completed")), again(8 * DAY), again(1), again(8 * DAY)], id="retention"),
        pytest.param(
            [listed(0, job("completed")), again(8 * DAY), list_fails(1), again(2)], id="failing-list-before-the-next"
        ),
        pytest.param(
            [listed(0, IN_FIVE_MINUTES), *map(again, (10, 11, 0, 1, 6))],
            id="start",
        ),
    ],
)
def test_the_clock_is_set_back(steps: list[Step]) -> None:
    account(*steps)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(details(2, job(started=20, steps=2)), id="details-with-a-start-in-the-future"),
        pytest.param(details(2, whole(job_start=1, epoch_complete=2)), id="details-with-other-events"),
        pytest.param(events(2, job_start=1, epoch_complete=2), id="other-events"),
    ],
)
def test_the_same_list_follows_an_answer_about_a_job(answer: Step) -> None:
    both = account(listed(0, whole(job_start=0)), again(1), answer)
    answered = both.state.jobs["ft-1"]
    again(3)(both)
    both.assert_same()
    assert both.state.jobs["ft-1"] != answered


def test_a_job_is_missing_and_comes_back() -> None:
    both = account(listed(0, UPLOADING, OTHER), listed(1, OTHER), again(2), listed(2.5, UPLOADING, OTHER), again(3))
    assert both.state.jobs["ft-1"].missing_since is None


def test_a_job_stays_missing_while_the_list_repeats() -> None:
    both = account(listed(0, UPLOADING, OTHER), listed(1, OTHER), again(2), again(5))
    assert set(both.state.vanished) == {"ft-1"}


def test_a_forgotten_job_comes_back() -> None:
    account(
        listed(0, UPLOADING, OTHER),
        listed(1, OTHER),
        again(2),
        again(5),
        again(2 * DAY),
        listed(2 * DAY + 1, UPLOADING),
    )
