"""The dashboards by the rules of Grafana's dashboard-linter, except as `grafana/.lint` says; the linter itself where it
is installed."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.build import DASHBOARDS
from tests.deploy.common import ROOT, TOOLS, run

Board = dict[str, Any]
Violation = tuple[str, str | None]
"""The titles of a dashboard and of its panel, if a panel violates the rule."""

BOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}
CONFIG = ROOT / "grafana" / ".lint"
EXCLUSIONS = yaml.safe_load(CONFIG.read_text())["exclusions"]
UNITS = {"none", "short", "percentunit", "currencyUSD", "bytes", "s", "dtdurations", "sci"}  # of the linter's list
SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*){([^}]*)}")


def template(board: Board, name: str) -> Board | None:
    """A variable of a dashboard."""
    return next((variable for variable in board["templating"]["list"] if variable["name"] == name), None)


def queries(board: Board) -> Iterator[Board]:
    """The variables of a dashboard whose values Prometheus knows."""
    return (variable for variable in board["templating"]["list"] if variable["type"] == "query")


def is_templated(board: Board) -> bool:
    """Whether the data source can be chosen."""
    chosen = template(board, "datasource")
    return chosen is not None and chosen["type"] == "datasource" and chosen["label"] == "Data source"


def is_template_of(name: str) -> Callable[[Board], bool]:
    """A rule: the variable of a label that each target has allows several values, and all."""

    def holds(board: Board) -> bool:
        chosen = template(board, name)
        return (
            chosen is not None
            and chosen["type"] == "query"
            and chosen["datasource"]["uid"] == "${datasource}"
            and chosen["label"] == name.title()
            and chosen["multi"]
            and chosen["allValue"] == ".+"
        )

    return holds


def matches_all(name: str) -> Callable[[str], bool]:
    """A rule: each selector of a query has a matcher for the variable of that name."""
    return lambda query: all(f'{name}=~"${name}"' in matchers.split(",") for _, matchers in SELECTOR.findall(query))


def counters_are_rates(query: str) -> bool:
    """Whether counters are read by a function that knows their resets."""
    starts = (query[: match.start()] for match in SELECTOR.finditer(query) if match[1].endswith("_total"))
    return all(re.search(r"\b(i?rate|increase)\($", start) for start in starts)


def has_unit(panel: Board) -> bool:
    """Whether a panel shows values in a unit or as words."""
    defaults = panel["fieldConfig"]["defaults"]
    return "mappings" in defaults or defaults.get("unit") in UNITS


OF_BOARDS: dict[str, Callable[[Board], bool]] = {
    "template-datasource-rule": is_templated,
    "template-job-rule": is_template_of("job"),
    "template-instance-rule": is_template_of("instance"),
    "template-label-promql-rule": lambda board: all(
        re.fullmatch(r"(label_values|query_result)\(.+\)", variable["query"]["query"]) for variable in queries(board)
    ),
    "template-on-time-change-reload-rule": lambda board: all(variable["refresh"] == 2 for variable in queries(board)),
    "uneditable-dashboard-rule": lambda board: board["editable"] is False,
}
OF_PANELS: dict[str, Callable[[Board], bool]] = {
    "panel-datasource-rule": lambda panel: panel["datasource"]["uid"] == "${datasource}",
    "panel-title-description-rule": lambda panel: bool(panel["title"] and panel["description"]),
    "panel-units-rule": has_unit,
    "panel-no-targets-rule": lambda panel: bool(panel["targets"]),
}
OF_QUERIES: dict[str, Callable[[str], bool]] = {
    "target-rate-interval-rule": lambda query: (
        set(re.findall(r"\bi?rate\([^[]*\[([^]]*)]", query)) <= {"$__rate_interval"}
    ),
    "target-job-rule": matches_all("job"),
    "target-instance-rule": matches_all("instance"),
    "target-counter-agg-rule": counters_are_rates,
}
"""All rules of the linter, but target-promql-rule: test_dashboards.py runs each query."""
RULES = [*OF_BOARDS, *OF_PANELS, *OF_QUERIES]


def violations(rule: str) -> Iterator[Violation]:
    """Where a rule does not hold."""
    for board in BOARDS.values():
        if rule in OF_BOARDS and not OF_BOARDS[rule](board):
            yield board["title"], None
        for panel in board["panels"]:
            if panel["type"] == "row":
                continue
            if rule in OF_PANELS and not OF_PANELS[rule](panel):
                yield board["title"], panel["title"]
            if rule in OF_QUERIES and not all(OF_QUERIES[rule](target["expr"]) for target in panel["targets"]):
                yield board["title"], panel["title"]


@pytest.mark.parametrize("rule", RULES)
def test_the_dashboards_violate_a_rule_of_the_linter_only_where_an_exception_with_its_reason_says_so(rule: str) -> None:
    exclusion = EXCLUSIONS.get(rule, {"entries": []})
    found = set(violations(rule))
    if "entries" in exclusion:
        assert found == {(entry["dashboard"], entry["panel"]) for entry in exclusion["entries"]}
        assert all(entry["reason"].endswith(".") for entry in exclusion["entries"])
    else:
        assert found, "the exception is no longer needed"
        assert exclusion["reason"].endswith(".")


def test_every_exception_is_of_a_rule() -> None:
    assert set(EXCLUSIONS) <= set(RULES)


@pytest.mark.parametrize("board", BOARDS)
def test_the_linter_itself_finds_nothing(board: str) -> None:
    linter = shutil.which("dashboard-linter", path=TOOLS) or shutil.which("dashboard-linter")
    if linter is None:
        pytest.skip("dashboard-linter is missing: go install github.com/grafana/dashboard-linter@latest")
    run(linter, "lint", "--strict", "--config", CONFIG, Path(DASHBOARDS / f"{board}.json"))
