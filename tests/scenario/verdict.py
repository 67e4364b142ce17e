"""What fires in a scenario, as Prometheus has it, and whether that is as expected."""

import json
import logging
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from exporter.metrics import ROWS
from tests.scenario.file import DAY, MINUTE, Expected, Scenario, load, seconds
from tests.scenario.world import Recording, World

SCENARIOS = Path(__file__).parent.parent / "scenarios"
RULES = Path(__file__).parent.parent.parent / "deploy" / "prometheus" / "rules.yml"


Alert = Mapping[str, str]  # its labels
_ASKED = 'ALERTS{alertstate="firing"} or vector(0)'  # never nothing, so that promtool answers for every moment
_ANSWER = re.compile(r"time: (\S+),\n +exp: nil\n +got: (.*)")
_ALERT = re.compile(r'\{(__name__="ALERTS".*?)\} 1E\+00')
_LABEL = re.compile(r'(\w+)="(.*?)"')


def firing(scenario: Scenario, name: str, rules: Path, promtool: str) -> dict[float, list[Alert]]:
    """What fires at each evaluation, as Prometheus has it."""
    words = set(re.findall(r"[A-Za-z_]\w*", rules.read_text(encoding="utf-8")))
    asked = {at: _at(scenario.start + at) for at in scenario.moments(scenario.evaluate)}
    # Nothing is what it expects each time, so that it tells what it found.
    test = {
        "interval": _at(scenario.scrape),
        "input_series": record(scenario, name, words).series(),
        "promql_expr_test": [{"expr": _ASKED, "eval_time": time, "exp_samples": []} for time in asked.values()],
    }
    evaluation = {"rule_files": [str(rules.resolve())], "evaluation_interval": _at(scenario.evaluate)}
    told = _promtool(promtool, {**evaluation, "tests": [test]})
    answers = {seconds(time): _ALERT.findall(found) for time, found in _ANSWER.findall(told)}
    if answers.keys() != set(map(seconds, asked.values())):
        raise RuntimeError(told)  # it evaluated nothing, and says why
    return {at: [dict(_LABEL.findall(alert)) for alert in answers[seconds(time)]] for at, time in asked.items()}


def record(scenario: Scenario, name: str, names: set[str]) -> Recording:
    """Plays a scenario, and keeps the metrics in `names`."""
    unread = "|".join(row.name for row in ROWS if not any(name.startswith(row.name) for name in names))
    recording = Recording(names, int(scenario.start // scenario.scrape))
    moments = scenario.moments(scenario.scrape)
    for at, page in zip(moments, World(scenario, name, unread).scrapes(), strict=True):
        if scenario.is_down("prometheus", at):
            recording.skip()
        elif scenario.is_down("target", at):
            recording.lose()
        else:
            recording.add(page)
    return recording


def _at(seconds: float) -> str:
    return f"{seconds:.0f}s"


def _promtool(promtool: str, test: Mapping[str, Any]) -> str:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "test.yml"
        path.write_text(json.dumps(test), encoding="utf-8")  # which is YAML too
        ran = subprocess.run([promtool, "test", "rules", str(path)], capture_output=True, text=True, check=False)
    return ran.stdout + ran.stderr


@dataclass
class Verdict:
    """How what fired compares with what was expected, counted in evaluations.

    `delays` has the alerts that were expected and fired, each with its seconds from the event.
    """

    name: str
    days: float
    hits: int = 0
    false: list[tuple[float, Alert]] = field(default_factory=list)
    missed: list[tuple[float, Expected]] = field(default_factory=list)
    delays: list[tuple[str, float]] = field(default_factory=list)

    @property
    def precision(self) -> float:
        """The part of what fired that was expected."""
        return self.hits / (self.hits + len(self.false)) if self.hits or self.false else 1.0

    @property
    def recall(self) -> float:
        """The part of what was expected that fired."""
        return self.hits / (self.hits + len(self.missed)) if self.hits or self.missed else 1.0

    def complaints(self) -> list[str]:
        """What fired against the expectation and what did not, each with its minutes."""
        minutes: dict[str, list[float]] = {}
        for at, alert in self.false:
            minutes.setdefault("false: " + _shown(alert), []).append(at)
        for at, expected in self.missed:
            minutes.setdefault("missed: " + _shown({"alertname": expected.alert, **expected.labels}), []).append(at)
        return [f"{text} at {_spans(moments)}" for text, moments in minutes.items()]


def judge(scenario: Scenario, name: str, found: Mapping[float, Sequence[Alert]]) -> Verdict:
    """Compares what fires at each evaluation with what is expected then, but for when Prometheus was down: nothing was
    evaluated there."""
    verdict = Verdict(name, scenario.lasts / DAY)
    first: dict[int, float] = {}
    for at, alerts in found.items():
        if scenario.is_down("prometheus", at):
            continue
        left = list(alerts)
        # What must fire goes first, so that what merely may does not take its alert.
        for number, expected in sorted(enumerate(scenario.expect), key=lambda pair: not pair[1].must(at)):
            alert = next(filter(expected.names, left), None) if expected.may(at) else None
            if alert is not None:
                left.remove(alert)
                first.setdefault(number, at)
            if expected.must(at):
                verdict.hits += alert is not None
                verdict.missed += [(at, expected)] if alert is None else []
        verdict.false += [(at, alert) for alert in left]
    for number, at in first.items():
        expected = scenario.expect[number]
        verdict.delays.append((expected.alert, at - (expected.since if expected.event is None else expected.event)))
    return verdict


def play(path: Path, promtool: str = "promtool", rules: Path = RULES) -> Verdict:
    """Plays the scenario of a file and judges it."""
    scenario, name = load(path), path.stem
    return judge(scenario, name, firing(scenario, name, rules, promtool))


def players() -> ProcessPoolExecutor:
    """Processes to play scenarios side by side; they do not log the troubles that are meant."""
    return ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=logging.disable)


def _shown(alert: Alert) -> str:
    left_out = ("__name__", "alertname", "alertstate", "instance", "job")
    return f"{alert['alertname']}{ {name: text for name, text in alert.items() if name not in left_out} }"


def _spans(moments: list[float]) -> str:
    """Moments in ascending order as minutes, those next to each other as a span."""
    spans: list[list[float]] = []
    for at in moments:
        if spans and at - spans[-1][1] <= 2 * MINUTE:
            spans[-1][1] = at
        else:
            spans.append([at, at])
    return ", ".join(f"{first / MINUTE:g}..{last / MINUTE:g} min" for first, last in spans)


def table(verdicts: Iterable[Verdict]) -> str:
    """The verdicts and their totals as text, a line each; delays are minutes."""
    verdicts = list(verdicts)
    total = Verdict(f"all {len(verdicts)}", sum(verdict.days for verdict in verdicts))
    lines = [_line("scenario", "days", "alerts", "expected", "false", "missed", "precision", "recall", "delays")]
    for verdict in verdicts:
        total.hits += verdict.hits
        total.false += verdict.false
        total.missed += verdict.missed
        total.delays += verdict.delays
    for verdict in [*verdicts, total]:
        delays = [f"{alert.removeprefix('TogetherFinetune')} {delay / MINUTE:g}" for alert, delay in verdict.delays]
        lines.append(
            _line(
                verdict.name,
                f"{verdict.days:.1f}",
                len(verdict.delays),
                verdict.hits + len(verdict.missed),
                len(verdict.false),
                len(verdict.missed),
                f"{verdict.precision:.3f}",
                f"{verdict.recall:.3f}",
                ", ".join(delays) if verdict is not total else "",
            )
        )
        lines += [f"    {complaint}" for complaint in verdict.complaints() if verdict is not total]
    return "\n".join(lines)


def _line(*cells: object) -> str:
    widths = (-36, 5, 7, 9, 6, 7, 10, 7, -1)
    return "  ".join(
        str(cell).ljust(-width) if width < 0 else str(cell).rjust(width)
        for cell, width in zip(cells, widths, strict=True)
    ).rstrip()
