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
from urllib.request import Request, urlopen

import pytest
import yaml

from exporter.simulator import Plan, Script, Simulator
from tests.conftest import need
from tests.programs import ExporterProcess, Program, Prometheus, fetch, free_port, wait_for

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


def write_configs(folder: Path, exporter: str, alertmanager: str, receiver: str) -> None:
    """The deployed configurations, quicker, and for these addresses."""
    (folder / "rules.yml").write_text(faster((DEPLOY / "prometheus/rules.yml").read_text()))
    config = faster((DEPLOY / "prometheus/prometheus.yml").read_text())
    config = config.replace("localhost:10124", exporter).replace("localhost:9093", alertmanager)
    (folder / "prometheus.yml").write_text(config)
    routes = faster((DEPLOY / "alertmanager/alertmanager.yml").read_text())
    (folder / "alertmanager.yml").write_text(re.sub(r"http://localhost:5001/\S*", receiver, routes))


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
        "failure_window": "20s",
        "stuck_after": {"queued": "3s", "pending": "3s"},
    }
    (tmp_path / "exporter.yml").write_text(yaml.safe_dump({"accounts": [account], "poll": {"interval": "500ms"}}))
    with (
        Simulator(Script(plans), key="k") as simulator,
        ExporterProcess(
            f"--config.file={tmp_path / 'exporter.yml'}", TEAM_KEY="k", TOGETHER_BASE_URL=simulator.url
        ) as exporter,
    ):
        at = f"127.0.0.1:{free_port()}"
        write_configs(tmp_path, exporter.url.removeprefix("http://"), at, receiver.url)
        with (
            Program(
                alertmanager,
                f"--config.file={tmp_path / 'alertmanager.yml'}",
                f"--storage.path={tmp_path / 'alerts'}",
                f"--web.listen-address={at}",
                "--cluster.listen-address=",
            ) as manager,
            Prometheus(prometheus, tmp_path / "prometheus.yml", tmp_path / "data"),
        ):
            manager.line("Listening on")
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
    at = f"127.0.0.1:{free_port()}"
    routes = (DEPLOY / "alertmanager/alertmanager.yml").read_text()
    (tmp_path / "alertmanager.yml").write_text(re.sub(r"http://localhost:5001/\S*", receiver.url, routes))
    failed = {"alertname": "TogetherFinetuneJobFailed", "severity": "critical", "status": "error"}
    alerts = [{"labels": {**failed, "account": "main", "job_id": f"ft-{number}"}} for number in range(500)]
    alerts.append({"labels": {**failed, "account": "other", "job_id": "ft-1"}})
    with Program(
        alertmanager,
        f"--config.file={tmp_path / 'alertmanager.yml'}",
        f"--storage.path={tmp_path / 'alerts'}",
        f"--web.listen-address={at}",
        "--cluster.listen-address=",
    ) as manager:
        manager.line("Listening on")
        for first in range(0, len(alerts), 64):  # the batches in which Prometheus sends them
            body = json.dumps(alerts[first : first + 64]).encode()
            request = Request(f"http://{at}/api/v2/alerts", body, {"Content-Type": "application/json"})
            with urlopen(request, timeout=10):
                pass
        wait_for(lambda: len(receiver.alerts) >= len(alerts))
        assert sorted(map(len, receiver.messages)) == [1, 500]
