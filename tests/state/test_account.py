"""How events change an account, and what they leave alone."""

from exporter.models import TrainingPoint
from exporter.state import Call, PollFailed, RowsAnswered
from tests.state.history import History, job, seconds

MANY = 10_000


def test_one_detail_answer_leaves_all_other_jobs_alone() -> None:
    history = History().list(0, *(job("running", f"ft-{n}") for n in range(MANY)))
    before = history.state.jobs
    history.details(1, job("running", "ft-7", steps=5))
    after = history.state.jobs
    assert after["ft-7"] is not before["ft-7"]
    assert [job_id for job_id in before if after[job_id] is not before[job_id]] == ["ft-7"]


def test_a_list_that_says_nothing_new_leaves_all_jobs_alone() -> None:
    jobs = [job("running", "ft-1", events={"job_start": -60}), job("completed", "ft-2"), job("dreaming", "ft-3")]
    history = History().list(0, *jobs)
    before = history.state.jobs
    after = history.list(1, *jobs).state.jobs
    assert all(after[job_id] is before[job_id] for job_id in before)


def test_an_event_does_not_change_the_state_before_it() -> None:
    history = History().list(0, job())
    before, jobs = history.state, dict(history.state.jobs)
    history.details(1, job(steps=5)).list(2).list_fails(3)
    assert before.jobs == jobs
    assert before.polls.requests == {("list", "200"): 1}


def test_failed_polls_keep_what_is_known() -> None:
    history = History().list(0, job())
    history.list_fails(1, "timeout")
    assert (history.state.polls.up, history.state.polls.failure) == (False, "timeout")
    history.happens(PollFailed(seconds(2), "overdue"))
    assert (history.state.polls.up, history.state.polls.failure) == (False, "overdue")
    assert history.job().job.id == "ft-1"
    assert (history.state.last_list, history.state.now) == (seconds(0), seconds(2))
    history.list(3, job())
    assert (history.state.polls.up, history.state.polls.failure) == (True, None)


def test_every_call_is_counted_by_endpoint_and_code() -> None:
    history = History().list(0, job()).list(1, job()).list_fails(2, "timeout").fails(3, "metrics", code="404")
    assert history.state.polls.requests == {("list", "200"): 2, ("list", "timeout"): 1, ("metrics", "404"): 1}
    assert history.state.polls.request_seconds["list"].cumulative[-1] == 3


def test_an_unknown_value_is_counted_once_for_each_field_of_a_job() -> None:
    odd = job("dreaming", lora=1, n_epochs="many")
    history = History().list(0, odd).list(1, odd).details(2, odd)
    history.list(3, odd, job("dreaming", "ft-2"))
    assert history.state.polls.unknown_values == {"status": 2, "n_epochs": 1}


def test_a_job_keeps_a_hundred_training_metrics_the_first_it_had() -> None:
    history = History().list(0, job())
    rows = [TrainingPoint(n, seconds(n), {"train/loss": n, **{f"{n}/{i}": n for i in range(100)}}) for n in range(300)]
    history.happens(RowsAnswered(Call(seconds(301), "metrics", "200", 0.1, "ft-1"), rows))
    training = history.job().training
    assert training is not None
    assert training.values.keys() == {"train/loss", *(f"0/{i}" for i in range(99))}
    assert (training.values["train/loss"], training.step) == (299, 299)
    assert history.state.polls.unknown_values == {"metrics": 1}


def test_the_messages_of_a_job_past_its_retention_are_dropped() -> None:
    week = 8 * 24 * 60
    old = job("completed", events={"job_complete": 0}, updated=0)
    history = History().list(1, old)
    events = history.job().job.events
    assert events is not None
    assert events.recent
    for _ in range(2):
        week += 1
        history.list(week, old)
        events = history.job().job.events
        assert events is not None
        assert not events.recent
        assert events.types == {"job_complete": 1}
    before = history.job()
    assert history.list(week + 1, old).job() is before
