"""From the API to the notification, in real time: simulator, exporter, Prometheus, Alertmanager, webhook."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from exporter.simulator import Plan, Script, Simulator
from tests.conftest import need
from tests.programs import Alertmanager, ExporterProcess, Prometheus, fetch, wait_for

DEPLOY = Path(__file__).parent.parent / "deploy"


class Receiver(HTTPServer):
    """A webhook that keeps the messages it receives."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Webhook)
        self.messages: list[list[dict[str, Any]]] = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_port}/"

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """The alerts in all messages."""
        return [alert for message in self.messages for alert in message]

    def received(self, name: str, job_id: str, status: str) -> list[dict[str, Any]]:
        """The notifications that an alert about a job is `firing` or `resolved`."""
        return [
            alert
            for alert in self.alerts
            if alert["status"] == status
            and (alert["labels"]["alertname"], alert["labels"].get("job_id")) == (name, job_id)
        ]


class _Webhook(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.messages.append(json.loads(body)["alerts"])
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = Thread(target=receiver.serve_forever, args=(0.05,))
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()


def faster(text: str) -> str:
    """A configuration with waits of a second or none: the test proves the way, not how long it takes."""
    text = re.sub(r"\[[16]m\]", "[3s]", text)
    text = re.sub(r"\b(for|keep_firing_for): \w+", r"\1: 0s", text)
    text = re.sub(r"\b(scrape_interval|evaluation_interval|interval): \w+", r"\1: 1s", text)
    text = re.sub(r"\bgroup_wait: \w+", "group_wait: 0s", text)
    return re.sub(r"\bgroup_interval: \w+", "group_interval: 1s", text)


def prometheus_config(folder: Path, exporter: str, alertmanager: str) -> Path:
    """The deployed configuration, quicker, and for these addresses."""
    (folder / "rules.yml").write_text(faster((DEPLOY / "prometheus/rules.yml").read_text()))
    config = faster((DEPLOY / "prometheus/prometheus.yml").read_text())
    config = config.replace("localhost:10124", exporter).replace("localhost:9093", alertmanager)
    (folder / "prometheus.yml").write_text(config)
    return folder / "prometheus.yml"


def alertmanager_config(folder: Path, receiver: str) -> Path:
    """The deployed configuration, for that receiver."""
    config = (DEPLOY / "alertmanager/alertmanager.yml").read_text()
    (folder / "alertmanager.yml").write_text(re.sub(r"http://localhost:5001/\S*", receiver, config))
    return folder / "alertmanager.yml"


def test_a_failed_job_a_stuck_one_and_its_recovery_are_notified(
    receiver: Receiver, prometheus: str, tmp_path: Path
) -> None:
    alertmanager = need("prometheus-alertmanager", "prometheus-alertmanager")
    now = time.time()
    plans = [
        Plan(id="ft-fails", created=now, fate="error", pending=0.1, queued=0.1, download=0.1, train=16),
        Plan(id="ft-hangs", created=now, fate="hang", fate_stage="queued", queued=1000, pending=0.1),
        Plan(id="ft-lives", created=now, pending=0.1, queued=0.1, download=0.1, train=3600, total_steps=3600),
    ]
    account = {
        "name": "team",
        "api_key_env": "TEAM_KEY",
        "failure_window": "10m",
        "stuck_after": {"queued": "3s", "pending": "3s"},
    }
    settings = tmp_path / "exporter.yml"
    settings.write_text(yaml.safe_dump({"accounts": [account], "poll": {"interval": "500ms"}}))
    routes = alertmanager_config(tmp_path, receiver.url)
    routes.write_text(faster(routes.read_text()))
    with (
        Simulator(Script(plans), key="k") as simulator,
        ExporterProcess(f"--config.file={settings}", TEAM_KEY="k", TOGETHER_BASE_URL=simulator.url) as exporter,
        Alertmanager(alertmanager, routes, tmp_path / "alerts") as manager,
    ):
        config = prometheus_config(tmp_path, exporter.url.removeprefix("http://"), manager.address)
        with Prometheus(prometheus, config, tmp_path / "data"):
            [failed] = wait_for(lambda: receiver.received("TogetherFinetuneJobFailed", "ft-fails", "firing"))[:1]
            assert failed["labels"]["account"] == "team"
            assert "ft-fails" in json.dumps(failed["annotations"])
            [stuck] = wait_for(lambda: receiver.received("TogetherFinetuneJobStuckWaiting", "ft-hangs", "firing"))[:1]
            assert "ft-hangs" in json.dumps(stuck["annotations"])
            plans[1] = replace(plans[1], fate="completed", queued=0.1, train=3600)
            wait_for(lambda: receiver.received("TogetherFinetuneJobStuckWaiting", "ft-hangs", "resolved"))
            assert "ft-lives" not in json.dumps(receiver.alerts)
            assert fetch(f"{exporter.url}/-/ready") == "ready\n"


def test_500_failures_are_one_message_per_account(receiver: Receiver, tmp_path: Path) -> None:
    alertmanager = need("prometheus-alertmanager", "prometheus-alertmanager")
    failed = {"alertname": "TogetherFinetuneJobFailed", "severity": "critical", "status": "error"}
    alerts = [{**failed, "account": "main", "job_id": f"ft-{number}"} for number in range(500)]
    alerts.append({**failed, "account": "other", "job_id": "ft-1"})
    with Alertmanager(alertmanager, alertmanager_config(tmp_path, receiver.url), tmp_path / "alerts") as manager:
        for first in range(0, len(alerts), 64):  # the batches in which Prometheus sends them
            manager.send(*alerts[first : first + 64])
        wait_for(lambda: len(receiver.alerts) >= len(alerts))
        assert sorted(map(len, receiver.messages)) == [1, 500]
