"""Every scenario, played against the alert rules; and that the runner tells right from wrong."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
import yaml

from tests.conftest import need
from tests.scenario import RULES, SCENARIOS, Scenario, Verdict, judge, load, notation, play, players, table

PATHS = sorted(SCENARIOS.glob("*.yml"))
JOB = {"alertname": "Failed", "job_id": "ft-1", "severity": "critical"}


@pytest.fixture(scope="module")
def verdict(request: pytest.FixtureRequest) -> Iterator[Callable[[Path], Verdict]]:
    """Gives the verdict on a scenario. Those of the tests that are selected are played side by side, each once."""
    promtool = need("promtool", "prometheus")
    playing: dict[Path, Future[Verdict]] = {}
    with players() as pool:

        def begin(path: Path) -> Future[Verdict]:
            if path not in playing:
                playing[path] = pool.submit(play, path, promtool)
            return playing[path]

        for item in request.session.items:
            if isinstance(item, pytest.Function) and item.originalname == test_alerts_are_as_expected.__name__:
                begin(Path(str(item.callspec.params["path"])))
        yield lambda path: begin(path).result()
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_alerts_are_as_expected(path: Path, verdict: Callable[[Path], Verdict]) -> None:
    assert verdict(path).complaints() == []


def test_every_alert_is_expected_somewhere() -> None:
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule}
    assert {expected.alert for path in PATHS for expected in load(path).expect} == alerts


def test_precision_and_recall_over_all(verdict: Callable[[Path], Verdict]) -> None:
    verdicts = [verdict(path) for path in PATHS]
    assert len(verdicts) >= 30
    assert sum(verdict.days for verdict in verdicts) >= 30
    assert {(verdict.precision, verdict.recall) for verdict in verdicts} == {(1.0, 1.0)}, table(verdicts)


def judged(*firing: range, down: str = "") -> Verdict:
    """The verdict where one alert is expected from minute 10 (by 12 at the latest) to 20, and these minutes have it."""
    expected = {"alert": "Failed", "labels": {"job_id": "ft-1"}, "from": "10m", "within": "2m", "until": "20m"}
    trouble = [{"down": down, "from": "0m", "to": "30m"}] if down else []
    scenario = Scenario.model_validate({"about": "", "lasts": "30m", "expect": [expected], "during": trouble})
    found = {60.0 * minute: [JOB for minutes in firing if minute in minutes] for minute in range(31)}
    return judge(scenario, "test", found)


@pytest.mark.parametrize("firing", [range(10, 20), range(12, 20), range(10, 23)])
def test_an_alert_may_come_and_go_within_the_tolerance(firing: range) -> None:
    verdict = judged(firing)
    assert (verdict.hits, verdict.complaints()) == (8, [])
    assert verdict.delays == [("Failed", 60.0 * (firing.start - 10))]


def test_what_fires_besides_is_false_and_what_does_not_is_missed() -> None:
    verdict = judged(range(9, 15), range(17, 24))
    assert [at / 60 for at, _ in verdict.false] == [9, 23]
    assert [at / 60 for at, _ in verdict.missed] == [15, 16]
    assert (verdict.precision, verdict.recall) == (0.75, 0.75)


def test_an_expected_alert_is_one_alert() -> None:
    assert [at / 60 for at, _ in judged(range(10, 20), range(14, 16)).false] == [14, 15]


def test_nobody_is_judged_while_prometheus_is_down() -> None:
    assert judged(down="prometheus").complaints() == []
    assert judged(down="exporter").complaints() != []


def test_samples_in_promtools_notation() -> None:
    points = [(2, "1.0"), (3, "1.0"), (4, "stale"), (7, "NaN"), (8, "NaN"), (9, "NaN"), (10, "-2.5")]
    assert notation(points) == "_x2 1.0+0x1 stale _x2 NaN+0x2 -2.5"
