"""Many accounts on many machines: the files of deploy/scale in a network of real programs."""

import json
import re
import runpy
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from exporter.simulator import Simulator
from tests.conftest import need
from tests.deploy.common import ROOT, TOOLS
from tests.deploy.machine import Network
from tests.deploy.simulated import KEYS, simulator
from tests.programs import Program, wait_for

SCALE = ROOT / "deploy/scale"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((SCALE / "compose.yml").read_text())["services"]
INSERT = "http://insert:8480/insert/0/prometheus"
SELECT = "http://select:8481/select/0/prometheus"
SINGLE = "http://store:8428/prometheus"

# What each image runs, and what makes it a machine of its own: addresses, and folders that Debian sets otherwise.
PROGRAMS: Mapping[str, tuple[Callable[[], tuple[str, ...]], str]] = {
    "together-finetune-exporter": (lambda: (sys.executable, "-m", "exporter"), "--web.listen-address={}:10124"),
    "prom/prometheus": (
        lambda: (need("prometheus", "prometheus"),),
        "--web.listen-address={}:9090 --storage.tsdb.path=data",
    ),
    "prom/alertmanager": (
        lambda: (need("prometheus-alertmanager", "prometheus-alertmanager"),),
        "--web.listen-address={}:9093 --cluster.listen-address= --storage.path=data",
    ),
    "victoriametrics/vmalert": (lambda: (vmalert(),), "-httpListenAddr={}:8880"),
    "victoriametrics/vminsert": (lambda: (cluster("vminsert"),), "-httpListenAddr={}:8480"),
    "victoriametrics/vmselect": (lambda: (cluster("vmselect"),), "-httpListenAddr={}:8481"),
    "victoriametrics/vmstorage": (
        lambda: (cluster("vmstorage"),),
        "-httpListenAddr={0}:8482 -vminsertAddr={0}:8400 -vmselectAddr={0}:8401",
    ),
}


def cluster(name: str) -> str:
    """The path of a program of VictoriaMetrics' cluster version, which Debian does not have."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is missing: build it from the branch `cluster` of VictoriaMetrics, and put it on the PATH")
    return path


def vmalert() -> str:
    """The path of vmalert: a new one, or Debian's."""
    return shutil.which("vmalert", path=TOOLS) or need("vmalert", "victoria-metrics")


def for_vmalert(text: str) -> str:
    """Rules for the vmalert that there is: Debian's 1.79 does not know `keep_firing_for`."""
    return text if Path(vmalert()).parent == TOOLS else re.sub(r"\n +keep_firing_for: .*", "", text)


@dataclass
class Scale:
    """The running services, and the store's answers."""

    network: Network
    folder: Path
    select: str
    edit: Callable[[str], str]
    stack: ExitStack
    running: dict[str, Program] = field(default_factory=dict)

    def start(self, names: list[str], **env: str) -> None:
        """Starts services with the files and the command of the Compose file."""
        for name in names:
            service = SERVICES[name]
            files = {}
            for volume in service.get("volumes", ()):
                source, target, *_ = volume.split(":")
                files[target] = self.edited(name, (SCALE / source).resolve())
            program, listen = PROGRAMS[service["image"].partition(":")[0]]
            command = (*program(), *map(self.edit, service["command"]), *listen.format(name).split())
            process = self.network.start(name, *command, files=files, PYTHONPATH=str(ROOT), **env)
            self.running[name] = self.stack.enter_context(process)

    def edited(self, name: str, source: Path) -> Path:
        """A file as it is, but for the store's address; the keys, which are in no repository."""
        copy = self.folder / "files" / name / source.name
        if source.name == "keys":
            copy.mkdir(parents=True)
            for account, key in KEYS.items():
                (copy / account).write_text(key)
            return copy
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(self.edit(source.read_text()))
        return copy

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The instant vector of an expression, from the store."""
        answer = self.network.fetch(f"{self.select}/api/v1/query?query={quote(expression)}")
        found = json.loads(answer)["data"]["result"] if answer else []
        return [(one["metric"], float(one["value"][1])) for one in found]

    def alerts(self, name: str) -> list[tuple[str, str]]:
        """Account and job of each alert that Alertmanager has under a name."""
        found = json.loads(self.network.fetch("http://alertmanager:9093/api/v2/alerts") or "[]")
        labels = [alert["labels"] for alert in found if alert["labels"]["alertname"] == name]
        return sorted((label["account"], label["job_id"]) for label in labels)


class Truth:
    """What the store should say, from the simulator itself."""

    def __init__(self, of: Simulator, now: float) -> None:
        jobs = {account: of.jobs(key) for account, key in KEYS.items()}
        every = [(account, job) for account, found in jobs.items() for job in found]
        self.statuses = Counter((account, job["status"]) for account, job in every)
        self.tokens = {
            (account, job["id"]): job["token_count"] for account, job in every if job["token_count"] is not None
        }
        self.price = sum(job["total_price"] or 0 for _, job in every) / 1e9
        failed = [(account, job) for account, job in every if job["status"] in ("error", "user_error")]
        self.failed = sorted(
            (account, job["id"]) for account, job in failed if now - _seconds(job["updated_at"]) < 6 * 3600
        )


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def answers_are_true(scale: Scale, truth: Truth) -> None:
    """Fails unless the store soon gives the simulator's own figures, all accounts together."""
    statuses = "max by (account, status) (together_finetune_jobs) > 0"
    wait_for(lambda: {(m["account"], m["status"]): v for m, v in scale.query(statuses)} == truth.statuses)
    tokens = "max by (account, job_id) (together_finetune_job_tokens)"
    wait_for(lambda: {(m["account"], m["job_id"]): v for m, v in scale.query(tokens)} == truth.tokens)
    price = "sum(max by (account, status) (together_finetune_price_usd))"
    wait_for(lambda: [value for _, value in scale.query(price)] == [pytest.approx(truth.price)])
    stored = "max by (account) (count by (account, instance) (together_finetune_up))"
    wait_for(lambda: {m["account"]: v for m, v in scale.query(stored)} == dict.fromkeys(KEYS, 1))


def run(
    folder: Path, stack: ExitStack, select: str, store: Callable[[Scale], None], edit: Callable[[str], str]
) -> tuple[Scale, Truth]:
    """Starts everything: the store, the simulator, and then what is in the Compose file before and after it."""
    now = float(int(time.time()))
    network = stack.enter_context(Network(folder / "machines", [*SERVICES, "store"]))
    scale = Scale(network, folder, select, edit, stack)
    truth = Truth(stack.enter_context(simulator(now)), now)
    api = network.start("api", sys.executable, "-m", "tests.deploy.simulated", "8000", str(now), PYTHONPATH=str(ROOT))
    stack.enter_context(api).line("ready")
    store(scale)
    exporters = [name for name in SERVICES if name.startswith("exporter")]
    scale.start(exporters, TOGETHER_BASE_URL="http://127.0.0.1:8000/v1")
    for name in exporters:
        scale.running[name].line("msg=listening")
    scale.start([name for name in SERVICES if name.startswith(("alert", "scraper"))])
    return scale, truth


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_a_single_store_has_the_truth_and_alerts_once_also_without_one_replica_of_each(
    stack: ExitStack, tmp_path: Path
) -> None:
    def store(scale: Scale) -> None:
        options = SERVICES["storage-1"]["command"]
        command = (
            need("victoria-metrics", "victoria-metrics"),
            *options,
            "-httpListenAddr=store:8428",
            "-search.latencyOffset=1s",
        )
        scale.running["store"] = stack.enter_context(scale.network.start("store", *command))

    def edit(text: str) -> str:
        return for_vmalert(text).replace(INSERT, SINGLE).replace(SELECT, SINGLE)

    scale, truth = run(tmp_path, stack, SINGLE, store, edit)
    answers_are_true(scale, truth)
    assert truth.failed
    wait_for(lambda: scale.alerts("TogetherFinetuneJobFailed") == truth.failed)
    for replica in ("scraper-0a", "scraper-1a", "alert-1"):
        scale.running[replica].__exit__()
    ended = time.time()
    newest = f"max by (account) (timestamp(together_finetune_up)) > {ended + 15}"
    wait_for(lambda: {labels["account"] for labels, _ in scale.query(newest)} == set(KEYS))
    assert scale.alerts("TogetherFinetuneJobFailed") == truth.failed


def test_a_cluster_has_the_truth_also_without_one_of_its_storage_nodes(stack: ExitStack, tmp_path: Path) -> None:
    for program in ("vminsert", "vmselect", "vmstorage"):
        cluster(program)

    def store(scale: Scale) -> None:
        scale.start(["storage-1", "storage-2", "insert", "select"])

    scale, truth = run(tmp_path, stack, SELECT, store, for_vmalert)
    answers_are_true(scale, truth)
    scale.running["storage-1"].__exit__()
    answers_are_true(scale, truth)
    wait_for(lambda: scale.alerts("TogetherFinetuneJobFailed") == truth.failed)


# -------------------------------------------------------------------------------------------------------------- files


def test_the_arithmetic_follows_from_the_series_of_a_job() -> None:
    page = (ROOT / "docs/scale.md").read_text()
    listed, detailed, trained = runpy.run_path(str(ROOT / "docs/generate.py"))["series_of_a_job"]().values()
    jobs, account = 1000 * detailed, 150
    assert f"| {detailed} ({listed} without details, {trained} with training metrics) | {jobs:,} |" in page
    assert f"| 5,760 per series | {(jobs + account) * 5760 / 1e6:.0f} million |" in page


def test_the_scrapers_differ_in_nothing_but_their_shard() -> None:
    first, second = ((SCALE / f"scraper-{shard}.yml").read_text() for shard in (0, 1))
    assert first.replace("shard 0", "shard 1").replace('regex: "0"', 'regex: "1"') == second


def test_the_operator_finds_the_same_accounts() -> None:
    resource = yaml.safe_load((SCALE / "scrapeconfig.yaml").read_text())["spec"]
    [scrape] = yaml.safe_load((SCALE / "scraper-0.yml").read_text())["scrape_configs"]
    assert resource["httpSDConfigs"] == scrape["http_sd_configs"]
    assert (resource["jobName"], resource["honorLabels"]) == (scrape["job_name"], scrape["honor_labels"])
    assert resource["relabelings"] == [{"sourceLabels": ["__param_account"], "targetLabel": "__tmp_hash"}]
