"""Docker Compose: the same files at the same places, with Debian's Prometheus and Alertmanager on a machine of their
own. Nothing here starts Compose or Grafana."""

import json
import sys
from pathlib import Path
from typing import Any

import yaml

from exporter.config import settings
from tests.conftest import need
from tests.deploy.common import ROOT
from tests.deploy.machine import Network
from tests.programs import wait_for

COMPOSE = ROOT / "deploy/compose/compose.yml"
GROUPS = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"]
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]


def mounts(service: str) -> dict[str, Path]:
    """The files and folders of the repository that a service sees: its path of each, and the repository's."""
    volumes = (volume.split(":") for volume in SERVICES[service]["volumes"])
    return {volume[1]: (COMPOSE.parent / volume[0]).resolve() for volume in volumes if volume[0].startswith(".")}


def test_compose_starts_the_demo_or_the_account_of_the_key() -> None:
    exporter = SERVICES["exporter"]
    known = {variable for setting in settings() for variable in setting.variables} | {"TOGETHER_API_KEY"}
    assert exporter["environment"].keys() <= known
    assert exporter["command"] == "${TOGETHER_API_KEY:+--no-demo}"  # nothing without a key


def test_every_file_that_compose_mounts_is_there() -> None:
    found = [path for service in ("prometheus", "alertmanager", "grafana") for path in mounts(service).values()]
    assert [path for path in found if not path.exists()] == []


def test_every_port_is_published_on_loopback_alone() -> None:
    assert all(port.startswith("127.0.0.1:") for service in SERVICES.values() for port in service["ports"])


def test_grafana_finds_its_data_source_and_the_dashboards_where_they_are_mounted() -> None:
    seen = mounts("grafana")
    [source] = yaml.safe_load(seen["/etc/grafana/provisioning/datasources/prometheus.yml"].read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "isDefault" not in source
    folder = seen["/etc/grafana/provisioning/dashboards"]
    [provider] = yaml.safe_load(next(folder.iterdir()).read_text())["providers"]
    assert list(seen[provider["options"]["path"]].glob("*.json"))


def test_prometheus_scrapes_the_exporter_and_finds_alertmanager(prometheus: str, tmp_path: Path) -> None:
    alertmanager = need("prometheus-alertmanager", "prometheus-alertmanager")
    # Debian's data are elsewhere than the images', and there is no network in which to look for other Alertmanagers.
    notifier = (alertmanager, *SERVICES["alertmanager"]["command"], "--storage.path=data", "--cluster.listen-address=")
    server = (prometheus, *SERVICES["prometheus"]["command"], "--storage.tsdb.path=data")
    with (
        Network(tmp_path, SERVICES) as network,
        network.start(
            "exporter", sys.executable, "-m", "exporter", PYTHONPATH=str(ROOT), TOGETHER_EXPORTER_DEMO="true"
        ),
        network.start("alertmanager", *notifier, files=mounts("alertmanager")),
        network.start("prometheus", *server, files=mounts("prometheus")),
    ):

        def ask(path: str) -> Any:
            answer = network.fetch(f"http://prometheus:9090/api/v1/{path}")
            return json.loads(answer)["data"] if answer else None

        wait_for(lambda: (found := ask("query?query=together_finetune_up")) and found["result"])
        notified = [{"url": "http://alertmanager:9093/api/v2/alerts"}]
        wait_for(lambda: (found := ask("alertmanagers")) and found["activeAlertmanagers"] == notified)
        groups = {group["name"] for group in wait_for(lambda: ask("rules"))["groups"]}
        assert groups == {group["name"] for group in GROUPS}
        wait_for(lambda: "TogetherFinetune" in network.fetch("http://alertmanager:9093/api/v2/status"))
