from dataclasses import replace
from math import inf
from typing import Any

import pytest

from exporter.simulator import Interruption, Plan, Stage, job, training_rows
from tests.simulator.support import DAY, PLAN, START, moment, types


def interrupted(**fields: Any) -> Plan:
    return replace(PLAN, interruptions=[Interruption(**fields)])


def steps(plan: Plan, *times: float) -> list[int]:
    return [job(plan, START + at)["steps_completed"] for at in times]


def test_a_paused_job_stands_still_and_then_continues() -> None:
    plan = interrupted(at=0.3, lasts=5000)
    assert steps(plan, 699, 700, 5699, 5710, 6400) == [29, 30, 30, 31, 100]
    assert job(plan, START + 6600)["status"] == "completed"


def test_a_job_can_pause_several_times() -> None:
    plan = replace(PLAN, interruptions=[Interruption(at=0.3, lasts=500), Interruption(at=0.6, lasts=500)])
    assert steps(plan, 1200, 1500, 2000, 2400) == [30, 60, 60, 100]


@pytest.mark.parametrize(
    ("stage", "status"),
    [
        ("pending", "pending"),
        ("queued", "queued"),
        ("download", "running"),
        ("train", "running"),
        ("compress", "compressing"),
        ("upload", "uploading"),
    ],
)
def test_a_job_can_hang_in_any_stage(stage: Stage, status: str) -> None:
    plan = interrupted(stage=stage, at=0.5, lasts=inf)
    assert job(plan, START + 1000 * DAY)["status"] == status


def test_a_job_can_return_to_an_earlier_step_without_any_event() -> None:
    plan = interrupted(at=0.6, resume=("train", 0.4))
    assert steps(plan, 999, 1000, 1010, 1600) == [59, 40, 41, 100]
    assert "job_restarted" not in types(job(plan, START + DAY))
    assert job(plan, START + 1000)["started_at"] == job(PLAN, START + 1000)["started_at"]


def test_a_job_can_restart_from_a_checkpoint() -> None:
    plan = interrupted(at=0.6, lasts=100, resume=("train", 0.4), restart=True)
    assert steps(plan, 1099, 1100, 1110) == [60, 40, 41]
    restarted = job(plan, START + 1100)
    assert types(restarted)[-2:] == ["job_restarted", "refund"]
    assert moment(restarted["started_at"]) == START + 1100
    assert restarted["refund_amount"] == pytest.approx(0.2 * restarted["total_price"])


def test_a_job_that_goes_back_loses_the_rows_of_later_steps() -> None:
    plan = replace(interrupted(at=0.6, resume=("train", 0.4)), n_evals=0)
    written = [[row["train/global_step"] for row in training_rows(plan, START + at)] for at in (999, 1000, 1011)]
    assert written == [list(range(1, 60)), list(range(1, 41)), list(range(1, 42))]


@pytest.mark.parametrize(("at", "place"), [(0.0, 4), (0.5, 2)])
def test_a_running_job_can_return_to_the_queue(at: float, place: int) -> None:
    plan = interrupted(at=0.6, resume=("queued", at))
    queued = job(plan, START + 1000)
    assert (queued["status"], queued["queue_depth"], queued["steps_completed"]) == ("queued", place, 0)
    assert moment(queued["started_at"]) == START + 1000
    assert not queued["progress"]["estimate_available"]
    assert job(plan, START + 1200 - 200 * at)["status"] == "running"


@pytest.mark.parametrize("status", ["cancel_requested", "error", "validating"])
def test_a_job_can_have_another_status_for_a_while(status: str) -> None:
    plan = interrupted(at=0.6, lasts=100, fields={"status": status})
    during, after = job(plan, START + 1050), job(plan, START + 1100)
    assert (during["status"], after["status"]) == (status, "running")
    assert during["progress"] == after["progress"] == job(PLAN, START + 1000)["progress"]
    assert [moment(each["updated_at"]) - START for each in (during, after)] == [1000, 1100]


def test_interruptions_must_be_in_the_order_in_which_they_happen() -> None:
    plan = replace(PLAN, interruptions=[Interruption(at=0.6), Interruption(at=0.3)])
    with pytest.raises(ValueError, match="order"):
        job(plan, START)
