"""What happened to an account, event by event: the tests of the state need neither HTTP nor threads.

All times are minutes from `NOW`, so that they can be compared with thresholds: 60 for a running job, 120 for a waiting
one.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Self

from exporter.models import TrainingPoint, parse_events, parse_job, parse_jobs
from exporter.state import (
    AccountSettings,
    AccountState,
    AccountView,
    Call,
    DetailsAnswered,
    Endpoint,
    Event,
    EventsAnswered,
    JobCallFailed,
    JobState,
    ListAnswered,
    ListFailed,
    RowsAnswered,
    Verdict,
)
from tests.support import NOW, jobs_json


def seconds(minutes: float) -> float:
    """Unix seconds."""
    return NOW + 60 * minutes


def minutes(time: float | None) -> float | None:
    """Minutes from `NOW`, rounded to a thousandth."""
    return None if time is None else round((time - NOW) / 60, 3)


def text(time: float | str | None) -> str | None:
    """A time as the API writes it; text is left alone."""
    return time if time is None or isinstance(time, str) else datetime.fromtimestamp(seconds(time), UTC).isoformat()


def job(status: str = "running", job_id: str = "ft-1", /, **fields: Any) -> dict[str, Any]:
    """A job as the API sends it, created an hour ago. Short for what the tests vary: `created`, `updated` and `started`
    are times, `steps`, `epochs` and `place` counters, `estimate` the length of the stage in minutes, and `events` maps
    types to times."""
    short = {"steps": "steps_completed", "epochs": "epochs_completed", "place": "queue_depth"}
    times = {"created": -60, "updated": -60} | {
        name: fields.pop(name) for name in ("created", "updated", "started") if name in fields
    }
    sent: dict[str, Any] = {f"{name}_at": text(time) for name, time in times.items()}
    if (estimate := fields.pop("estimate", None)) is not None:
        sent["progress"] = {"estimate_available": True, "seconds_remaining": 60 * estimate}
    if (events := fields.pop("events", None)) is not None:
        sent["events"] = [{"type": name.partition("#")[0], "created_at": text(time)} for name, time in events.items()]
    return {"id": job_id, "status": status, **sent, **{short.get(name, name): value for name, value in fields.items()}}


WHOLE = {"epochs_completed": 0, "queue_depth": 0, "param_count": 1}
"""The fields besides events that make a list as complete as details."""


class History:
    """An account, and the events that happened to it."""

    def __init__(self, **settings: Any) -> None:
        self.settings = replace(AccountSettings(), **settings)
        self.state = AccountState()

    def happens(self, event: Event) -> Self:
        """Any event."""
        self.state = self.state.after(event, self.settings)
        return self

    def list(self, at: float, *jobs: Any) -> Self:
        """The list arrives."""
        return self.happens(ListAnswered(self._call(at, "list"), parse_jobs(jobs_json(*jobs)), 30.0))

    def list_fails(self, at: float, code: str = "500") -> Self:
        """A request for the list fails."""
        return self.happens(ListFailed(self._call(at, "list", code), 30.0))

    def details(self, at: float, job: dict[str, Any]) -> Self:
        """The details of a job arrive."""
        found = parse_job(json.dumps(job).encode(), job["id"])
        call = self._call(at, "retrieve", job_id=job["id"])
        return self.happens(DetailsAnswered(call, found.jobs[0], found.unknown_values))

    def events(self, at: float, job_id: str = "ft-1", **events: float) -> Self:
        """The events of a job arrive: types with their times."""
        data = [{"type": name, "created_at": text(time)} for name, time in events.items()]
        found, unknown = parse_events(json.dumps({"data": data}).encode(), job_id)
        return self.happens(EventsAnswered(self._call(at, "events", job_id=job_id), found, unknown))

    def rows(self, at: float, *times: float | None, job_id: str = "ft-1", step: int = 1) -> Self:
        """Training rows of a job arrive, one step each from `step` on, with these times."""
        points = tuple(
            TrainingPoint(number, None if time is None else seconds(time), {"train/loss": 1.0})
            for number, time in enumerate(times, start=step)
        )
        return self.happens(RowsAnswered(self._call(at, "metrics", job_id=job_id), points))

    def fails(self, at: float, endpoint: Endpoint, job_id: str = "ft-1", code: str = "500") -> Self:
        """A request about a job fails."""
        return self.happens(JobCallFailed(self._call(at, endpoint, code, job_id)))

    @property
    def view(self) -> AccountView:
        """What follows from all that."""
        return AccountView(self.settings, self.state)

    def job(self, job_id: str = "ft-1") -> JobState:
        """The state of a job."""
        return self.state.jobs[job_id]

    def verdict(self, job_id: str = "ft-1") -> Verdict:
        """The verdict on a job."""
        return self.view.verdicts[job_id]

    def progress(self, job_id: str = "ft-1") -> float | None:
        """When a job last showed a sign of life."""
        return minutes(self.job(job_id).life.progress)

    def deadline(self, job_id: str = "ft-1") -> float | None:
        """When the next sign of life is due."""
        return minutes(self.verdict(job_id).deadline)

    @staticmethod
    def _call(at: float, endpoint: Endpoint, code: str = "200", job_id: str | None = None) -> Call:
        return Call(seconds(at), endpoint, code, 0.1, job_id)
