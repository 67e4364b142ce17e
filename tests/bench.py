"""Ratios of speed and size, for lists of 100, 1,000 and 10,000 jobs in both shapes: `make bench`."""

import gc
import json
import time
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from exporter.__main__ import GC_THRESHOLDS
from exporter.exposition import Exposition
from exporter.metrics import Collector
from exporter.models import parse_jobs
from exporter.simulator import Fleet, job, live, reference
from exporter.state import Call, ListAnswered
from tests.programs import ExporterProcess, fetch, wait_for
from tests.support import NOW, Wire, http, new_store, parse

SHAPES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {"live": live, "reference": reference}
COLUMNS = ("shape", "jobs", "list", "parse/json", "scrape/generate", "first scrape", "resident memory")


def main() -> None:
    """Prints a row for each shape and size."""
    gc.set_threshold(*GC_THRESHOLDS)
    print("  ".join(COLUMNS))
    for shape, form in SHAPES.items():
        for count in (100, 1_000, 10_000):
            body = body_of(count, form)
            parsing, scraping = ratios(body)
            seconds, memory = process(body)
            cells = (
                shape,
                f"{count:,}",
                f"{len(body) / 2**20:.1f}M",
                f"{parsing:.2f}",
                f"1/{1 / scraping:,.0f}",
                f"{seconds:.2f}s",
                f"{memory / 2**20:.0f}M",
            )
            print("  ".join(cell.rjust(len(name)) for cell, name in zip(cells, COLUMNS, strict=True)))


def body_of(count: int, form: Callable[[dict[str, Any]], dict[str, Any]]) -> bytes:
    """A list of `count` simulated jobs."""
    return json.dumps({"data": [form(job(plan, NOW)) for plan in Fleet(jobs=count, start=NOW).plans(NOW)]}).encode()


def ratios(body: bytes) -> tuple[float, float]:
    """Parsing and validating against `json.loads`; a cached scrape against `generate_latest` of the same families."""
    store = new_store()
    store.publisher("default").apply(ListAnswered(Call(NOW, "list", "200", 0.1), parse_jobs(body), 30.0))
    exposition = Exposition(store, clock=lambda: NOW)
    registry = CollectorRegistry()
    registry.register(Collector(store, clock=lambda: NOW))
    exposition.page()
    return (
        fastest(lambda: parse_jobs(body)) / fastest(lambda: json.loads(body)),
        fastest(exposition.page) / fastest(lambda: generate_latest(registry)),
    )


def fastest(call: Callable[[], object]) -> float:
    """The seconds of the fastest of some runs, which is the one that the machine disturbed least."""
    times = []
    for _ in range(7):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)


def process(body: bytes) -> tuple[float, float]:
    """Seconds from start to the first scrape with jobs in it, and resident memory in bytes after ten polls."""
    with Wire(http(body)) as wire:
        began = time.perf_counter()
        flags = ("--poll.interval=500ms", "--poll.idle-interval=500ms")
        with ExporterProcess(*flags, TOGETHER_API_KEY="k", TOGETHER_BASE_URL=wire.url) as exporter:
            wait_for(lambda: b"together_finetune_jobs{" in fetch(f"{exporter.url}/metrics").encode())
            seconds = time.perf_counter() - began
            wait_for(lambda: len(wire.requests) > 10)
            return seconds, parse(fetch(f"{exporter.url}/metrics"))[("process_resident_memory_bytes", frozenset())]


if __name__ == "__main__":
    main()
