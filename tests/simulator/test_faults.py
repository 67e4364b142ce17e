import json
import threading
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

from exporter.simulator import (
    Endpoint,
    Fault,
    Script,
    Simulator,
)
from tests.simulator.support import (
    KEY,
    KEYS,
    OTHER,
    PATHS,
    PLAN,
    START,
    Clock,
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
        client = HTTPConnection(urlsplit(running.url).netloc, timeout=10)
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
    running.faults = [Fault("list", latency=60)]
    client = HTTPConnection(urlsplit(running.url).netloc, timeout=30)
    client.request("GET", "/v1/fine-tunes", headers={"Authorization": f"Bearer {KEY}"})
    asked.wait()
    stopping = threading.Thread(target=running.stop)
    stopping.start()
    stopping.join(30)
    assert not stopping.is_alive()
    assert client.sock.recv(1) == b""
    client.close()
