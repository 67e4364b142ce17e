import json
import threading
import time
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from exporter.simulator import Endpoint, Fault, Json, Script, Simulator, edit, job, live
from tests.simulator.support import (
    KEY,
    KEYS,
    OTHER,
    PATHS,
    PLAN,
    START,
    Clock,
    call,
    get,
    listed,
    simulator,
    status,
)


@pytest.mark.parametrize("endpoint", PATHS)
def test_a_fault_affects_one_endpoint(endpoint: Endpoint) -> None:
    running = simulator(PLAN, at=700)
    running.faults = [Fault(endpoint, status=503)]
    statuses = {name: status(running, path) for name, path in PATHS.items()}
    assert statuses == dict.fromkeys(PATHS, 200) | {endpoint: 503}


def test_a_fault_can_affect_one_job() -> None:
    running = simulator(PLAN, OTHER, at=700)
    running.faults.append(Fault("retrieve", status=500, job_id=OTHER.id))
    assert [status(running, f"/fine-tunes/{plan.id}") for plan in (PLAN, OTHER)] == [200, 500]


def test_a_fault_can_affect_one_key() -> None:
    running = Simulator(KEYS, clock=Clock())
    running.faults.append(Fault("list", status=500, key="key-b"))
    assert [status(running, "/fine-tunes", key) for key in KEYS] == [200, 500]


def test_the_first_fault_that_matches_applies() -> None:
    running = simulator(PLAN, at=700)
    running.faults = [Fault("events", status=500), Fault("list", status=502), Fault("list", status=504)]
    assert status(running, "/fine-tunes") == 502


def test_faults_come_and_go_between_requests() -> None:
    running = simulator(PLAN, at=700)
    seen = [status(running, "/fine-tunes")]
    running.faults.append(Fault("list", status=529))
    seen.append(status(running, "/fine-tunes"))
    running.faults.clear()
    assert [*seen, status(running, "/fine-tunes")] == [200, 529, 200]


def test_a_fault_has_the_error_body_of_the_api_by_default() -> None:
    running = simulator(PLAN, at=700)
    running.faults = [Fault("list", status=402)]
    error = json.loads(running.answer("/v1/fine-tunes", f"Bearer {KEY}").body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}


def test_a_fault_can_have_its_own_body_and_headers() -> None:
    with simulator(PLAN, at=700) as running:
        running.faults = [Fault("list", status=529, body=b"<html>", headers={"Content-Type": "text/html", "X-A": "b"})]
        client = HTTPConnection(urlsplit(running.url).netloc, timeout=60)
        client.request("GET", "/v1/fine-tunes", headers={"Authorization": f"Bearer {KEY}"})
        response = client.getresponse()
        assert (response.status, response.read()) == (529, b"<html>")
        assert response.headers.get_all("Content-Type") == ["text/html"]
        assert response.headers["X-A"] == "b"
        client.close()


def test_stopping_does_not_wait_for_a_delayed_response() -> None:
    asked = threading.Event()

    def clock() -> float:
        asked.set()
        return START

    running = Simulator(Script([PLAN]), key=KEY, clock=clock).start()
    running.faults = [Fault("list", latency=3600)]
    client = HTTPConnection(urlsplit(running.url).netloc, timeout=60)
    client.request("GET", "/v1/fine-tunes", headers={"Authorization": f"Bearer {KEY}"})
    asked.wait()
    stopping = threading.Thread(target=running.stop)
    stopping.start()
    stopping.join(60)
    assert not stopping.is_alive()
    assert client.sock.recv(1) == b""
    client.close()


def test_a_delayed_response_says_its_delay_and_is_returned_at_once() -> None:
    running = simulator(PLAN, at=700)
    running.faults = [Fault("list", latency=3600)]
    response = running.answer("/v1/fine-tunes", f"Bearer {KEY}")
    assert response.delay == 3600
    assert json.loads(response.body)["data"] == [live(job(PLAN, START + 700))]


def test_a_delayed_response_is_sent_after_its_delay_over_http() -> None:
    with simulator(PLAN, at=700) as running:
        running.faults = [Fault("list", latency=0.05)]
        client = HTTPConnection(urlsplit(running.url).netloc, timeout=60)
        before = time.monotonic()
        assert call(client, "/v1/fine-tunes")[0] == 200
        assert time.monotonic() - before >= 0.05
        client.close()


def test_every_other_response_can_lag() -> None:
    running = simulator(PLAN, at=700)
    running.faults = [Fault("retrieve", every=2, lag=45)]
    assert [get(running, PATHS["retrieve"])["steps_completed"] for _ in range(4)] == [30, 25, 30, 25]


def test_every_nth_response_is_counted_for_each_job() -> None:
    running = simulator(PLAN, OTHER, at=700)
    running.faults = [Fault("retrieve", status=500, every=2)]
    paths = [f"/fine-tunes/{plan.id}" for plan in (PLAN, OTHER)] * 2
    assert [status(running, path) for path in paths] == [200, 200, 500, 500]


def test_a_list_can_be_short() -> None:
    running = simulator(PLAN, OTHER, at=700)
    running.faults = [Fault("list", every=3, change=edit(lambda body: {"data": body["data"][::2]}))]
    assert [listed(running) for _ in range(3)] == [[PLAN.id, OTHER.id], [PLAN.id, OTHER.id], [PLAN.id]]


def test_a_response_can_disagree_by_a_step() -> None:
    def one_less(job: Json) -> Json:
        return job | {"steps_completed": job["steps_completed"] - 1}

    running = simulator(PLAN, at=700)
    running.faults = [Fault("retrieve", every=2, change=edit(one_less))]
    assert [get(running, PATHS["retrieve"])["steps_completed"] for _ in range(2)] == [30, 29]


def test_a_fault_can_be_random_and_repeatable() -> None:
    def statuses(seed: int) -> list[int]:
        running = simulator(PLAN, at=700)
        running.faults = [Fault("list", status=500, probability=0.3, seed=seed)]
        return [status(running, "/fine-tunes") for _ in range(400)]

    assert statuses(1) == statuses(1) != statuses(2)
    assert 80 < statuses(1).count(500) < 160
