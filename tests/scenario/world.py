"""A scenario played: what each scrape finds, and what Prometheus stores of it."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from math import inf
from operator import itemgetter
from urllib.parse import urlencode

from exporter.api import ApiError, Client
from exporter.api.client import Reply
from exporter.metrics import ROWS, Collector, number
from exporter.poller import Poller
from exporter.simulator import Script, Simulator
from exporter.simulator.plan import draws
from exporter.state import Store
from tests.scenario.file import ACCOUNT, TIMEOUT, Scenario
from tests.support import ABOUT, KEY

Series = str
"""A metric and its own labels, as `name,label="value",…`."""


def record(scenario: Scenario, name: str, names: set[str]) -> list[dict[str, str]]:
    """Plays a scenario. Returns the series that Prometheus stores, of the metrics in `names`, as `input_series` has
    them. The scrape job has the name of the scenario."""
    series = []
    for number_ in range(scenario.replicas):
        replica = Replica(scenario, f"{name}-{number_}", names)
        recording = Recording(int(scenario.start // scenario.scrape))
        for at in scenario.moments(scenario.scrape):
            replica.live_until(at)
            if scenario.is_down("prometheus", at):
                recording.skip()
            elif scenario.is_down("target", at) or scenario.is_down("pod", at):
                recording.add({})
            else:
                reached = not (scenario.is_down("exporter", at) or scenario.is_down("scrape", at))
                samples = {"up": "1", **replica.samples()} if reached else {"up": "0"}
                target = f'job="{name}",instance="{replica.instance}"'
                recording.add({f"{series},{target}": value for series, value in samples.items()})
        series += recording.series()
    return series


class Replica:
    """An exporter with a clock and an API of its own, in a scenario; moments count from its start.

    `seed` is that of the jitter of the poll interval.
    """

    def __init__(self, scenario: Scenario, seed: str, names: set[str]) -> None:
        self._scenario = scenario
        self._seed = seed
        self._unread = "|".join(row.name for row in ROWS if not any(name.startswith(row.name) for name in names))
        self._names = names
        self._api = Simulator(Script(scenario.plans), key=KEY, shape=scenario.shape, clock=self._api_clock)
        self._random = draws(seed).random
        self._pods = scenario.back("pod")
        events: list[tuple[float, Callable[[], None]]] = [
            *((at, self._start) for at in {0.0, *self._pods, *scenario.back("exporter")}),
            *((at, partial(self._api.delete, job_id)) for job_id, at in scenario.deleted.items()),
            (scenario.renamed, self._configure),
            (inf, self._start),
        ]
        self._events = sorted(events, key=itemgetter(0), reverse=True)
        self._now = 0.0
        self._next_poll = inf

    @property
    def instance(self) -> str:
        """The instance that Prometheus scrapes: a new pod has a new one."""
        return f"{self._seed}-{sum(moment <= self._now for moment in self._pods)}"

    def live_until(self, end: float) -> None:
        """Lets time pass."""
        while (moment := min(self._next_poll, self._events[-1][0])) <= end:
            self._now = moment
            if moment == self._events[-1][0]:
                self._events.pop()[1]()
            elif self._is_down():
                self._next_poll = inf
            else:
                self._next_poll = moment + self._poll()
        self._now = end

    def samples(self) -> dict[Series, str]:
        """What a scrape finds now."""
        samples = {"process_start_time_seconds": number(self._started)}
        for family in self._collector.collect():
            for name, labels, value, *_ in family.samples:
                if name in self._names:
                    samples[",".join((name, *(f'{label}="{text}"' for label, text in labels.items())))] = number(value)
        return samples

    def _clock(self) -> float:
        return self._scenario.start + self._now

    def _api_clock(self) -> float:
        return self._clock() + sum(trouble.clock for trouble in self._scenario.troubles(self._now))

    def _is_down(self) -> bool:
        return self._scenario.is_down("exporter", self._now) or self._scenario.is_down("pod", self._now)

    def _start(self) -> None:
        """Starts a process, which knows nothing."""
        self._started = self._clock()
        self._store = Store(ABOUT, {})
        self._collector = Collector(self._store, exclude=self._unread, clock=self._clock)
        self._configure()

    def _configure(self) -> None:
        """Loads the configuration."""
        account = ACCOUNT if self._now < self._scenario.renamed else "renamed"
        config = self._scenario.config(account)
        self._store.configure({account: config.settings})
        self._poller = Poller(
            _DirectClient(self._api),
            self._store.publisher(account),
            config.schedule,
            clock=self._clock,
            stopwatch=self._clock,
            random=self._random,
            start=lambda work: work(),
        )
        self._next_poll = self._now

    def _poll(self) -> float:
        troubles = self._scenario.troubles(self._now)
        self._api.faults[:] = [fault for trouble in troubles if trouble.api for fault in trouble.api.faults]
        wait = self._poller.poll()
        self._poller.settle()
        return wait


class _DirectClient(Client):
    """Calls a simulator without HTTP. A response that takes longer than the timeout is a timeout."""

    def __init__(self, api: Simulator) -> None:
        super().__init__("", lambda: KEY, user_agent="scenario", timeout=TIMEOUT)
        self._api = api

    def _get(self, path: str, **query: int) -> Reply:
        response = self._api.answer(f"/v1{path}?{urlencode(query)}", f"Bearer {KEY}")
        if response.delay > TIMEOUT:
            raise ApiError("timeout", "timed out")
        if response.status != 200:
            raise ApiError("http", f"HTTP {response.status}", response.status)
        return Reply(response.body, None)


class Recording:
    """What Prometheus stores of a target; `first` is the step of the first scrape."""

    def __init__(self, first: int) -> None:
        self._step = first
        self._there: set[Series] = set()
        self._points: dict[Series, list[tuple[int, str]]] = {}

    def add(self, samples: Mapping[Series, str]) -> None:
        """A scrape; series that it lacks end."""
        for series in self._there - samples.keys():
            self._points[series].append((self._step, "stale"))
        for series, value in samples.items():
            self._points.setdefault(series, []).append((self._step, value))
        self._there = set(samples)
        self._step += 1

    def skip(self) -> None:
        """Prometheus is down: when it is back, it does not know what had been there."""
        self._there = set()
        self._step += 1

    def series(self) -> list[dict[str, str]]:
        """All series, as `input_series` has them."""
        return [{"series": _written(series), "values": notation(points)} for series, points in self._points.items()]


def _written(series: Series) -> str:
    name, _, labels = series.partition(",")
    return f"{name}{{{labels}}}"


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
