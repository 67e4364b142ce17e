"""Lists of simulated jobs, and what they become."""

import json
import random
import time
from datetime import UTC, datetime
from typing import Any

from exporter.simulator import Fleet, Shape, job
from exporter.simulator.wire import SHAPES
from exporter.statuses import status_of

_DRAWN = (
    2_000  # jobs of the simulator; in a longer list each stands for several, with ids, times and figures of their own
)

Json = dict[str, Any]


class Listing:
    """The body of a list of `count` jobs in a shape, and what the API says of each of them."""

    def __init__(self, count: int, shape: Shape) -> None:
        self.count, self.shape = count, shape
        now = time.time()
        self._random = random.Random(count)
        self._views = SHAPES[shape]
        fleet = Fleet(jobs=min(count, _DRAWN), start=now, speed=1.0)
        self._drawn = [job(plan, now) for plan in fleet.plans(now)]
        jobs = [self._copy(number) for number in range(count)]
        self._numbers = {found["id"]: number for number, found in enumerate(jobs)}
        self._active = [number for number, found in enumerate(jobs) if status_of(found["status"]).active]
        self._jobs = [json.dumps(found).encode() for found in jobs]
        self.body = self._joined()

    def detail(self, job_id: str) -> bytes:
        """The body of the answer about one job."""
        number = self._numbers[job_id]
        full = self._views.detail(self._drawn[number % len(self._drawn)])
        return json.dumps(full | json.loads(self._jobs[number]) | {"events": full["events"]}).encode()

    def progress(self, share: float) -> bytes:
        """The list after progress in a share of the jobs, all of them active, as long as there are enough of these."""
        return self._changed(self._active, share)

    def change(self, share: float) -> bytes:
        """The list after changes in a share of the jobs, anywhere."""
        return self._changed(range(len(self._jobs)), share)

    def _changed(self, candidates: "list[int] | range", share: float) -> bytes:
        updated = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        for number in self._random.sample(candidates, min(round(share * len(self._jobs)) or 1, len(candidates))):
            found = json.loads(self._jobs[number]) | {"updated_at": updated}
            if progress := found.get("progress"):
                found["progress"] = progress | {"seconds_remaining": round(self._random.uniform(0, 9999), 3)}
            else:
                found["epochs_completed"] = self._random.randint(0, found["n_epochs"])
            self._jobs[number] = json.dumps(found).encode()
        self.body = self._joined()
        return self.body

    def _joined(self) -> bytes:
        return b'{"data": [' + b", ".join(self._jobs) + b"]}"

    def _copy(self, number: int) -> Json:
        found: Json = self._views.listed(self._drawn[number % len(self._drawn)])
        if number < len(self._drawn):
            return found
        text, old = json.dumps(found), found["id"]
        found = json.loads(text.replace(old, f"ft-{self._random.getrandbits(128):032x}"))
        for field in ("created_at", "updated_at", "started_at"):
            if found.get(field):
                found[field] = f"{found[field][:17]}{self._random.uniform(10, 59.9):.4f}Z"
        return found | {name: found[name] and self._random.randrange(10**8) for name in ("token_count", "total_price")}
