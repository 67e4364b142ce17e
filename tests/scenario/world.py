"""A scenario played: what each scrape finds, and what Prometheus keeps of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import inf

from exporter.api import Client
from exporter.exposition import Exposition
from exporter.poller import Poller
from exporter.simulator import Script, Simulator
from exporter.simulator.plan import draws
from exporter.snapshot import Board
from tests.scenario.file import ACCOUNT, Scenario
from tests.support import ABOUT, KEY, SimulatorAdapter

TARGET = 'job="together-finetune",instance="localhost:10124"'


@dataclass
class World:
    """The API, the exporter and the clock of a scenario; moments count from its start."""

    scenario: Scenario
    seed: str
    """Of the random part of the polls' rhythm."""
    exclude: str
    """Metrics that nobody reads, as a regex."""
    now: float = 0.0

    def __post_init__(self) -> None:
        scenario = self.scenario
        self._api = Simulator(Script(scenario.plans), key=KEY, shape=scenario.shape, clock=self._api_clock)
        self._random = draws(self.seed).random
        ends = {trouble.to for trouble in scenario.during if trouble.down == "exporter"}
        self._starts = sorted({0.0, *ends}, reverse=True)
        self._next_poll = inf

    def scrapes(self) -> Iterator[bytes | None]:
        """What each scrape finds: an exposition, or nothing."""
        for at in self.scenario.moments(self.scenario.scrape):
            self._live_until(at)
            reached = not (self.scenario.is_down("exporter", at) or self.scenario.is_down("scrape", at))
            yield self._exposition.page().body if reached else None

    def _clock(self) -> float:
        return self.scenario.start + self.now

    def _api_clock(self) -> float:
        return self._clock() + sum(trouble.clock for trouble in self.scenario.troubles(self.now))

    def _live_until(self, end: float) -> None:
        while (moment := min([self._next_poll, *self._starts[-1:]])) <= end:
            self.now = moment
            if moment in self._starts:
                self._starts.pop()
                self._start()
            self._next_poll = inf if self.scenario.is_down("exporter", moment) else moment + self._poll()
        self.now = end

    def _start(self) -> None:
        board = Board(ABOUT, {ACCOUNT: self.scenario.terms})
        client = Client(
            SimulatorAdapter.url,
            lambda: KEY,
            user_agent="scenario",
            adapter=SimulatorAdapter(self._api),
            clock=self._clock,
        )
        self._exposition = Exposition(board, exclude=self.exclude, clock=self._clock)
        self._poller = Poller(
            ACCOUNT,
            client,
            board,
            self.scenario.polling.schedule(),
            clock=self._clock,
            stopwatch=self._clock,
            random=self._random,
        )

    def _poll(self) -> float:
        troubles = self.scenario.troubles(self.now)
        self._api.faults[:] = [fault for trouble in troubles if trouble.api for fault in trouble.api.faults()]
        for job_id, at in self.scenario.deleted.items():
            if at <= self.now:
                self._api.delete(job_id)
        wait = self._poller.cycle()
        self._poller.settle()
        return wait


class Recording:
    """What Prometheus keeps of a target, of the metrics in `names`, in promtool's notation."""

    def __init__(self, names: set[str], first: int) -> None:
        self._names = names
        self._step = first
        self._there: set[str] = set()
        self._points: dict[str, list[tuple[int, str]]] = {}

    def add(self, page: bytes | None) -> None:
        """A scrape: an exposition, or one that failed."""
        samples = dict(self._samples(page.decode())) if page is not None else {}
        self._next({f"up{{{TARGET}}}": "0" if page is None else "1", **samples})

    def lose(self) -> None:
        """The target is no longer scraped."""
        self._next({})

    def skip(self) -> None:
        """Prometheus is down: when it is back, it does not know what had been there."""
        self._there = set()
        self._step += 1

    def series(self) -> list[dict[str, str]]:
        """All series, as `input_series` has them."""
        return [{"series": series, "values": notation(points)} for series, points in self._points.items()]

    def _samples(self, text: str) -> Iterator[tuple[str, str]]:
        for line in text.splitlines():
            series, _, value = line.rpartition(" ")
            name, _, labels = series.partition("{")
            if name in self._names:
                yield f"{name}{{{TARGET},{labels or '}'}", value

    def _next(self, samples: Mapping[str, str]) -> None:
        gone = dict.fromkeys(self._there - samples.keys(), "stale")
        for series, value in {**samples, **gone}.items():
            self._points.setdefault(series, []).append((self._step, value))
        self._there = set(samples)
        self._step += 1


def notation(points: Iterable[tuple[int, str]]) -> str:
    """Values by step as promtool writes them, runs of the same value as one."""
    words: list[str] = []
    last, run, end = "", 0, 0
    for step, value in [*points, (-1, "")]:
        if value == last and step == end:
            run += 1
        else:
            if run:
                words.append(last if run == 1 else f"{last}+0x{run - 1}")
            if step > end:
                words.append(f"_x{step - end}")
            last, run = value, 1
        end = step + 1
    return " ".join(words)
