"""Scenarios played, and what Prometheus's own engine makes of them."""

import json
import logging
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from tests.scenario.file import Scenario, load, seconds
from tests.scenario.verdict import Alert, Verdict, judge
from tests.scenario.world import record

SCENARIOS = Path(__file__).parent.parent / "scenarios"
RULES = Path(__file__).parent.parent.parent / "deploy" / "prometheus" / "rules.yml"

_BATCH = 12
_ABSENT = 120.0  # seconds without a scrape after which an exporter may be taken for absent
_ASKED = 'ALERTS{alertstate="firing"} or vector(0)'  # never nothing, so that promtool answers for every moment
_ANSWER = re.compile(r"time: (\S+),\n +exp: nil\n +got: (.*)")
_ALERT = re.compile(r'\{(__name__="ALERTS".*?)\} 1E\+00')
_LABEL = re.compile(r'(\w+)="(.*?)"')

Batch = Sequence[Path]
"""Files of scenarios that Prometheus evaluates together, each as a scrape job of its own: this is much quicker."""


def batches(files: Iterable[Path]) -> list[Batch]:
    """The files, in batches of similar scenarios."""
    scenarios = {path: load(path) for path in sorted(files)}
    by_kind: dict[tuple[bool, float, float], list[Path]] = {}
    for path, scenario in sorted(scenarios.items(), key=lambda item: item[1].end):
        by_kind.setdefault(_kind(scenario), []).append(path)
    sizes = {kind: 1 if kind[0] else _BATCH for kind in by_kind}
    return [
        paths[first : first + sizes[kind]]
        for kind, paths in by_kind.items()
        for first in range(0, len(paths), sizes[kind])
    ]


def play(batch: Batch, promtool: str = "promtool", rules: Path = RULES) -> list[Verdict]:
    """Plays scenarios of one batch, and judges each of them."""
    names = set(re.findall(r"[A-Za-z_]\w*", rules.read_text(encoding="utf-8")))
    scenarios = {path.stem: load(path) for path in batch}
    series = [series for name, scenario in scenarios.items() for series in record(scenario, name, names)]
    found = _firing(list(scenarios.values()), series, rules, promtool)
    verdicts = []
    for name, scenario in scenarios.items():
        own = {
            at: [alert for alert in found[scenario.start + at] if alert["job"] == name]
            for at in scenario.moments(scenario.evaluate)
        }
        verdicts.append(judge(scenario, name, own))
    return verdicts


def players() -> ProcessPoolExecutor:
    """Processes to play batches side by side; they do not log the troubles that are meant."""
    return ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=logging.disable)


def _kind(scenario: Scenario) -> tuple[bool, float, float]:
    """What the scenarios of a batch have in common: intervals.

    A scenario in which no exporter is scraped for a while is alone, since an alert on that looks at all scrape jobs.
    """
    gone = any(trouble.down not in (None, "scrape") and trouble.lasts > _ABSENT for trouble in scenario.during)
    return gone, scenario.scrape, scenario.evaluate


def _firing(
    scenarios: Sequence[Scenario], series: Sequence[Mapping[str, str]], rules: Path, promtool: str
) -> dict[float, list[Alert]]:
    """What fires at each evaluation (unix seconds), as Prometheus has it."""
    scrape, evaluate = scenarios[0].scrape, scenarios[0].evaluate
    moments = sorted({scenario.start + at for scenario in scenarios for at in scenario.moments(evaluate)})
    # Nothing is what it expects each time, so that it tells what it found.
    asked = [{"expr": _ASKED, "eval_time": _at(moment), "exp_samples": []} for moment in moments]
    test = {"interval": _at(scrape), "input_series": series, "promql_expr_test": asked}
    told = _promtool(promtool, {"evaluation_interval": _at(evaluate), "tests": [test]}, rules)
    found: dict[float, list[Alert]] = {
        seconds(time): [dict(_LABEL.findall(alert)) for alert in _ALERT.findall(alerts)]
        for time, alerts in _ANSWER.findall(told)
    }
    if list(found) != moments:
        raise RuntimeError(told)  # it evaluated nothing, and says why
    return found


def _at(seconds: float) -> str:
    return f"{seconds:.0f}s"


def _promtool(promtool: str, test: Mapping[str, Any], rules: Path) -> str:
    """What promtool says of a test of the rules, whose annotations are left out: their queries take time."""
    content = yaml.safe_load(rules.read_text(encoding="utf-8"))
    for group in content["groups"]:
        group["rules"] = [{name: rule[name] for name in rule if name != "annotations"} for rule in group["rules"]]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "test.yml"
        (path.parent / "rules.yml").write_text(json.dumps(content), encoding="utf-8")  # JSON is YAML too
        path.write_text(json.dumps({"rule_files": ["rules.yml"], **test}), encoding="utf-8")
        ran = subprocess.run(
            [promtool, "test", "rules", str(path)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "GOMAXPROCS": "1", "GOGC": "400"},  # others play at the same time
        )
    return ran.stdout + ran.stderr
