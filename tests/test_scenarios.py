"""Every scenario, played against the alert rules; and that the runner tells right from wrong."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.conftest import need
from tests.scenario import RULES, SCENARIOS, Batch, Scenario, Verdict, batches, judge, load, notation, play

VERDICTS = Path(__file__).parent.parent / "docs" / "verdicts.md"
PATHS = sorted(SCENARIOS.glob("*.yml"))
JOB = {"alertname": "Failed", "job_id": "ft-1", "severity": "critical"}


@pytest.fixture
def _no_log() -> Iterator[None]:
    """Does not log the troubles that are meant."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.usefixtures("_no_log")
@pytest.mark.parametrize("batch", batches(PATHS), ids=lambda batch: "-".join(sorted({batch[0].stem, batch[-1].stem})))
def test_alerts_are_as_expected(batch: Batch) -> None:
    verdicts = play(batch, need("promtool", "prometheus"))
    assert [(verdict.name, complaint) for verdict in verdicts for complaint in verdict.complaints()] == []


def test_every_alert_is_expected_somewhere() -> None:
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    assert {expected.alert for path in PATHS for expected in load(path).expect} == alerts


def test_the_documentation_names_scenarios_that_exist() -> None:
    rows = re.findall(r"^\| .* \| (`[^|]*`) \|$", VERDICTS.read_text(encoding="utf-8"), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert len(named) > 50
    assert named <= {path.stem for path in PATHS}


def judged(*firing: range, down: str = "") -> Verdict:
    """The verdict where one alert is expected from minute 10 (by 12 at the latest) to 20, and these minutes have it."""
    expected = {"alert": "Failed", "labels": {"job_id": "ft-1"}, "from": "10m", "within": "2m", "until": "20m"}
    trouble = [{"down": down, "from": "0m", "to": "30m"}] if down else []
    scenario = Scenario.model_validate({"about": "", "lasts": "40m", "expect": [expected], "during": trouble})
    found = {60.0 * minute: [JOB for minutes in firing if minute in minutes] for minute in range(41)}
    return judge(scenario, "test", found)


@pytest.mark.parametrize("firing", [range(10, 20), range(12, 20), range(10, 36)])
def test_an_alert_may_come_and_go_within_the_tolerance(firing: range) -> None:
    verdict = judged(firing)
    assert (verdict.hits, verdict.complaints()) == (8, [])
    assert verdict.delays == [("Failed", 60.0 * (firing.start - 10))]
    assert verdict.lingering == [("Failed", 60.0 * max(firing.stop - 21, 0))]


def test_what_fires_besides_is_false_and_what_does_not_is_missed() -> None:
    verdict = judged(range(9, 15), range(17, 37))
    assert [at / 60 for at, _ in verdict.false] == [9, 36]
    assert [at / 60 for at, _ in verdict.missed] == [15, 16]
    assert (verdict.precision, verdict.recall) == (0.75, 0.75)


def test_an_alert_that_resolves_and_fires_again_is_reported() -> None:
    assert [at / 60 for at, _ in judged(range(10, 24), range(26, 30)).repeated] == [26]


def test_an_expected_alert_is_one_alert() -> None:
    assert [at / 60 for at, _ in judged(range(10, 20), range(14, 16)).false] == [14, 15]


def test_nobody_is_judged_while_prometheus_is_down() -> None:
    assert judged(down="prometheus").complaints() == []
    assert judged(down="exporter").complaints() != []


def test_samples_in_promtools_notation() -> None:
    points = [(2, "1.0"), (3, "1.0"), (4, "stale"), (7, "NaN"), (8, "NaN"), (9, "NaN"), (10, "-2.5")]
    assert notation(points) == "_x2 1.0+0x1 stale _x2 NaN+0x2 -2.5"
