"""What is written for users is what runs: links, names, configurations and what is generated. Their commands run in
`test_docs_commands.py`."""

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import bcrypt
import jsonschema  # type: ignore[import-untyped]  # it brings no types
import pytest
import yaml

from exporter.config import Settings, settings
from exporter.metrics import ROWS
from exporter.packaged import SOURCES
from exporter.web.config import load_web_config
from tests.conftest import need
from tests.pages import NOT_RUN, PAGES, ROOT, Block, blocks
from tests.test_rules import known_names, names

CHART = ROOT / "deploy/helm/together-finetune-exporter"
GENERATED = ["docs/alerting.md", "docs/configuration.md", "docs/metrics.md"]
HASH = bcrypt.hashpw(b"a password", bcrypt.gensalt(4)).decode()
LANGUAGES = {"sh", "yaml", "promql", "python", "ini", "text", ""}
SHELL = list(blocks("sh"))
YAML = list(blocks("yaml"))
PROMQL = list(blocks("promql"))


def run(*command: str | Path, env: Mapping[str, str] | None = None) -> str:
    """The output of a program, which must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ | (env or {}))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ids(found: list[Block]) -> list[str]:
    return [block.name for block in found]


# ------------------------------------------------------------------------------------------------------------ pages


@pytest.mark.parametrize("name", GENERATED)
def test_what_is_generated_is_up_to_date(name: str) -> None:
    documents: Callable[[], dict[Path, str]] = runpy.run_path(str(ROOT / "docs/generate.py"))["documents"]
    assert documents()[ROOT / name] == (ROOT / name).read_text(), "run `make docs`"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for path, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_the_readme_leads_to_every_page() -> None:
    seen, new = set[Path](), {ROOT / "README.md"}
    while new:
        page = new.pop()
        seen.add(page)
        links = re.findall(r"\]\((?!https?:)([^)#\s]+\.md)", page.read_text())
        new |= {(page.parent / link).resolve() for link in links} - seen
    assert {page for page in PAGES if page.parent.name != "runbooks"} <= seen


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_name_of_a_metric_or_an_alert_exists(page: Path) -> None:
    if page.name in ("compatibility.md", "CHANGELOG.md"):
        return  # they name what was removed
    text = page.read_text()
    found = {name for name in re.findall(r"(?:\w+:)?\btogether_finetune_[\w:]*", text) if not name.endswith("_")}
    assert found <= known_names() | {row.name for row in ROWS}  # what ends with `_` is the start of a pattern
    alerts = {path.stem for path in (ROOT / "docs/runbooks").iterdir()}
    assert set(re.findall(r"\bTogetherFinetune\w+[a-z]", text)) <= alerts


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_flag_and_variable_and_make_target_exists(page: Path) -> None:
    text = page.read_text()
    known = {setting.flag for setting in settings()}
    groups = "|".join({flag.partition(".")[0] for flag in known if "." in flag} - {"config"})  # as Prometheus has it
    assert set(re.findall(rf"--(?:no-)?((?:{groups})\.[\w.-]*\w)", text)) <= known
    variables = {variable for setting in settings() for variable in setting.variables}
    assert set(re.findall(r"\bTOGETHER_EXPORTER_\w*[A-Z]\b", text)) <= variables
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make ([\w-]+)", text, re.MULTILINE):
        assert f"\n{target}: " in makefile, target


def test_every_path_that_is_served_is_in_the_reference() -> None:
    code, page = (ROOT / "exporter/web/application.py").read_text(), (ROOT / "docs/endpoints.md").read_text()
    paths = re.findall(r'^ +"(/[^"]*)": ', code, re.MULTILINE)
    assert "/sd" in paths
    assert [path for path in paths if f"`{path}`" not in page] == []


def test_every_subcommand_is_in_the_reference() -> None:
    page = (ROOT / "docs/command.md").read_text()
    assert all(f"| `together-finetune-exporter {name}" in page for name in ("status", *SOURCES))


# ----------------------------------------------------------------------------------------------------------- blocks


def test_every_block_has_a_language_that_is_checked() -> None:
    for page in PAGES:
        opening = re.findall(r"^( *)```(\S*)$", page.read_text(), re.MULTILINE)[::2]
        assert {language for _, language in opening} <= LANGUAGES, page
        assert not any(indent for indent, _ in opening), page


@pytest.mark.parametrize("block", SHELL, ids=ids(SHELL))
def test_a_command_runs_in_a_test_or_says_why_not(block: Block) -> None:
    reason = block.note.removeprefix("not run: ")
    known = block.note in ("", "keeps running") or block.note.startswith("until: ") or reason in NOT_RUN
    assert known, f"{block.name}: {block.note}"


@pytest.mark.parametrize("block", PROMQL, ids=ids(PROMQL))
def test_a_query_has_only_metrics_that_exist(block: Block) -> None:
    found = names(block.text)
    assert found or "__name__" in block.text
    assert found <= known_names()


def test_promtool_accepts_every_query(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"query:{number}", "expr": block.text} for number, block in enumerate(PROMQL)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    assert f"{len(PROMQL)} rules found" in run(promtool, "check", "rules", file)


def kind(content: Any) -> str:
    """Which program a block of YAML is for, by its keys."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    sections = {setting.flag.partition(".")[0] for setting in settings()} | {"accounts"}
    for name, keys in {
        "rules": {"groups"},
        "alertmanager": {"route"},
        "prometheus": {"alerting", "remote_write", "rule_files", "scrape_configs"},
        "web": {"tls_server_config", "basic_auth_users"},
        "helm": values.keys() - {"accounts"},
        "exporter": sections,
    }.items():
        if keys & content.keys():
            return name
    raise AssertionError("no program takes this")


@pytest.mark.parametrize("block", YAML, ids=ids(YAML))
def test_a_configuration_is_accepted_by_the_program_it_is_for(block: Block, tmp_path: Path) -> None:
    content = yaml.safe_load(block.text)
    file = tmp_path / "config.yml"
    file.write_text(block.text)
    match kind(content):
        case "rules":
            run(need("promtool", "prometheus"), "check", "rules", file)
        case "prometheus":
            run(need("promtool", "prometheus"), "check", "config", "--syntax-only", file)
        case "alertmanager":
            run(need("amtool", "prometheus-alertmanager"), "check-config", file)
        case "helm":
            jsonschema.validate(content, json.loads((CHART / "values.schema.json").read_text()))
        case "exporter":
            keys = {"TOGETHER_API_KEY": "a-key"}
            for account in content.get("accounts", []):
                if "api_key_env" in account:
                    keys[account["api_key_env"]] = "a-key"
                else:
                    (tmp_path / account["api_key_file"]).parent.mkdir(exist_ok=True)
                    (tmp_path / account["api_key_file"]).write_text("a-key")
            check = (sys.executable, "-m", "exporter", "--config.check", f"--config.file={file}")
            assert run(*check, env=keys) == "the configuration is valid\n"
        case "web":
            file.write_text(block.text.replace("$2y$10$…", HASH))
            load_web_config(file)


def block_with(text: str) -> Block:
    """The only block of YAML with this text."""
    [found] = [block for block in YAML if text in block.text]
    return found


@pytest.mark.parametrize(
    ("alert", "severity", "receiver"),
    [
        ("TogetherFinetuneJobFailed", "critical", "pagerduty"),
        ("TogetherFinetuneApiKeyRefused", "critical", "pagerduty"),
        ("TogetherFinetuneBudgetExceeded", "warning", "slack"),
    ],
)
def test_what_is_critical_pages_and_the_rest_goes_to_a_channel(
    alert: str, severity: str, receiver: str, tmp_path: Path
) -> None:
    file = tmp_path / "alertmanager.yml"
    file.write_text(block_with("routing_key_file").text)
    amtool = need("amtool", "prometheus-alertmanager")
    labels = (f"alertname={alert}", f"severity={severity}", "account=main")
    assert run(amtool, "config", "routes", "test", f"--config.file={file}", *labels).strip() == receiver


def test_the_rule_about_finished_jobs_fires_for_ten_minutes(promtool: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(block_with("FinetuneJobDone\n        expr").text)
    job = 'account="main",job_id="ft-1"'
    fired = {
        "exp_labels": {"account": "main", "job_id": "ft-1", "status": "completed", "severity": "info"},
        "exp_annotations": {"summary": "Fine-tuning job ft-1 (nightly, me/model) is done"},
    }
    series = {
        f'together_finetune_job_finished_timestamp_seconds{{{job},status="completed"}}': "_x4 240x30",
        f'together_finetune_job_info{{{job},suffix="nightly",output_name="me/model"}}': "1x30",
    }
    times = {"3m": [], "5m": [fired], "13m": [fired], "15m": []}
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"eval_time": time, "alertname": "FinetuneJobDone", "exp_alerts": alerts} for time, alerts in times.items()
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": [test]}))
    run(promtool, "test", "rules", file)


# ---------------------------------------------------------------------------------------------------- promises


def test_a_failure_is_reported_within_two_minutes_by_construction() -> None:
    seconds = Settings.model_fields["poll_interval"].default, "15s", "30s", "0m", "10s"
    prometheus = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    groups = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"]
    [(group, rule)] = [
        (group, rule) for group in groups for rule in group["rules"] if rule.get("alert") == "TogetherFinetuneJobFailed"
    ]
    routes = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text())["route"]
    deployed = (
        Settings.model_fields["poll_interval"].default,
        prometheus["global"]["scrape_interval"],
        group["interval"],
        rule["for"],
        routes["group_wait"],
    )
    assert deployed == seconds
    total = 30 * 1.05 + 15 + 30 + 0 + 10
    assert total < 120
    assert f"| sum | {total:g} | |" in (ROOT / "docs/alerting.md").read_text()
