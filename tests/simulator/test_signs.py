from dataclasses import replace

import pytest

from exporter.simulator import Json, Plan, Sign, job, next_change, training_rows
from tests.simulator.support import DAY, PLAN, START, Clock, get, moment, simulator, types

HUNG = replace(PLAN, fate="hang", fate_at=0.3)  # since 700


def updated(plan: Plan, *times: float) -> list[float]:
    return [moment(job(plan, START + at)["updated_at"]) - START for at in times]


def remaining(plan: Plan, *times: float) -> list[float]:
    """How many seconds are left in the stage as estimated, 0 without an estimate."""
    jobs = [(START + at, job(plan, START + at)) for at in times]
    return [
        round(moment(shown["started_at"]) + shown["progress"]["seconds_remaining"] - now, 3)
        if shown["progress"]["estimate_available"]
        else 0
        for now, shown in jobs
    ]


def signs(shown: Json) -> set[str]:
    counters = {"steps": "steps_completed", "epochs": "epochs_completed", "evals": "evals_completed"}
    return {sign for sign, name in counters.items() if shown[name] is not None}


@pytest.mark.parametrize("reports", [{"steps"}, {"epochs"}, {"evals"}, {"steps", "epochs"}, set()])
def test_a_job_shows_only_the_signs_of_progress_it_reports(reports: set[Sign]) -> None:
    plan = replace(PLAN, reports=frozenset(reports))
    shown = job(plan, START + DAY)
    assert signs(shown) == reports
    assert ("epoch_complete" in types(shown), "eval_complete" in types(shown)) == (
        "epochs" in reports,
        "evals" in reports,
    )
    assert any(event["step"] for event in shown["events"]) == ("steps" in reports)
    assert training_rows(plan, START + DAY) == []


def test_training_rows_do_not_need_reported_steps() -> None:
    rows = training_rows(replace(PLAN, reports=frozenset({"rows"})), START + DAY)
    assert rows == training_rows(PLAN, START + DAY)


def test_updated_at_can_ignore_steps() -> None:
    assert updated(replace(PLAN, updated_on="event"), 500, 640, 660, 1450) == [400, 400, 650, 1400]


def test_updated_at_can_follow_the_status_alone() -> None:
    assert updated(replace(PLAN, updated_on="status"), 50, 250, 660, 1450, DAY) == [0, 100, 300, 1400, 1600]


def test_updated_at_can_stay_the_creation_whatever_changes() -> None:
    assert updated(replace(PLAN, updated_on="creation"), 50, 660, DAY) == [0, 0, 0]


def test_updated_at_can_beat_while_the_job_hangs() -> None:
    hung = replace(HUNG, beats={"updated_at": 60})
    assert updated(hung, 710, 730, 790, 100 * DAY) == [700, 720, 780, 100 * DAY]
    assert job(hung, START + DAY)["steps_completed"] == 30


def test_beats_end_with_the_job() -> None:
    assert updated(replace(PLAN, beats={"updated_at": 70}), 1600, DAY) == [1600, 1600]


def test_another_number_can_beat_while_the_job_hangs() -> None:
    hung = replace(HUNG, token_count=1000, beats={"token_count": 60})
    assert [job(hung, START + at)["token_count"] for at in (720, 779, 780)] == [1012, 1012, 1013]


def test_an_estimate_can_creep_with_the_clock() -> None:
    creeping = replace(HUNG, beats={"progress": 60})
    assert remaining(creeping, 720, 780, 720 + DAY) == [1100, 1100, 1100]
    assert remaining(HUNG, 720, 780) == [680, 620]


def test_an_estimate_can_jump() -> None:
    jumping = replace(PLAN, estimate=((0, 1.0), (300, 3.0), (600, None), (900, 1.0)))
    assert remaining(jumping, 599, 600, 900, 1200) == [801, 3000, 0, 200]


def test_an_estimate_can_arrive_late_even_if_the_stage_hangs() -> None:
    late = replace(PLAN, fate="hang", fate_stage="upload", fate_at=0.0, estimate=[(300, 1.0)])
    assert remaining(late, 1799) == [0]
    assert job(late, START + 1800)["progress"]["estimate_available"]


def test_an_estimate_can_be_absent() -> None:
    assert remaining(replace(PLAN, estimate=()), 350, 900, 1450) == [0, 0, 0]


def test_the_place_in_the_queue_can_take_any_course() -> None:
    plan = replace(PLAN, queue_places=(3, 40, 20, 21))
    assert [job(plan, START + at)["queue_depth"] for at in (100, 150, 200, 250, 300)] == [3, 40, 20, 21, 0]


def test_a_stage_can_have_an_unknown_status() -> None:
    plan = replace(PLAN, overrides={"pending": {"status": "validating"}})
    assert [job(plan, START + at)["status"] for at in (0, 99, 100)] == ["validating", "validating", "queued"]


@pytest.mark.parametrize("odd", [None, "2099-01-01T00:00:00Z", "2025-10-09T00:00:00Z"])
def test_a_failed_job_can_have_an_odd_updated_at(odd: str | None) -> None:
    plan = replace(PLAN, fate="error", overrides={"error": {"updated_at": odd}})
    assert job(plan, START + 899)["updated_at"] != odd
    assert job(plan, START + 900)["updated_at"] == odd


@pytest.mark.parametrize(
    "plan",
    [
        replace(HUNG, beats={"updated_at": 45, "progress": 70, "token_count": 100}),
        replace(PLAN, estimate=((0, 1.0), (33, 2.0), (66, None))),
        replace(PLAN, overrides={"running": {"updated_at": None}}, updated_on="status"),
    ],
)
def test_a_list_follows_all_that_changes_without_an_event(plan: Plan) -> None:
    clock = Clock(0)
    kept = simulator(plan, at=0)
    kept.clock = clock
    for clock.at in range(0, 2000, 7):
        assert get(kept, "/fine-tunes") == get(simulator(plan, at=clock.at), "/fine-tunes")
        assert next_change(plan, clock()) > clock()
