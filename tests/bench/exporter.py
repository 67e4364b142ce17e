"""The exporter as a process: its polls, its scrapes, its memory and its start."""

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import cycle
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tests.bench.lists import Listing
from tests.bench.process import Costs, Scraper, Upstream, answering, upstream
from tests.programs import ExporterProcess, wait_for

FLAGS = (
    "--jobs.limit=100000",
    "--jobs.retention=3650d",
    "--together.timeout=10m",
    "--details.requests-per-minute=100000",
)
DEPENDENCIES = "import bcrypt, prometheus_client, pydantic, requests, rich, urllib3, yaml"
"""What the exporter needs to run, as in pyproject.toml."""

CHANGED = 0.05
_BETWEEN_POLLS = 0.5  # seconds, while scrapes are measured
_SCRAPES = 200
_AT_LEAST, _AT_MOST = 3.0, 10.0  # seconds of scraping, whatever the number


class Target(NamedTuple):
    """A process that polls `api` and is scraped at `port`; and its memory in bytes before the first list."""

    api: Upstream
    port: int
    costs: Costs
    empty: float


_MODES = {
    False: ("--details.mode=off", "--poll.interval=10ms", "--poll.idle-interval=10ms"),
    # Between two polls there must be time to request single jobs.
    True: ("--details.mode=always", "--poll.interval=1s", "--poll.idle-interval=1s"),
}
_DETAILED = 500  # jobs, at most


@contextmanager
def polling(listing: Listing, *, details: bool) -> Iterator[Target]:
    """An exporter that has polled the list, with `details` also a quarter of the jobs one by one, and that waits for
    the answer of its next poll."""
    with upstream(listing, details=min(listing.count // 4, _DETAILED) if details else 0) as api:
        env = {"TOGETHER_API_KEY": "benchmark", "TOGETHER_BASE_URL": api.url}
        with ExporterProcess(*FLAGS, *_MODES[details], **env) as exporter:
            port, costs = int(exporter.url.rpartition(":")[2]), Costs(exporter.pid)
            target = first_poll(api, port, costs)
            while api.details > 0:
                api.answer(api.body)
                api.wait_for_poll()
            yield target


def first_poll(api: Upstream, port: int, costs: Costs) -> Target:
    """Answers the first poll, and waits until nothing more follows from it."""
    api.wait_for_poll()
    costs.settled()
    target = Target(api, port, costs, costs.memory())
    api.answer(api.body)
    api.wait_for_poll()
    costs.settled()
    return target


def poll_costs(target: Target, bodies: Iterator[bytes], *, repeats: int, path: str = "/metrics") -> float:
    """Seconds of processor time of one poll with two scrapes in gzip; the median."""
    scraper = Scraper(target.port, path)
    scraper()
    scraper()
    found = []
    for body in bodies:
        began = target.costs.settled()
        target.api.answer(body)
        target.api.wait_for_poll()
        target.costs.settled()
        scraper()
        scraper()
        found.append(target.costs.settled() - began)
        if len(found) == repeats:
            break
    scraper.close()
    return statistics.median(found)


def polls(listing: Listing, target: Target, *, repeats: int) -> dict[str, float]:
    """Seconds of processor time of a poll with two scrapes: of an unchanged list, and of changed ones."""
    return {
        "unchanged": poll_costs(target, iter(lambda: listing.body, None), repeats=repeats),
        "5 % progress": poll_costs(target, iter(lambda: listing.progress(CHANGED), None), repeats=repeats),
        "5 % anywhere": poll_costs(target, iter(lambda: listing.change(CHANGED), None), repeats=repeats),
    }


class Latency(NamedTuple):
    """Seconds of a scrape: the median, and what 99 % of them do not exceed (of few, the longest)."""

    median: float
    p99: float


def latencies(scrapers: dict[str, Scraper]) -> dict[str, Latency]:
    """The latency of scrapes, of each target in turn, so that what else the machine does meets all of them alike."""
    times: dict[str, list[float]] = {name: [] for name in scrapers}
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < _AT_MOST:
        if elapsed > _AT_LEAST and all(len(found) >= _SCRAPES for found in times.values()):
            break
        for name, scraper in scrapers.items():
            times[name].append(scraper.seconds())
    return {name: Latency(statistics.median(t), sorted(t)[int(0.99 * (len(t) - 1))]) for name, t in times.items()}


def scrapes(listing: Listing, target: Target, nginx: int | None) -> dict[str, Latency]:
    """Latency of the exporter and, where it is installed, of nginx with the same bytes: plain and gzip, at rest and
    while polls with changes go on. `nginx` is the port of that."""
    found: dict[str, Latency] = {}
    bodies = [listing.progress(CHANGED) for _ in range(2 if listing.count > 10_000 else 5)]
    for gzip in (False, True):
        with ExitStack() as stack:
            scrapers = {"exporter": Scraper(target.port, gzip=gzip)}
            if nginx is not None:
                scrapers["nginx"] = Scraper(nginx, gzip=gzip)
            for scraper in scrapers.values():
                stack.callback(scraper.close)
                scraper()
            form = "gzip" if gzip else "plain"
            target.costs.settled()
            found |= {f"{name}, {form}, at rest": latency for name, latency in latencies(scrapers).items()}
            with answering(target.api, cycle(bodies), _BETWEEN_POLLS):
                found |= {f"{name}, {form}, during polls": latency for name, latency in latencies(scrapers).items()}
    return found


def start(listing: Listing, *, repeats: int) -> dict[str, float]:
    """Processor time and wall time from the start to the first scrape with jobs, and of importing the dependencies;
    all of them are compiled before."""
    with TemporaryDirectory() as folder:
        env = {"PYTHONPYCACHEPREFIX": folder, "PYTHONDONTWRITEBYTECODE": ""}
        samples = [{**_imports(env), **_first_scrape(listing, env)} for _ in range(repeats + 1)][1:]
    return {name: statistics.median(sample[name] for sample in samples) for name in samples[0]}


def _imports(env: dict[str, str]) -> dict[str, float]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", DEPENDENCIES], check=True, env={**os.environ, **env})
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"imports": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, "imports, wall": wall}


def _first_scrape(listing: Listing, env: dict[str, str]) -> dict[str, float]:
    with upstream(listing) as api:
        api.answer(listing.body)
        env |= {"TOGETHER_API_KEY": "benchmark", "TOGETHER_BASE_URL": api.url}
        began = time.perf_counter()
        with ExporterProcess(*FLAGS, *_MODES[False], **env) as exporter:
            scraper, costs = Scraper(int(exporter.url.rpartition(":")[2]), gzip=False), Costs(exporter.pid)
            api.wait_for_poll()  # the second poll: the first was answered
            api.wait_for_poll()
            wait_for(lambda: b"together_finetune_job_info{" in scraper())
            found = {"first scrape": costs.seconds(), "first scrape, wall": time.perf_counter() - began}
            scraper.close()
            return found
