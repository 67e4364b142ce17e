"""The figures as a table in Markdown, the targets with what was measured, and the page in docs that has both."""

import os
import platform
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.measure import Figures, growth

PAGE = Path(__file__).parent.parent.parent / "docs/performance.md"

Lists = Mapping[tuple[str, int], Figures]
"""The figures by shape and number of jobs."""

TARGETS: Sequence[tuple[str, int, float]] = (
    ("poll and two scrapes, 5 % progress / `orjson.loads`", 10_000, 4),
    ("poll and two scrapes, unchanged / `orjson.loads`", 10_000, 1),
    ("first page / `generate_latest`", 10_000, 1 / 12),
    ("page after 1 % changed / first page", 10_000, 1 / 10),
    *((f"scrape, exporter, {form}, at rest: p99, ms", 10_000, 50) for form in ("plain", "gzip")),
    *((f"scrape, exporter, {form}, during polls: p99, ms", 10_000, 150) for form in ("plain", "gzip")),
    ("resident memory, MB", 10_000, 200),
    ("resident memory, MB", 100, 60),
    ("start to the first scrape with jobs / import of the dependencies", 100, 1.5),
)
"""Figures of live jobs, and the most that each may be."""
_GROWTH = 11
"""The most by which a time or a size may grow for ten times as many jobs."""


def table(lists: Lists) -> str:
    """A row for each figure, a column for each list, and one for the growth."""
    grown = growth(lists)
    columns = [*lists.values(), *([grown] if grown else [])]
    names = dict.fromkeys(name for figures in lists.values() for name in figures)
    head = ["", *(f"{shape} {count:,}" for shape, count in lists), *(["growth"] if grown else [])]
    return _markdown(head, ([name, *(_written(column.get(name)) for column in columns)] for name in names))


def targets(lists: Lists) -> str:
    """A row for each target that was measured."""
    found = [(name, f"{jobs:,}", most, lists.get(("live", jobs), {}).get(name)) for name, jobs, most in TARGETS]
    if grown := growth(lists):
        worst = max(grown, key=grown.__getitem__)
        found.append((f"growth of what grows most: {worst}", "10,000 to 100,000", _GROWTH, grown[worst]))
    rows = (
        [name, jobs, _written(most), _written(value), "yes" if value <= most else "no"]
        for name, jobs, most, value in found
        if value is not None
    )
    return _markdown(["figure", "live jobs", "at most", "measured", "met"], rows)


def about(command: str) -> str:
    """How, where and when the figures were found."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    machine = f"{os.cpu_count()} x {cpu[1] if cpu else platform.machine()}"
    return f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {machine}, Python {platform.python_version()}\n"


def write(lists: Lists, command: str) -> None:
    """Puts the tables into docs/performance.md, between its markers."""
    text = PAGE.read_text()
    for marker, content in (("targets", targets(lists)), ("figures", f"{about(command)}\n{table(lists)}")):
        before, start, rest = text.partition(f"<!-- {marker} -->\n")
        _, end, after = rest.partition(f"<!-- /{marker} -->\n")
        text = before + start + content + end + after
    PAGE.write_text(text)


def _written(value: float | None) -> str:
    """A figure with the three digits that count."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
