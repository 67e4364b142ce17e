"""From end to end: the simulator, the exporter as its own process, a real Prometheus."""

import time
from collections import Counter
from pathlib import Path
from typing import Literal

import pytest

from exporter.simulator import Fleet, Simulator
from tests.programs import ExporterProcess, Prometheus, wait_for
from tests.support import KEY, PREFIX, Wire, http, job, jobs_json


def scraping(url: str, folder: Path) -> Path:
    """A configuration of Prometheus that scrapes the exporter at `url` every second."""
    config = folder / "prometheus.yml"
    config.write_text(
        f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: together
    static_configs: [{{targets: ["{url.removeprefix("http://")}"]}}]
"""
    )
    return config


@pytest.mark.parametrize("shape", ["live", "reference"])
def test_prometheus_has_the_values_of_the_simulator(
    shape: Literal["live", "reference"], prometheus: str, tmp_path: Path
) -> None:
    now = time.time()
    with (
        Simulator(Fleet(start=now), shape=shape, key=KEY, clock=lambda: now) as simulator,
        ExporterProcess(TOGETHER_API_KEY=KEY, TOGETHER_BASE_URL=simulator.url) as exporter,
    ):
        exporter.line("msg=poll ")
        with Prometheus(prometheus, scraping(exporter.url, tmp_path), tmp_path / "data") as server:

            def values(expression: str, label: str) -> dict[str, float]:
                return {labels[label]: value for labels, value in server.query(expression)}

            truth = simulator.jobs()
            statuses = Counter(job["status"] for job in truth)
            wait_for(lambda: values(f"{PREFIX}jobs > 0", "status") == statuses)
            tokens = {job["id"]: job["token_count"] for job in truth if job["token_count"] is not None}
            wait_for(lambda: values(f"{PREFIX}job_tokens", "job_id") == tokens)
            epochs = {job["id"]: job["epochs_completed"] for job in truth}
            wait_for(lambda: values(f"{PREFIX}job_epochs_completed", "job_id") == epochs)
            price = pytest.approx(sum(job["total_price"] for job in truth) / 1e9)
            wait_for(lambda: [value for _, value in server.query(f"sum({PREFIX}job_price_usd)")] == [price])


def test_prometheus_takes_hostile_names(wire: Wire, prometheus: str, tmp_path: Path) -> None:
    names = ['quo"te', "back\\slash", "new\nline", "模型🦙", "\u202eright", "nul\0", "\r", "\x1b[31m", "{}=,# x"]
    wire.answer = http(jobs_json(*(job(f"ft-{i}-{name}", model=name) for i, name in enumerate(names))))
    with ExporterProcess(TOGETHER_API_KEY="k", TOGETHER_BASE_URL=wire.url) as exporter:
        exporter.line("msg=poll ")
        with Prometheus(prometheus, scraping(exporter.url, tmp_path), tmp_path / "data") as server:
            expected = {f"ft-{i}-{name}": name for i, name in enumerate(names)}
            query = f"{PREFIX}job_info"
            wait_for(lambda: {labels["job_id"]: labels["model"] for labels, _ in server.query(query)} == expected)
