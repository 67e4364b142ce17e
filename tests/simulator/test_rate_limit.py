import json
from http.client import HTTPConnection
from urllib.parse import urlsplit

from exporter.simulator import (
    Fault,
    Script,
    Simulator,
)
from tests.simulator.support import (
    KEY,
    KEYS,
    PATHS,
    PLAN,
    Clock,
    simulator,
    status,
)


def test_a_request_above_the_limit_is_refused_until_a_minute_after_the_oldest() -> None:
    clock, statuses = Clock(), {}
    running = Simulator(Script([PLAN]), key=KEY, clock=clock, requests_per_minute=2)
    for clock.at in (0, 20, 30, 59.5, 60, 61, 80):
        statuses[clock.at] = status(running, "/fine-tunes")
    assert statuses == {0: 200, 20: 200, 30: 429, 59.5: 429, 60: 200, 61: 429, 80: 200}


def test_a_refusal_says_after_how_many_whole_seconds_to_retry() -> None:
    clock = Clock(0)
    running = Simulator(Script([PLAN]), key=KEY, clock=clock, requests_per_minute=1)
    status(running, "/fine-tunes")
    waits = {}
    for clock.at in (0, 19.5, 59.5):
        refusal = running.answer("/v1/fine-tunes", f"Bearer {KEY}")
        waits[clock.at] = refusal.headers["retry-after"]
        assert json.loads(refusal.body)["error"].keys() == {"message", "type", "param", "code"}
    assert waits == {0: "60", 19.5: "41", 59.5: "1"}


def test_each_key_has_one_limit_for_all_endpoints() -> None:
    running = Simulator(KEYS, clock=Clock(), requests_per_minute=3)
    assert [status(running, path, "key-a") for path in PATHS.values()] == [200, 200, 200, 429]
    assert status(running, "/fine-tunes", "key-b") == 200


def test_every_response_has_the_rate_limit_headers() -> None:
    running = Simulator(Script([PLAN]), key=KEY, clock=Clock(), requests_per_minute=3)
    running.faults = [Fault("events", status=500)]
    calls = [(PATHS["list"], KEY), (PATHS["events"], KEY), ("/none", KEY), (PATHS["list"], KEY), (PATHS["list"], "x")]
    answers = [running.answer(f"/v1{path}", f"Bearer {key}") for path, key in calls]
    assert [answer.status for answer in answers] == [200, 500, 404, 429, 401]
    names = ("limit", "remaining", "reset")
    told = [tuple(answer.headers[f"x-ratelimit-{name}"] for name in names) for answer in answers]
    assert told == [("3", "2", "60"), ("3", "1", "60"), ("3", "0", "60"), ("3", "0", "60"), ("3", "2", "60")]


def test_without_a_limit_there_are_no_rate_limit_headers() -> None:
    assert simulator(PLAN, at=700).answer("/v1/fine-tunes", f"Bearer {KEY}").headers == {}


def test_a_refusal_has_its_headers_over_http() -> None:
    with Simulator(Script([PLAN]), key=KEY, clock=Clock(), requests_per_minute=0) as running:
        client = HTTPConnection(urlsplit(running.url).netloc, timeout=60)
        client.request("GET", "/v1/fine-tunes")
        response = client.getresponse()
        response.read()
        assert (response.status, response.headers["Retry-After"]) == (429, "60")
        assert response.headers["x-ratelimit-limit"] == "0"
        client.close()
