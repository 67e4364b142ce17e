from collections import Counter
from dataclasses import replace

import pytest

from exporter.simulator import Fleet, Json, Script, job
from tests.simulator.support import ACTIVE, COUNTERS, DAY, HOUR, OTHER, PLAN, START, TERMINAL, moment, types

History = list[tuple[float, list[Json]]]
FLEET = Fleet(start=START)


@pytest.fixture(scope="module")
def history() -> History:
    """Three simulated days of the default fleet: each moment with its jobs, a quarter of an hour apart."""
    moments = [START + quarter * HOUR / 4 / FLEET.speed for quarter in range(3 * 24 * 4)]
    return [(now, [job(plan, now) for plan in FLEET.plans(now)]) for now in moments]


def test_a_job_of_a_script_exists_from_its_creation_on() -> None:
    script = Script([PLAN, replace(OTHER, created=START + 500)])
    moments = (-1, 0, 499, 500, DAY)
    assert [len(script.plans(START + at)) for at in moments] == [0, 1, 1, 2, 2]
    assert script.plans(START + DAY) == script.jobs


def test_the_same_seed_and_start_make_the_same_fleet() -> None:
    later = START + DAY
    assert Fleet(start=START, seed=7).plans(later) == Fleet(start=START, seed=7).plans(later)
    ids = [{plan.id for plan in Fleet(start=START, seed=seed).plans(later)} for seed in (7, 8)]
    assert not ids[0] & ids[1]


@pytest.mark.parametrize("count", [1, 6, 40])
def test_a_fleet_always_has_the_requested_number_of_jobs(count: int) -> None:
    fleet, seen = Fleet(start=START, jobs=count), set[str]()
    for tick in range(3 * 24 * 6):
        ids = [plan.id for plan in fleet.plans(START + tick * 600 / fleet.speed)]
        assert len(ids) == len(set(ids)) == count
        seen.update(ids)
    assert len(seen) > 8 * (count - 1)


def test_every_status_occurs_and_a_third_of_the_jobs_is_active(history: History) -> None:
    statuses: Counter[str] = Counter()
    for _, jobs in history:
        now = Counter(job["status"] for job in jobs)
        assert 0.2 < sum(now[status] for status in ACTIVE) / len(jobs) < 0.55
        statuses += now
    assert statuses.keys() == ACTIVE | TERMINAL
    assert 0.3 < sum(statuses[status] for status in ACTIVE) / statuses.total() < 0.45


def test_a_terminal_job_never_changes_and_stays_for_2_to_8_hours(history: History) -> None:
    ended: dict[str, Json] = {}
    last_seen: dict[str, float] = {}
    for now, jobs in history:
        for seen in jobs:
            last_seen[seen["id"]] = now
            if seen["id"] in ended:
                assert seen == ended[seen["id"]]
            elif seen["status"] in TERMINAL:
                ended[seen["id"]] = seen
    replaced = [name for name in ended if last_seen[name] < max(last_seen.values())]
    stays = [(last_seen[name] - moment(ended[name]["updated_at"])) * FLEET.speed / HOUR for name in replaced]
    assert len(stays) > 300
    assert 1.7 < min(stays) < max(stays) <= 8


def test_counters_only_go_back_at_a_restart(history: History) -> None:
    before: dict[str, Json] = {}
    restarts = 0
    for _, jobs in history:
        for seen in jobs:
            old = before.get(seen["id"], seen)
            restarted = types(seen).count("job_restarted") > types(old).count("job_restarted")
            restarts += restarted
            assert restarted or all(seen[name] >= old[name] for name in COUNTERS)
            assert types(seen)[: len(old["events"])] == types(old)
            before[seen["id"]] = seen
    assert restarts


def test_timestamps_are_in_order_and_none_is_in_the_future(history: History) -> None:
    widths = set()
    for now, jobs in history:
        for seen in jobs:
            times = [seen["created_at"], seen["started_at"] or seen["created_at"], seen["updated_at"]]
            values = [moment(stamp) for stamp in times]
            assert values == sorted(values)
            assert values[-1] <= now
            widths.add(len(seen["created_at"]))
    assert len(widths) == 10


def test_the_estimates_of_a_fleet_are_nearly_right(history: History) -> None:
    checked = 0
    for now, jobs in history[::8]:
        for plan, seen in zip(FLEET.plans(now), jobs, strict=True):
            if plan.fate == "completed" and seen["status"] == "running":
                end = plan.created + plan.pending + plan.queued + plan.download + plan.train
                estimated = moment(seen["started_at"]) + seen["progress"]["seconds_remaining"]
                assert abs(estimated - end) < 0.1 * (plan.download + plan.train) + 1  # stamps may be whole seconds
                checked += 1
    assert checked > 100


def test_speed_plays_the_same_fleet_faster() -> None:
    slow, fast = Fleet(start=START, speed=1), Fleet(start=START, speed=100)
    for hours in (0, 1, 5, 30):
        now = START + hours * HOUR + 1, START + (hours * HOUR + 1) / 100
        one, other = ([job(plan, at) for plan in fleet.plans(at)] for fleet, at in zip((slow, fast), now, strict=True))
        assert [(j["id"], j["status"], types(j)) for j in one] == [(j["id"], j["status"], types(j)) for j in other]
    a, b = slow.plans(START)[0], fast.plans(START)[0]
    assert a.train == pytest.approx(100 * b.train)
    assert (a.total_steps, a.token_count) == (b.total_steps, b.token_count)


def test_jobs_differ_in_everything_a_client_must_handle(history: History) -> None:
    ids, batches, inputs, methods, trainings, levels = (set[object]() for _ in range(6))
    for _, jobs in history:
        for seen in jobs:
            ids.add(len(seen["id"]))
            batches.add(type(seen["batch_size"]))
            inputs.add(seen["train_on_inputs"])
            methods.add(seen["training_method"]["method"])
            trainings.add(seen["training_type"]["type"])
            levels |= {event["level"] for event in seen["events"]}
    assert ids == {len("ft-01234567-89ab"), len("ft-01234567-89ab-cdef-0123-456789abcdef")}
    assert (batches, inputs) == ({str, int}, {"auto", True, False})
    assert (methods, trainings) == ({"sft", "dpo"}, {"Full", "Lora"})
    assert {"info", "warning", "error", "legacy_info", "legacy_iwarning", "legacy_ierror"} == levels


FATES = {
    1: ("completed", "job_restarted"),
    2: ("cancelled", "billing_limit"),
    3: ("error", "job_error"),
    4: ("cancelled", "cancel_requested"),
    5: ("user_error", "job_user_error"),
}


@pytest.mark.parametrize("slot", FATES)
def test_the_first_slots_meet_their_fates_within_two_hours(slot: int) -> None:
    for seed in range(5):
        fleet = Fleet(start=START, jobs=6, seed=seed)
        seen = job(fleet.plans(START)[slot], START + 2 * HOUR / fleet.speed)
        assert seen["status"] == FATES[slot][0]
        assert FATES[slot][1] in types(seen)


def test_the_first_slot_hangs_from_the_start_for_ever() -> None:
    fleet = Fleet(start=START, jobs=1)
    [hung] = [job(plan, START) for plan in fleet.plans(START)]
    assert hung["status"] == "running"
    assert hung["steps_completed"] > 0
    [later] = [job(plan, START + 30 * DAY) for plan in fleet.plans(START + 30 * DAY)]
    assert later == hung
