"""Rendering alone, in this process: the exposition against prometheus-client's own rendering of the collector."""

import gc
import statistics
import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, generate_latest

from exporter.__main__ import GC_THRESHOLDS
from exporter.exposition import Exposition
from exporter.metrics import Collector
from exporter.models import parse_jobs
from exporter.state import AccountSettings, Call, ListAnswered, Store
from tests.bench.lists import Listing
from tests.support import ABOUT

_MICRO = 1e6
_UNLIMITED = AccountSettings(details=False, retention=3650 * 86400.0, limit=100_000)


def rendering(listing: Listing, *, repeats: int, against: bool) -> tuple[int, dict[str, float]]:
    """The lines of the page, and microseconds of processor time per line: for a first page, for one after changes, and,
    with `against`, for `generate_latest`."""
    gc.set_threshold(*GC_THRESHOLDS)
    store = Store(ABOUT, {"default": _UNLIMITED})
    publisher = store.publisher("default")

    def publish(body: bytes) -> None:
        publisher.apply(ListAnswered(Call(time.time(), "list", "200", 0.1), parse_jobs(body), 30.0))

    publish(listing.body)
    lines = Exposition(store).page().body.count(b"\n")
    exposition = Exposition(store)

    def after(share: float) -> float:
        times = []
        for _ in range(repeats):
            publish(listing.progress(share))
            times.append(_seconds(exposition.page))
        return statistics.median(times)

    registry = CollectorRegistry()
    registry.register(Collector(store))
    first = statistics.median(_seconds(Exposition(store).page) for _ in range(repeats))
    exposition.page()
    figures = {
        "first page": first,
        "page after 1 % changed": after(0.01),
        "page after 5 % changed": after(0.05),
        "page again": _seconds(exposition.page),
    }
    if against:
        figures["`generate_latest`"] = statistics.median(
            _seconds(lambda: generate_latest(registry)) for _ in range(repeats)
        )
    return lines, {name: seconds * _MICRO / lines for name, seconds in figures.items()}


def parsing(body: bytes, loads: Callable[[bytes], object], *, repeats: int) -> float:
    """Seconds of processor time to parse the list with a library."""
    return statistics.median(_seconds(lambda: loads(body)) for _ in range(repeats))


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began
