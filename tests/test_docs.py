"""What is written for users is what runs."""

import re
import runpy
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from exporter.config import Settings
from tests.programs import Program, Prometheus, fetch, wait_for

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("name", ["docs/metrics.md", "docs/configuration.md", "README.md"])
def test_what_is_generated_is_up_to_date(name: str) -> None:
    documents: Callable[[], dict[Path, str]] = runpy.run_path(str(ROOT / "docs/generate.py"))["documents"]
    assert documents()[ROOT / name] == (ROOT / name).read_text(), "run `make docs`"


def test_every_link_of_the_readme_to_a_file_leads_somewhere() -> None:
    for link in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (ROOT / link).exists(), link


def test_every_metric_that_the_readme_names_is_there() -> None:
    known = (ROOT / "docs/metrics.md").read_text()
    for name in set(re.findall(r"together_finetune_\w*[a-z]", README)):
        assert f"`{name}`" in known, name


def test_the_readmes_first_look_works_as_it_is_written(prometheus: str, tmp_path: Path) -> None:
    demo, start_prometheus, question = COMMANDS[:3]
    assert demo == "make demo"
    at = {"TOGETHER_EXPORTER_WEB_LISTEN_ADDRESS": "127.0.0.1:0"}  # what is at 10124 now is not ours
    with Program("make", "demo", env=at, cwd=ROOT) as exporter:
        address = f"127.0.0.1:{exporter.logged('msg=listening', 'port', seconds=600)}"  # it installs packages first
        exporter.line("msg=poll ")
        [path] = re.findall(r"--config.file=(\S+)", start_prometheus)
        folder = shutil.copytree((ROOT / path).parent, tmp_path / "prometheus")
        config = folder / Path(path).name
        config.write_text(config.read_text().replace("localhost:10124", address))
        assert address in config.read_text()
        with Prometheus(prometheus, config, tmp_path / "data") as server:
            curl, flag, url = shlex.split(question)
            assert (curl, flag) == ("curl", "-s")
            url = url.replace("http://localhost:9091", server.url)
            wait_for(lambda: '"together_finetune_jobs"' in fetch(url))


def test_the_readmes_commands_are_those_that_are_tested() -> None:
    assert [command.split()[0] for command in COMMANDS] == [
        "make",
        "prometheus",
        "curl",
        "pip",
        "export",
        "together-finetune-exporter",
        "make",
    ]
    targets = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}: " in makefile for target in targets | set(re.findall(r"`make\s(\w+)`", README)))


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
