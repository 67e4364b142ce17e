"""Which requests follow a list, in which order: from a state, without an API."""

import math
from typing import Any

import pytest

from exporter.models import TrainingPoint, parse_job
from exporter.poller import Schedule, Task, plan
from exporter.state import (
    AccountSettings,
    AccountState,
    AccountView,
    Call,
    DetailsAnswered,
    JobCallFailed,
    RowsAnswered,
)
from tests.support import NOW, job, jobs_json, list_answered

HOUR = 3600.0
LONG_AGO = {"created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-02T00:00:00Z"}
EVENTS = [{"type": "job_pending", "created_at": "2026-09-21T12:00:00Z"}]
WHOLE = {"events": EVENTS, "epochs_completed": 1, "queue_depth": 0, "param_count": 7}
DETAILS = Schedule()
TRAINING = Schedule(training=True)


class Account:
    """An account whose state follows from events that a test names."""

    def __init__(self, *jobs: Any, at: float = NOW) -> None:
        self.settings = AccountSettings()
        self.state = AccountState().after(list_answered(*jobs, at=at), self.settings)

    def lists(self, *jobs: Any, at: float) -> "Account":
        self.state = self.state.after(list_answered(*jobs, at=at), self.settings)
        return self

    def details(self, found: Any, at: float = NOW) -> "Account":
        body = jobs_json(found)[len(b'{"data": [') : -2]
        [details] = parse_job(body, found["id"]).jobs
        event = DetailsAnswered(Call(at, "retrieve", "200", 0.1, found["id"]), details)
        self.state = self.state.after(event, self.settings)
        return self

    def rows(self, job_id: str, *times: float, at: float = NOW) -> "Account":
        rows = [TrainingPoint(step, time, {"train/loss": 1.0}) for step, time in enumerate(times, start=1)]
        self.state = self.state.after(RowsAnswered(Call(at, "metrics", "200", 0.1, job_id), rows), self.settings)
        return self

    def plan(self, schedule: Schedule = DETAILS, asked: dict[tuple[str, str], float] | None = None) -> list[str]:
        """The requests as words: `retrieve ft-1`."""
        times = asked or {}
        view = AccountView(self.settings, self.state)
        return [
            f"{task.endpoint} {task.job_id}" for task in plan(view, schedule, lambda task: times.get(task.key, 0.0))
        ]


def queued(job_id: str, **fields: Any) -> Any:
    return job(job_id, "queued", **fields)


@pytest.mark.parametrize(
    ("found", "mode", "expected"),
    [
        pytest.param(queued("ft-1"), "auto", ["retrieve ft-1"], id="a truncated list"),
        pytest.param(queued("ft-1", **WHOLE), "auto", [], id="a whole list"),
        pytest.param(queued("ft-1", **WHOLE), "always", ["retrieve ft-1"], id="a whole list, always"),
        pytest.param(queued("ft-1"), "off", [], id="off"),
        pytest.param(job("ft-1", "paused"), "auto", ["retrieve ft-1"], id="an unknown status"),
        pytest.param(job("ft-1", "completed"), "auto", ["retrieve ft-1"], id="a finished job"),
        pytest.param(job("ft-1", "completed", **WHOLE), "auto", [], id="a finished job in a whole list"),
        pytest.param(job("ft-1", "paused", **LONG_AGO), "auto", [], id="an unknown status past retention"),
    ],
)
def test_details_are_requested_if_the_list_omits_them(found: Any, mode: Any, expected: list[str]) -> None:
    assert Account(found).plan(Schedule(details=mode)) == expected


def test_a_job_whose_details_arrived_after_its_end_is_left_alone() -> None:
    done = job("ft-1", "completed")
    assert Account(done).details({**done, "events": EVENTS}).plan() == []


def test_a_finished_job_without_events_is_asked_for_them() -> None:
    done = job("ft-1", "completed")
    assert Account(done).details(done).plan() == ["events ft-1"]


def test_a_job_that_runs_again_after_its_end_is_asked_about_again() -> None:
    done = job("ft-1", "error")
    account = Account(done).details({**done, "events": EVENTS})
    account.lists(queued("ft-1", updated_at="2026-09-21T14:00:00Z"), at=NOW + 30)
    assert account.plan() == ["retrieve ft-1"]


def test_nothing_is_requested_about_a_job_missing_from_the_list() -> None:
    assert Account(queued("ft-1"), queued("ft-2")).lists(queued("ft-2"), at=NOW + 30).plan() == ["retrieve ft-2"]


def test_the_job_that_was_asked_about_longest_ago_comes_first() -> None:
    account = Account(*(queued(f"ft-{number}") for number in range(4)))
    asked = {("retrieve", "ft-0"): 30.0, ("retrieve", "ft-1"): 10.0, ("retrieve", "ft-3"): 20.0}
    assert account.plan(asked=asked) == [f"retrieve ft-{number}" for number in (2, 1, 3, 0)]


def test_a_job_that_backs_off_is_left_out() -> None:
    account = Account(queued("ft-1"), queued("ft-2"))
    assert account.plan(asked={("retrieve", "ft-1"): math.inf}) == ["retrieve ft-2"]


def test_details_and_training_rows_take_turns() -> None:
    account = Account(job("ft-1"), job("ft-2"))
    assert account.plan(TRAINING) == ["retrieve ft-1", "metrics ft-1", "retrieve ft-2", "metrics ft-2"]


def test_one_request_in_ten_is_not_about_an_active_job() -> None:
    others = [job(f"ft-done-{number}", "completed") for number in range(9)]
    account = Account(*others, *(queued(f"ft-{number}") for number in range(27)))
    order = account.plan(Schedule(requests_per_minute=60))
    assert [number for number, task in enumerate(order, start=1) if "done" in task] == [10, 20, 30]


def test_requests_that_do_not_fit_before_the_next_list_wait_for_a_later_plan() -> None:
    others = [job(f"ft-done-{number}", "completed") for number in range(200)]
    account = Account(*others, queued("ft-1"))
    order = account.plan(Schedule(requests_per_minute=120))
    assert order[0] == "retrieve ft-1"
    assert len(order) == 60  # the lists of the tests are 30 seconds apart


def test_active_jobs_are_never_left_out_of_a_plan() -> None:
    account = Account(*(queued(f"ft-{number}") for number in range(200)))
    assert len(account.plan(Schedule(requests_per_minute=1))) == 200


def test_the_newest_finished_job_comes_first_and_jobs_past_retention_last() -> None:
    account = Account(
        job("ft-old", "completed", **LONG_AGO),
        job("ft-1h", "completed", updated_at="2026-09-21T13:00:00Z"),
        job("ft-odd", "paused"),
        job("ft-now", "completed", updated_at="2026-09-21T14:00:00Z"),
        queued("ft-run"),
    )
    order = [task.removeprefix("retrieve ft-") for task in account.plan()]
    assert order[0] == "run"
    assert order.index("now") < order.index("1h")
    assert order[-1] == "old"


@pytest.mark.parametrize(("ago", "wanted"), [(599.0, False), (601.0, True)])
def test_a_job_of_unknown_status_is_asked_about_every_ten_minutes(ago: float, wanted: bool) -> None:
    asked = {("retrieve", "ft-1"): NOW - ago}
    assert bool(Account(job("ft-1", "paused")).plan(asked=asked)) is wanted


# ------------------------------------------------------------------------------------------------------ training rows


def test_the_rows_of_all_running_jobs_are_requested_where_that_is_enabled() -> None:
    account = Account(job("ft-1"), queued("ft-2"), job("ft-3", "completed"))
    assert [task for task in account.plan(TRAINING) if "metrics" in task] == ["metrics ft-1"]


def test_the_rows_of_a_job_that_ended_are_requested_once_more_if_there_were_any() -> None:
    account = Account(job("ft-1"), job("ft-2")).rows("ft-1", NOW - 60).rows("ft-2")
    account.lists(job("ft-1", "completed"), job("ft-2", "completed"), at=NOW + 30)
    assert [task for task in account.plan(TRAINING) if "metrics" in task] == ["metrics ft-1"]


def test_only_rows_that_are_not_known_are_requested() -> None:
    account = Account(job("ft-1")).rows("ft-1", NOW - 60, NOW - 30)
    tasks = plan(AccountView(account.settings, account.state), TRAINING, lambda _: 0.0)
    assert [task.step for task in tasks if task.endpoint == "metrics"] == [3]


def test_all_rows_are_requested_after_the_job_went_back_to_an_earlier_step() -> None:
    account = Account(job("ft-1")).rows("ft-1", NOW - 60, NOW - 30).details(job("ft-1", steps_completed=1))
    tasks = plan(AccountView(account.settings, account.state), TRAINING, lambda _: 0.0)
    assert Task("metrics", "ft-1", ended=False, step=0) in tasks


def test_rows_are_requested_after_a_restart_even_if_they_are_not_enabled() -> None:
    account = Account(job("ft-1"))
    assert account.plan() == ["retrieve ft-1", "metrics ft-1"]
    assert account.rows("ft-1", NOW - 60).details(job("ft-1", steps_completed=1)).plan() == ["retrieve ft-1"]


def test_rows_that_failed_twice_are_not_waited_for() -> None:
    account = Account(job("ft-1")).details(job("ft-1", steps_completed=1))
    for _ in range(2):
        assert "metrics ft-1" in account.plan()
        call = JobCallFailed(Call(NOW, "metrics", "500", 0.1, "ft-1"))
        account.state = account.state.after(call, account.settings)
    assert account.plan() == ["retrieve ft-1"]


def test_no_rows_are_requested_for_verdicts_if_details_are_off() -> None:
    assert Account(job("ft-1")).plan(Schedule(details="off")) == []


@pytest.mark.parametrize(("ago", "wanted"), [(HOUR / 2 - 1, False), (HOUR / 2, True)])
def test_rows_are_requested_every_half_threshold_of_a_job_without_steps(ago: float, wanted: bool) -> None:
    account = Account(job("ft-1")).details(job("ft-1")).rows("ft-1")
    assert ("metrics ft-1" in account.plan(asked={("metrics", "ft-1"): NOW - ago})) is wanted


@pytest.mark.parametrize(("after", "wanted"), [(HOUR - 301, False), (HOUR - 299, True)])
def test_rows_are_requested_shortly_before_the_deadline_of_a_job_without_steps(after: float, wanted: bool) -> None:
    account = Account(job("ft-1")).details(job("ft-1")).rows("ft-1", NOW - 120, NOW - 60, NOW)
    account.lists(job("ft-1"), at=NOW + after)
    asked = {("metrics", "ft-1"): NOW + after - 60}
    assert ("metrics ft-1" in account.plan(asked=asked)) is wanted
