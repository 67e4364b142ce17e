import pytest

from exporter.simulator import Fault, Script, Simulator, job
from tests.simulator.support import KEY, KEYS, OTHER, PATHS, PLAN, START, Clock, listed, simulator, status


def test_each_key_sees_its_own_fleet_only() -> None:
    running = Simulator(KEYS, clock=Clock())
    assert [listed(running, key) for key in KEYS] == [[PLAN.id], [OTHER.id]]
    assert [status(running, PATHS["retrieve"], key) for key in KEYS] == [200, 404]


@pytest.mark.parametrize("key", ["key-c", "", None])
def test_an_unknown_key_is_refused(key: str | None) -> None:
    assert status(Simulator(KEYS, clock=Clock()), "/fine-tunes", key) == 401


def test_a_key_must_be_a_bearer_token() -> None:
    running = Simulator(KEYS, clock=Clock())
    assert [running.answer("/v1/fine-tunes", f"{scheme}key-a").status for scheme in ("Basic ", "")] == [401, 401]


def test_full_objects_are_those_of_one_key() -> None:
    running = Simulator(KEYS, clock=Clock())
    assert running.jobs("key-b") == [job(OTHER, START + 700)]
    with pytest.raises(ValueError, match="too many values"):
        running.jobs()


def test_a_single_fleet_needs_a_key_and_a_mapping_must_not_have_one() -> None:
    with pytest.raises(TypeError, match="needs key"):
        Simulator(Script([]))
    with pytest.raises(TypeError, match="contains the keys"):
        Simulator({}, key=KEY)


def test_a_deleted_job_is_gone_until_it_is_restored() -> None:
    running = simulator(PLAN, OTHER, at=700)
    running.delete(PLAN.id)
    assert [job["id"] for job in running.jobs()] == listed(running) == [OTHER.id]
    assert [status(running, PATHS[name]) for name in ("retrieve", "events", "metrics")] == [404, 404, 404]
    running.restore(PLAN.id)
    assert listed(running) == [PLAN.id, OTHER.id]
    assert status(running, PATHS["retrieve"]) == 200


def test_requests_are_kept_in_order() -> None:
    clock = Clock()
    running = Simulator(KEYS, clock=clock)
    status(running, "/fine-tunes", "key-a")
    clock.at = 701
    status(running, f"{PATHS['metrics']}?global_step_from=5", "key-b")
    status(running, "/models", None)
    seen = [(asked.endpoint, asked.job_id, asked.key, asked.query, asked.at - START) for asked in running.requests]
    assert seen == [
        ("list", None, "key-a", {}, 700),
        ("metrics", PLAN.id, "key-b", {"global_step_from": "5"}, 701),
        (None, None, None, {}, 701),
    ]


def test_requests_are_kept_whatever_the_response() -> None:
    running = Simulator(Script([PLAN]), key=KEY, clock=Clock(), requests_per_minute=1)
    running.faults = [Fault("events", status=500)]
    for name in ("events", "list"):
        status(running, PATHS[name])
    status(running, PATHS["retrieve"], "wrong")
    assert [asked.endpoint for asked in running.requests] == ["events", "list", "retrieve"]


def test_only_the_newest_requests_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.simulator.api.REQUESTS_KEPT", 2)
    running = simulator(PLAN, at=700)
    for name in ("list", "retrieve", "events"):
        status(running, PATHS[name])
    assert [asked.endpoint for asked in running.requests] == ["retrieve", "events"]
