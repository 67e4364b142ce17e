"""All figures of one list, by the name that they have in the table, in the unit that ends the name."""

import json
from collections.abc import Mapping
from contextlib import ExitStack

import orjson

from exporter.simulator import Shape
from tests.bench.exporter import Latency, polling, polls, scrapes, start
from tests.bench.lists import Listing
from tests.bench.process import Scraper
from tests.bench.rendering import parsing, rendering
from tests.bench.rivals import json_exporter, naive, nginx

Figures = dict[str, float]

_FEW = 100  # the longest list with which the start is measured
_MANY = 10_000  # of longer lists everything is measured less often, and the others are not


def measure(shape: Shape, count: int, *, quick: bool = False) -> Figures:
    """The figures of a list of `count` jobs in a shape; those that need a program that is missing are left out.

    `quick` measures the exporter alone, and less often.
    """
    listing = Listing(count, shape)
    repeats = 2 if quick or count > _MANY else 7
    figures: Figures = {"list, MB": len(listing.body) / 1e6}
    loads = {
        "orjson": parsing(listing.body, orjson.loads, repeats=7),
        "json": parsing(listing.body, json.loads, repeats=7),
    }
    figures |= {f"`{name}.loads`, ms": seconds * 1e3 for name, seconds in loads.items()}
    for details in (False,) if quick else (False, True):
        suffix = ", with details" if details else ""
        with polling(listing, details=details) as target:
            for change, seconds in polls(listing, target, repeats=repeats).items():
                name = f"poll and two scrapes, {change}{suffix}"
                figures[f"{name}, ms"] = seconds * 1e3
                figures |= {f"{name} / `{other}.loads`": seconds / loads[other] for other in loads}
            if not details and not quick:
                with ExitStack() as stack:
                    plain, compressed = (Scraper(target.port, gzip=gzip)() for gzip in (False, True))
                    port = stack.enter_context(nginx(plain, compressed))
                    for name, latency in scrapes(listing, target, port).items():
                        figures |= _latency(f"scrape, {name}", latency)
            memory = target.costs.memory()
            figures[f"resident memory{suffix}, MB"] = memory / 1e6
            figures[f"resident memory of a job{suffix}, kB"] = (memory - target.empty) / count / 1e3
    figures |= _rendering(*rendering(listing, repeats=min(repeats, 3), against=count <= _MANY))
    if count <= _FEW:
        figures |= _start(start(listing, repeats=repeats))
    if not quick and count <= _MANY:
        for name, costs in (("naive exporter", naive), ("json_exporter", json_exporter)):
            if (found := costs(listing, repeats=2)) is not None:
                figures[f"{name}: poll and two scrapes, ms"] = found.poll * 1e3
                figures[f"{name}: poll and two scrapes / `orjson.loads`"] = found.poll / loads["orjson"]
                figures |= _latency(f"{name}: scrape, gzip, at rest", found.scrape)
                figures[f"{name}: resident memory, MB"] = found.memory / 1e6
    return figures


def growth(lists: Mapping[tuple[str, int], Figures]) -> Figures:
    """By how much times and sizes grow from 10,000 to 100,000 jobs, if both were measured."""
    small, large = lists.get(("live", _MANY), {}), lists.get(("live", 10 * _MANY), {})
    return {name: large[name] / small[name] for name in small if name in large and name.endswith((", ms", ", MB"))}


def _latency(name: str, latency: Latency) -> Figures:
    return {f"{name}: median, ms": latency.median * 1e3, f"{name}: p99, ms": latency.p99 * 1e3}


def _rendering(lines: int, micros: Mapping[str, float]) -> Figures:
    figures: Figures = {"page, lines": lines}
    for name, value in micros.items():
        figures[f"{name}, µs a line"] = value
        if name != "`generate_latest`" and "`generate_latest`" in micros:
            figures[f"{name} / `generate_latest`"] = value / micros["`generate_latest`"]
    figures["page after 1 % changed / first page"] = micros["page after 1 % changed"] / micros["first page"]
    return figures


def _start(found: Mapping[str, float]) -> Figures:
    return {
        "start to the first scrape with jobs, ms of processor time": found["first scrape"] * 1e3,
        "start to the first scrape with jobs / import of the dependencies": found["first scrape"] / found["imports"],
        "the same by the clock": found["first scrape, wall"] / found["imports, wall"],
    }
