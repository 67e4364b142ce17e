"""The alerts: rules, their own tests, runbooks, and the example of Alertmanager, checked by Prometheus' own tools."""

import json
import re
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.metrics import ROWS
from tests.conftest import need
from tests.programs import Program, fetch, free_port, wait_for

ROOT = Path(__file__).parent.parent
RULES = ROOT / "deploy/prometheus/rules.yml"
ALERTMANAGER = ROOT / "deploy/alertmanager/alertmanager.yml"
RUNBOOKS = {page.stem: page for page in (ROOT / "docs/runbooks").glob("*.md")}
RULE_TESTS = {file.stem: file for file in (ROOT / "tests/rules").glob("*.yml")}
REPOSITORY = "https://github.com/together-finetune-exporter/together-finetune-exporter"

_RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in _RULES if "alert" in rule}
RECORDED = {rule["record"] for rule in _RULES if "record" in rule}
SECTIONS = ["Meaning", "Impact", "How to tell the causes apart", "What to do", "When it clears"]

JOB_STUCK = [f"TogetherFinetuneJob{what}" for what in ("StuckWaiting", "StuckRunning", "StuckFinishing", "CancelStuck")]
JOB_OVER = ["TogetherFinetuneJobFailed", "TogetherFinetuneJobBillingLimited"]


def run(*command: str | Path) -> str:
    """What a program says; fails where it is not content."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def queries(page: str) -> list[str]:
    """The PromQL of a runbook."""
    return re.findall(r"^```promql\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def names(promql: str) -> set[str]:
    """The names of metrics and recording rules in PromQL."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", promql)
    bare = re.sub(r"\{[^{}]*\}|\[[^\]]*\]|\b(?:on|by|without|group_left|group_right)\s*\([^()]*\)", " ", bare)
    words = re.findall(r"(?<![\w.:])[a-zA-Z_:][\w:]*+(?!\s*\()", bare)  # what stands before a bracket is a function
    return set(words) - {"and", "or", "unless", "offset", "bool", "Inf", "NaN"}


def known_names() -> set[str]:
    """All names that PromQL may use here."""
    known = {"up"} | RECORDED
    for row in ROWS:
        known |= (
            {f"{row.name}_{part}" for part in ("bucket", "sum", "count")} if row.type == "histogram" else {row.name}
        )
    return known


def test_promtool_accepts_the_rules(promtool: str) -> None:
    assert f"{len(_RULES)} rules found" in run(promtool, "check", "rules", RULES)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_when_it_must_and_is_silent_otherwise(alert: str, promtool: str) -> None:
    run(promtool, "test", "rules", RULE_TESTS[alert])


@pytest.mark.parametrize("alert", ALERTS)
def test_a_rule_test_sees_its_alert_silent_and_firing_with_its_text_and_cleared(alert: str) -> None:
    tests = yaml.safe_load(RULE_TESTS[alert].read_text())["tests"]
    checks = [
        [check["exp_alerts"] for check in test["alert_rule_test"] if check["alertname"] == alert] for test in tests
    ]
    whole = [[bool(alerts) for alerts in found] for found in checks]
    assert any(found[0] is False and True in found and found[-1] is False for found in whole)
    assert [False] in [sorted(set(found)) for found in whole], "no case that stays silent throughout"
    expected = [alert for found in checks for alerts in found for alert in alerts]
    assert all(alert["exp_labels"] and alert["exp_annotations"] for alert in expected)


def test_every_alert_has_a_rule_test_and_every_rule_test_an_alert() -> None:
    assert RULE_TESTS.keys() == ALERTS.keys()


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert RUNBOOKS.keys() == ALERTS.keys()


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_how_bad_it_is_what_happened_and_where_to_read_on(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert all(rule["annotations"].values())
    assert rule["annotations"]["runbook_url"] == f"{REPOSITORY}/blob/main/docs/runbooks/{alert}.md"


def test_every_wait_of_an_alert_has_its_reason() -> None:
    waits = re.findall(r"^ +(?:for|keep_firing_for): \S+(.*)$", RULES.read_text(), re.MULTILINE)
    assert len(waits) >= len(ALERTS)
    assert all(re.fullmatch(r" # \w.+", reason) for reason in waits)
    assert all("for" in rule for rule in ALERTS.values())


def test_the_rules_use_only_metrics_that_exist() -> None:
    assert set().union(*(names(rule["expr"]) for rule in _RULES)) <= known_names()


def test_the_annotations_query_only_metrics_that_exist() -> None:
    texts = "".join(text for rule in ALERTS.values() for text in rule["annotations"].values())
    queried = set(re.findall(r"together_finetune_\w+", texts))
    assert queried
    assert queried <= known_names()


def test_every_recording_rule_is_used_by_an_alert() -> None:
    assert set().union(*(names(rule["expr"]) for rule in _RULES)) >= RECORDED


@pytest.mark.parametrize("alert", RUNBOOKS)
def test_a_runbook_has_all_its_sections(alert: str) -> None:
    page = RUNBOOKS[alert].read_text()
    assert page.startswith(f"# {alert}\n")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == SECTIONS


@pytest.mark.parametrize("alert", RUNBOOKS)
def test_a_runbook_queries_only_metrics_that_exist(alert: str) -> None:
    page = RUNBOOKS[alert].read_text()
    found = set().union(*(names(query) for query in queries(page)))
    assert found, "a page without queries"
    assert found <= known_names()
    assert set(re.findall(r"(?:\w+:)?together_finetune_[\w:]+", page)) <= known_names()


def test_promtool_accepts_the_queries_of_the_runbooks(promtool: str, tmp_path: Path) -> None:
    found = [query for page in RUNBOOKS.values() for query in queries(page.read_text())]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(found)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(found)} rules found" in run(promtool, "check", "rules", file)


def test_the_links_of_a_runbook_lead_to_a_runbook() -> None:
    links = {link for page in RUNBOOKS.values() for link in re.findall(r"\]\(([^)]+)\)", page.read_text())}
    assert links <= {page.name for page in RUNBOOKS.values()}


def test_the_configuration_of_alertmanager_is_good() -> None:
    assert "SUCCESS" in run(need("amtool", "prometheus-alertmanager"), "check-config", ALERTMANAGER)


def test_every_alert_that_alertmanager_is_told_of_exists() -> None:
    mentioned = set(re.findall(r"TogetherFinetune\w+", ALERTMANAGER.read_text()))
    assert mentioned <= ALERTS.keys()


def receiver(**labels: str) -> str:
    """The receiver that the routes choose."""
    amtool = need("amtool", "prometheus-alertmanager")
    given = [f"{name}={value}" for name, value in labels.items()]
    return run(amtool, "config", "routes", "test", f"--config.file={ALERTMANAGER}", *given).strip()


@pytest.mark.parametrize("alert", ALERTS)
def test_what_is_critical_wakes_somebody_and_the_rest_waits_for_the_day(alert: str) -> None:
    severity = ALERTS[alert]["labels"]["severity"]
    wanted = "example-night-once" if alert in JOB_OVER else "example-night" if severity == "critical" else "example-day"
    assert receiver(alertname=alert, severity=severity, account="main") == wanted


def test_an_account_to_play_with_wakes_nobody() -> None:
    labels = {"severity": "critical", "account": "example-playground"}
    assert receiver(alertname="TogetherFinetuneJobFailed", **labels) == "example-day"
    assert receiver(alertname="TogetherFinetuneJobStuckRunning", **labels) == "example-day"


def test_a_job_that_failed_is_told_once() -> None:
    config = yaml.safe_load(ALERTMANAGER.read_text())
    route = next(r for r in config["route"]["routes"] if r["receiver"] == "example-night-once")
    assert "job_id" in route["group_by"]
    assert int(route["repeat_interval"].removesuffix("h")) > 24
    told = next(r for r in config["receivers"] if r["name"] == "example-night-once")
    assert [hook["send_resolved"] for hook in told["webhook_configs"]] == [False]


class Alertmanager(Program):
    """A real Alertmanager with the example's configuration, its data in `folder`."""

    def __init__(self, folder: Path) -> None:
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}/api/v2/alerts"
        super().__init__(
            need("prometheus-alertmanager", "prometheus-alertmanager"),
            f"--config.file={ALERTMANAGER}",
            f"--storage.path={folder}",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",
        )
        self.line("Listening on")

    def fire(self, *alerts: dict[str, str]) -> None:
        """Tells of alerts, and waits until they are there."""
        body = json.dumps([{"labels": labels} for labels in alerts]).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10):
            wait_for(lambda: len(json.loads(fetch(self.url))) == len(alerts))

    def silenced(self) -> set[tuple[str, str]]:
        """The alerts that another one inhibits: name and instance."""
        found = json.loads(fetch(self.url))
        labels = [alert["labels"] for alert in found if alert["status"]["inhibitedBy"]]
        return {(label["alertname"], label.get("instance", "")) for label in labels}


def _labels(alert: str, instance: str, account: str = "main") -> dict[str, str]:
    return {"alertname": alert, "severity": "critical", "account": account, "instance": instance, "job_id": "ft-1"}


@pytest.mark.parametrize(
    "cause", ["TogetherFinetuneApiFailing", "TogetherFinetuneApiKeyRefused", "TogetherFinetuneFiguresStale"]
)
def test_an_account_that_is_not_seen_silences_its_stuck_jobs_and_nothing_else(cause: str, tmp_path: Path) -> None:
    others = [alert for alert in ALERTS if not alert.startswith(("TogetherFinetuneApi", "TogetherFinetuneFigures"))]
    with Alertmanager(tmp_path) as alertmanager:
        seen = [_labels(alert, "e1", "other") for alert in JOB_STUCK]
        hit = [_labels(alert, "e1") for alert in others if alert != "TogetherFinetuneExporterDown"]
        alertmanager.fire(_labels(cause, "e1"), *seen, *hit)
        wait_for(lambda: alertmanager.silenced() == {(alert, "e1") for alert in JOB_STUCK})


def test_an_exporter_that_is_down_silences_all_that_it_told_but_not_the_end_of_a_job(tmp_path: Path) -> None:
    others = ALERTS.keys() - {"TogetherFinetuneExporterDown", "TogetherFinetuneExporterAbsent", *JOB_OVER}
    with Alertmanager(tmp_path) as alertmanager:
        down = {"alertname": "TogetherFinetuneExporterDown", "severity": "critical", "instance": "e1"}
        ends = [{"alertname": alert, "severity": "critical", "account": "main"} for alert in JOB_OVER]
        elsewhere = _labels("TogetherFinetuneJobRestarting", "e2")
        alertmanager.fire(down, elsewhere, *ends, *(_labels(alert, "e1") for alert in others))
        wait_for(lambda: alertmanager.silenced() == {(alert, "e1") for alert in others})


def test_one_trouble_of_an_account_is_one_call(tmp_path: Path) -> None:
    with Alertmanager(tmp_path) as alertmanager:
        alertmanager.fire(
            _labels("TogetherFinetuneApiKeyRefused", "e1"),
            _labels("TogetherFinetuneFiguresStale", "e1"),
            _labels("TogetherFinetuneFiguresStale", "e2"),
            _labels("TogetherFinetuneApiFailing", "e2"),
        )
        wait_for(
            lambda: (
                alertmanager.silenced()
                == {("TogetherFinetuneFiguresStale", "e1"), ("TogetherFinetuneApiFailing", "e2")}
            )
        )
