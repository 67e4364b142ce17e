"""The benchmark runs, and what it finds is not far from what it should be; the limits leave room for a busy machine."""

import re
from pathlib import Path

import pytest

from tests.bench.measure import Figures, growth, measure
from tests.bench.table import PAGE, TARGETS, table, targets, write


@pytest.fixture(scope="module")
def figures() -> Figures:
    """Those of a short list, measured in a hurry."""
    return measure("live", 100, quick=True)


def test_rendering_costs_little_more_than_with_prometheus_client(figures: Figures) -> None:
    assert figures["first page / `generate_latest`"] < 1.5


def test_a_page_after_a_change_costs_less_than_the_first(figures: Figures) -> None:
    assert figures["page after 1 % changed / first page"] < 0.8


def test_the_start_costs_little_more_than_importing_the_dependencies(figures: Figures) -> None:
    assert figures["start to the first scrape with jobs / import of the dependencies"] < 3


def test_every_target_is_measured(figures: Figures) -> None:
    assert {name for name, _, _ in TARGETS if not name.startswith("scrape, ")} <= figures.keys()


def test_the_tables_have_a_row_for_each_figure_and_for_each_target(figures: Figures) -> None:
    found = {("live", 100): figures, ("live", 10_000): figures, ("live", 100_000): figures}
    assert {line.split("|")[1].strip() for line in table(found).splitlines()[2:]} == figures.keys()
    assert len(targets(found).splitlines()) == 2 + len(figures.keys() & {name for name, _, _ in TARGETS}) + 2
    assert set(growth(found).values()) == {1.0}


def test_the_tables_are_written_between_the_markers_of_the_page(
    figures: Figures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "performance.md"
    page.write_text(PAGE.read_text())
    monkeypatch.setattr("tests.bench.table.PAGE", page)
    found = {("live", 100): figures}
    for _ in range(2):  # the second time over the first
        write(found, "make bench")
        text = page.read_text()
        assert text.count(table(found)) == text.count(targets(found)) == 1
        assert prose(text) == prose(PAGE.read_text())


def prose(text: str) -> str:
    """What is not between the markers."""
    return re.sub(r"(<!-- (\w+) -->\n).*?(<!-- /\2 -->\n)", r"\1\3", text, flags=re.DOTALL)
