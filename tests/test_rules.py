"""Alert rules, their tests, runbooks and the Alertmanager example, checked with Prometheus's own tools."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.metrics import ROWS
from exporter.statuses import STATUSES
from tests.conftest import need
from tests.deploy.common import go_tool
from tests.programs import Alertmanager, wait_for

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
SECTIONS = ["Meaning", "Impact", "What to look at first", "Likely causes", "What to do", "When it clears"]
FOUND_BY = {"up", "process_start_time_seconds"}
"""Metrics of every target: only together with `build_info` are they the exporter's."""
PER_TARGET = {"TogetherFinetuneExporterDown", "TogetherFinetuneExporterFlapping"}
"""Alerts about one target, which name it."""

JOB_OVER = ["TogetherFinetuneJobFailed", "TogetherFinetuneJobBillingLimited"]


@pytest.fixture(params=["promtool", "promtool 3"])
def any_promtool(request: pytest.FixtureRequest) -> str:
    """The promtool on the path, then that of Prometheus 3, where ranges are left-open."""
    return promtool3() if request.param == "promtool 3" else need("promtool", "prometheus")


def promtool3() -> str:
    """The path of promtool 3, which `make tools` builds; the test is skipped if there is only an older one."""
    path = go_tool("promtool")
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    if "version 2." in version.stdout + version.stderr:  # built by `go install`, it names no version
        pytest.skip("promtool 3 is missing: make tools (needs Go 1.26)")
    return path


def run(*command: str | Path) -> str:
    """The output of a program, which must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def queries(page: str) -> list[str]:
    """The PromQL of a runbook."""
    return re.findall(r"^```promql\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def names(promql: str) -> set[str]:
    """The names of metrics and recording rules in PromQL."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', "", promql)
    bare = re.sub(r"\{[^{}]*\}|\[[^\]]*\]|\b(?:on|ignoring|by|without|group_left|group_right)\s*\([^()]*\)", " ", bare)
    words = re.findall(r"(?<![\w.:])[a-zA-Z_:][\w:]*+(?!\s*\()", bare)  # a name before a bracket is a function
    return set(words) - {"and", "or", "unless", "offset", "bool", "Inf", "NaN"}


def known_names() -> set[str]:
    """All names that PromQL may use here."""
    known = FOUND_BY | {"scrape_duration_seconds", "process_resident_memory_bytes"} | RECORDED
    for row in ROWS:
        known |= (
            {f"{row.name}_{part}" for part in ("bucket", "sum", "count")} if row.type == "histogram" else {row.name}
        )
    return known


def test_promtool_accepts_the_rules(any_promtool: str) -> None:
    assert f"{len(_RULES)} rules found" in run(any_promtool, "check", "rules", RULES)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_fires_when_it_must_and_is_silent_otherwise(alert: str, any_promtool: str) -> None:
    run(any_promtool, "test", "rules", RULE_TESTS[alert])


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


def test_every_recording_rule_is_shown_on_a_dashboard_too() -> None:
    boards = "".join(board.read_text() for board in (ROOT / "grafana/dashboards").glob("*.json"))
    assert all(name in boards for name in RECORDED)


def covered(metric: str) -> list[str]:
    """The statuses that the alerts on a metric select, each as often as it is."""
    return sorted(name for rule in ALERTS.values() for name in selected(metric, rule["expr"]))


def selected(metric: str, expression: str) -> list[str]:
    """The statuses that an expression on a metric selects."""
    names = [name for name, status in STATUSES.items() if not metric.endswith("stuck") or status.active]
    matchers = re.findall(metric + r'\{status(=|=~|!~)"([^"]+)"\}', expression)
    return [
        name for operator, regex in matchers for name in names if (operator != "!~") == bool(re.fullmatch(regex, name))
    ]


def test_every_status_in_which_a_job_can_be_stuck_has_exactly_one_alert() -> None:
    assert covered("together_finetune_job_stuck") == sorted(
        status.name for status in STATUSES.values() if status.stuck_after
    )


def test_an_alert_about_stuck_jobs_is_about_one_phase() -> None:
    for rule in ALERTS.values():
        names = selected("together_finetune_job_stuck", rule["expr"])
        assert len({STATUSES[name].phase for name in names}) <= 1


def test_the_rate_of_failures_counts_every_failed_status() -> None:
    assert covered("together_finetune_jobs_finished_total") == sorted(
        status.name for status in STATUSES.values() if status.failed
    )


def test_a_refused_key_is_the_same_wherever_it_is_asked_for() -> None:
    assert set(re.findall(r'code=~"([^"]+)"', RULES.read_text())) == {"401|403"}


@pytest.mark.parametrize("alert", [alert for alert in ALERTS if "Stuck" in alert or alert.endswith("JobFailed")])
def test_a_verdict_of_the_exporter_is_all_that_an_alert_needs(alert: str) -> None:
    expression = ALERTS[alert]["expr"]
    assert names(expression) <= {"together_finetune_job_stuck", "together_finetune_job_failed"}
    assert not re.search(r"\b(on|ignoring|and|or|unless)\b", expression)
    assert ALERTS[alert]["keep_firing_for"] == "10m"


@pytest.mark.parametrize("alert", [alert for alert in ALERTS if alert not in PER_TARGET])
def test_two_replicas_raise_one_alert(alert: str) -> None:
    assert re.search(r"\bwithout \(.*\binstance, pod\b", ALERTS[alert]["expr"])


def test_the_exporter_is_found_whatever_its_scrape_job_is_called() -> None:
    assert not re.search(r"\bjob=", RULES.read_text())
    for rule in _RULES:
        if names(rule["expr"]) & FOUND_BY:
            assert "together_finetune_exporter_build_info" in names(rule["expr"])


@pytest.mark.parametrize("alert", ALERTS)
def test_a_rule_test_has_the_labels_of_a_service_monitor(alert: str) -> None:
    text = RULE_TESTS[alert].read_text()
    for label in ("namespace", "service", "pod", "endpoint", "container"):
        assert f'{label}="' in text


def test_nothing_lingers_for_more_than_15_minutes_where_nothing_marks_the_end_of_a_series() -> None:
    minutes = {"s": 1 / 60, "m": 1, "h": 60}
    for alert, rule in ALERTS.items():
        kept = re.fullmatch(r"(\d+)([smh])", rule.get("keep_firing_for", "0m"))
        reads = re.findall(r"last_over_time\([^\[]+\[(\d+)([smh])\]", rule["expr"])
        assert kept
        if reads:
            looks_back = min(int(number) * minutes[unit] for number, unit in reads)
            assert looks_back + int(kept[1]) * minutes[kept[2]] < 15, alert


@pytest.mark.parametrize("alert", RUNBOOKS)
def test_a_runbook_has_all_its_sections(alert: str) -> None:
    page = RUNBOOKS[alert].read_text()
    assert page.startswith(f"# {alert}\n")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == SECTIONS
    assert "```promql" in page.partition("## What to look at first")[2].partition("## ")[0]
    assert "```sh\ncurl" in page


@pytest.mark.parametrize(
    "alert", [alert for alert, rule in ALERTS.items() if "job_id" in rule["annotations"]["summary"]]
)
def test_a_runbook_about_a_job_leads_to_the_job(alert: str) -> None:
    page = RUNBOOKS[alert].read_text()
    assert "https://api.together.ai/fine-tuning/JOB" in page
    assert "https://api.together.xyz/v1/fine-tunes/JOB" in page
    assert "api.together.ai/fine-tuning/{{ $labels.job_id }}" in ALERTS[alert]["annotations"]["description"]


@pytest.mark.parametrize("alert", RUNBOOKS)
def test_a_runbook_queries_only_metrics_that_exist(alert: str) -> None:
    page = RUNBOOKS[alert].read_text()
    found = set().union(*(names(query) for query in queries(page)))
    assert found, "a page without queries"
    assert found <= known_names()
    assert set(re.findall(r"(?:\w+:)?together_finetune_[\w:]*\w", page)) <= known_names()


def test_promtool_accepts_the_queries_of_the_runbooks(promtool: str, tmp_path: Path) -> None:
    found = [query for page in RUNBOOKS.values() for query in queries(page.read_text())]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(found)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(found)} rules found" in run(promtool, "check", "rules", file)


def test_the_links_of_a_runbook_lead_to_a_runbook() -> None:
    links = {link for page in RUNBOOKS.values() for link in re.findall(r"\]\(([^)]+)\)", page.read_text())}
    assert links <= {page.name for page in RUNBOOKS.values()}


def test_amtool_accepts_the_configuration_of_alertmanager() -> None:
    assert "SUCCESS" in run(need("amtool", "prometheus-alertmanager"), "check-config", ALERTMANAGER)


def test_every_alert_that_alertmanager_mentions_exists() -> None:
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


def test_a_playground_account_wakes_nobody() -> None:
    labels = {"severity": "critical", "account": "example-playground"}
    assert receiver(alertname="TogetherFinetuneJobFailed", **labels) == "example-day"
    assert receiver(alertname="TogetherFinetuneJobStuckRunning", **labels) == "example-day"


def test_a_job_that_failed_is_sent_once() -> None:
    config = yaml.safe_load(ALERTMANAGER.read_text())
    route = next(r for r in config["route"]["routes"] if r["receiver"] == "example-night-once")
    assert int(route["repeat_interval"].removesuffix("h")) > 24
    once = next(r for r in config["receivers"] if r["name"] == "example-night-once")
    assert [hook["send_resolved"] for hook in once["webhook_configs"]] == [False]


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Alertmanager]:
    program = need("prometheus-alertmanager", "prometheus-alertmanager")
    with Alertmanager(program, ALERTMANAGER, tmp_path) as alertmanager:
        yield alertmanager


def inhibited(alertmanager: Alertmanager, label: str) -> set[tuple[str, str]]:
    """The alerts that another one inhibits: name and one label."""
    return {
        (alert["labels"]["alertname"], alert["labels"].get(label, ""))
        for alert in alertmanager.alerts()
        if alert["status"]["inhibitedBy"]
    }


def _labels(alert: str, account: str = "main", **more: str) -> dict[str, str]:
    return {
        "alertname": alert,
        "severity": "critical",
        "namespace": "ml",
        "job": "exporter",
        "account": account,
        **more,
    }


def test_one_problem_of_an_account_is_one_message_and_hides_no_job(alertmanager: Alertmanager) -> None:
    jobs = [_labels(alert, job_id="ft-1") for alert in ALERTS if alert.startswith("TogetherFinetuneJob")]
    problems = [
        _labels("TogetherFinetuneApiKeyRefused"),
        _labels("TogetherFinetuneFiguresStale"),
        _labels("TogetherFinetuneFiguresStale", "other"),
        _labels("TogetherFinetuneApiFailing", "other"),
        _labels("TogetherFinetuneFiguresStale", "third"),
        _labels("TogetherFinetuneApiFailing", "fourth"),
    ]
    alertmanager.send(*jobs, *problems)
    wait_for(lambda: len(alertmanager.alerts()) == len(jobs + problems))
    expected = {
        ("TogetherFinetuneJobsUnjudged", "main"),
        ("TogetherFinetuneFiguresStale", "main"),
        ("TogetherFinetuneApiFailing", "other"),
    }
    wait_for(lambda: inhibited(alertmanager, "account") == expected)


def test_an_exporter_that_is_down_or_restarts_is_one_message(alertmanager: Alertmanager) -> None:
    alertmanager.send(
        _labels("TogetherFinetuneExporterDown", instance="e1"),
        _labels("TogetherFinetuneExporterFlapping", instance="e1"),
        _labels("TogetherFinetuneExporterFlapping", instance="e2"),
        _labels("TogetherFinetuneExporterFlapping", instance="e3", job="restarts"),
        _labels("TogetherFinetuneExporterRestarting", job="restarts"),
    )
    wait_for(lambda: len(alertmanager.alerts()) == 5)
    expected = {("TogetherFinetuneExporterFlapping", "e1"), ("TogetherFinetuneExporterFlapping", "e3")}
    wait_for(lambda: inhibited(alertmanager, "instance") == expected)
