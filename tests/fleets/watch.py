"""The real exporter watches a fleet in virtual time: all of it but the HTTP connection and the text of a scrape."""

from dataclasses import dataclass
from math import inf

from exporter.api import ApiError, Client
from exporter.api.client import Reply
from exporter.poller import Poller, Schedule
from exporter.simulator import Simulator
from exporter.simulator.plan import draws
from exporter.state import AccountSettings, Store, Verdict
from tests.fleets.fleet import START, Fleet
from tests.support import ABOUT, KEY

INTERVAL = 300.0  # seconds between polls: polls are the work, and the default of 30 would make ten times as many


@dataclass
class Alarm:
    """A job is stuck, as the exporter says, until it says that it is not, or that it is gone; no verdict ends none."""

    job_id: str
    since: float
    until: float = inf


def watch(fleet: Fleet) -> list[Alarm]:
    """What the exporters of a fleet say in their lives, one after the other."""
    return _Watch(fleet).alarms


class _Watch:
    def __init__(self, fleet: Fleet) -> None:
        self.now = START
        self.alarms: list[Alarm] = []
        self._fleet = fleet
        self._api = Simulator(fleet, key=KEY, clock=lambda: self.now)
        self._open: dict[str, Alarm] = {}
        self._random = draws(fleet.seed).random
        for since, until in fleet.lives:
            self._live(since, until)

    def _live(self, since: float, until: float) -> None:
        store = Store(ABOUT, {"default": AccountSettings()})
        self.now, interval = since, min(INTERVAL, until - since)
        poller = Poller(
            _Direct(self._api),
            store.publisher("default"),
            Schedule(active=interval, idle=interval, concurrency=1, training=self._fleet.training),
            clock=lambda: self.now,
            stopwatch=lambda: self.now,
            random=self._random,
            start=lambda work: work(),  # a thread for each request would be most of the time
        )
        while self.now < until:
            self._change_api()
            wait = poller.poll()
            self._note(store)
            poller.settle()
            self._note(store)
            self.now += wait

    def _change_api(self) -> None:
        troubles = (trouble for trouble in self._fleet.troubles if trouble.since <= self.now < trouble.to)
        self._api.faults[:] = [fault for trouble in troubles for fault in trouble.faults]

    def _note(self, store: Store) -> None:
        verdicts = store.read().accounts["default"].verdicts
        for job_id in list(self._open):
            verdict = verdicts.get(job_id, Verdict())
            if not verdict.stuck and not verdict.unjudged:
                self._open.pop(job_id).until = self.now
        for job_id, verdict in verdicts.items():
            if verdict.stuck and job_id not in self._open:
                self._open[job_id] = Alarm(job_id, self.now)
                self.alarms.append(self._open[job_id])


class _Direct(Client):
    """A client that asks the simulator without HTTP."""

    def __init__(self, api: Simulator) -> None:
        super().__init__("http://simulator.invalid/v1", lambda: KEY, user_agent="fleets")
        self._api = api

    def jobs(self) -> Reply:
        """The list of all jobs."""
        return self._ask("")

    def job(self, job_id: str) -> Reply:
        """All fields of one job."""
        return self._ask(f"/{job_id}")

    def events(self, job_id: str) -> Reply:
        """The events of one job."""
        return self._ask(f"/{job_id}/events")

    def metrics(self, job_id: str, step: int) -> Reply:
        """The training rows of one job."""
        return self._ask(f"/{job_id}/metrics?global_step_from={step}")

    def _ask(self, path: str) -> Reply:
        response = self._api.answer(f"/v1/fine-tunes{path}", f"Bearer {KEY}")
        if response.delay > self._timeout:
            raise ApiError("timeout", "timed out")
        if response.status != 200:
            raise ApiError("http", str(response.status), response.status)
        return Reply(response.body, None)
