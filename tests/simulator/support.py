"""What the tests of the simulator share."""

import json
import re
from dataclasses import dataclass, replace
from datetime import datetime
from http.client import HTTPConnection
from typing import Any, Literal

from exporter.simulator import (
    Endpoint,
    Json,
    Plan,
    Script,
    Simulator,
)

START = 1_760_000_000.0
HOUR, DAY = 3600.0, 86400.0
KEY = "test-key"
TERMINAL = {"completed", "error", "user_error", "cancelled"}
ACTIVE = {"pending", "queued", "running", "compressing", "uploading", "cancel_requested"}
COUNTERS = ("steps_completed", "epochs_completed", "evals_completed")

# Its times: queued at 100, running at 300, training from 400 to 1400, uploading at 1500, completed at 1600.
PLAN = Plan(
    id="ft-0a1b2c3d-4e5f",
    created=START,
    pending=100,
    queued=200,
    download=100,
    train=1000,
    compress=100,
    upload=100,
    queue_depth=4,
    total_steps=100,
    n_epochs=2,
    n_evals=4,
    n_checkpoints=2,
)


OTHER = replace(PLAN, id="ft-5e6f7a8b-9c0d")
PATHS: dict[Endpoint, str] = {
    "list": "/fine-tunes",
    "retrieve": f"/fine-tunes/{PLAN.id}",
    "events": f"/fine-tunes/{PLAN.id}/events",
    "metrics": f"/fine-tunes/{PLAN.id}/metrics",
}


@dataclass
class Clock:
    """A clock that stands still until a test sets it, in seconds after START."""

    at: float = 700

    def __call__(self) -> float:
        return START + self.at


def simulator(*plans: Plan, at: float, shape: Literal["live", "reference"] = "live") -> Simulator:
    return Simulator(Script(plans), key=KEY, shape=shape, clock=lambda: START + at)


def get(simulator: Simulator, path: str) -> Json:
    answer = simulator.answer(f"/v1{path}", f"Bearer {KEY}")
    assert answer.status == 200
    body: Json = json.loads(answer.body)
    return body


def status(simulator: Simulator, path: str, key: str | None = KEY) -> int:
    return simulator.answer(f"/v1{path}", None if key is None else f"Bearer {key}").status


def listed(simulator: Simulator, key: str = KEY) -> list[str]:
    jobs = json.loads(simulator.answer("/v1/fine-tunes", f"Bearer {key}").body)["data"]
    return [job["id"] for job in jobs]


def call(connection: HTTPConnection, path: str, method: str = "GET", key: str | None = KEY) -> tuple[int, Any]:
    connection.request(method, path, headers={} if key is None else {"Authorization": f"Bearer {key}"})
    response = connection.getresponse()
    content = response.read()
    assert int(response.headers["Content-Length"]) == len(content)
    return response.status, json.loads(content)


def moment(stamp: str) -> float:
    matched = re.fullmatch(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z", stamp)
    assert matched
    return datetime.fromisoformat(f"{matched[1]}+00:00").timestamp() + float(matched[2] or 0)


def types(job: Json) -> list[str]:
    return [event["type"] for event in job["events"]]


KEYS = {"key-a": Script([PLAN]), "key-b": Script([OTHER])}
