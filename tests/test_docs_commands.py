"""The commands of the docs, run as they are written: the pages on machines of their own, the runbooks against a
simulated account, and the queries on a real Prometheus."""

import fcntl
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from exporter.simulator import Fleet, Simulator
from tests.conftest import need
from tests.deploy.machine import Network
from tests.pages import PAGES, ROOT, blocks
from tests.programs import ExporterProcess, Prometheus, wait_for
from tests.support import KEY

# What plays the reader, with a /var/lib of their own: `keep` starts a program that has a terminal of its own and waits
# until it is ready, `until_shows` runs a command again until its output has a text.
READER = r"""
set -euo pipefail
mount -t tmpfs tmpfs /var/lib
trap 'code=$?; trap "" TERM; kill 0; exit $code' EXIT
keep() {
    log=$(mktemp -p "$TMPDIR")
    bash -ec "$1" >"$log" 2>&1 &
    for attempt in $(seq 1200); do
        grep -qE 'msg=poll |Server is ready|Listening on' "$log" && return
        kill -0 $! || break
        sleep 0.1
    done
    cat "$log"
    exit 1
}
until_shows() {
    for attempt in $(seq 240); do
        shown=$(bash -ec "$2" 2>&1) && grep -qF -- "$1" <<<"$shown" && return
        sleep 0.5
    done
    echo "no '$1' in: $shown"
    exit 1
}
"""
WITH_COMMANDS = [
    page for page in PAGES if page.parent.name != "runbooks" and any(b.runs for b in blocks("sh", pages=[page]))
]


def script(page: Path) -> str:
    """The commands of a page as one script."""
    lines = [READER]
    for block in blocks("sh", pages=[page]):
        text = shlex.quote(block.text)
        if block.note == "keeps running":
            lines.append(f"echo {block.name}; keep {text}")
        elif block.note.startswith("until: "):
            lines.append(f"echo {block.name}; until_shows {shlex.quote(block.note.removeprefix('until: '))} {text}")
        elif block.runs:
            lines.append(f"echo {block.name}\n{block.text}")
    return "\n".join(lines)


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_work_as_they_are_written(page: Path, tmp_path: Path) -> None:
    text = script(page)
    for program, package in (("curl", "curl"), ("prometheus", "prometheus"), ("amtool", "prometheus-alertmanager")):
        if re.search(rf"\b{program}\b", text):
            need(program, package)
    if "make demo" in text:  # on the machine there is no internet
        with (ROOT / "Makefile").open() as lock:  # another page may need it at the same time
            fcntl.flock(lock, fcntl.LOCK_EX)
            subprocess.run(["make", ".venv-run/ready"], cwd=ROOT, check=True, capture_output=True)
    ignored = shutil.ignore_patterns(".*", "__pycache__", "data", "build", "dist")
    checkout = shutil.copytree(ROOT, tmp_path / "reader", ignore=ignored, symlinks=True)
    for name in (".venv-run", ".venv", ".gitignore"):
        if (ROOT / name).exists():
            (checkout / name).symlink_to(ROOT / name)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    (tmp_path / "tmp").mkdir()
    with (
        Network(tmp_path, []) as network,
        network.start("reader", "bash", "-c", text, PATH=path, TMPDIR=str(tmp_path / "tmp")) as reader,
    ):
        assert reader.end(600) == 0, "".join(reader.lines)


# --------------------------------------------------------------------------------------------------------- runbooks

IN_RUNBOOKS = sorted(
    {
        line
        for block in blocks("sh")
        if block.runs and block.page.parent.name == "runbooks"
        for line in block.text.splitlines()
    }
)


def test_the_commands_of_the_runbooks_work() -> None:
    need("curl", "curl")
    now = time.time()
    with (
        Simulator(Fleet(start=now, jobs=5), key=KEY, clock=lambda: now) as simulator,
        ExporterProcess(TOGETHER_API_KEY=KEY, TOGETHER_BASE_URL=simulator.url) as exporter,
    ):
        exporter.line("msg=poll ")
        job = simulator.jobs()[0]["id"]
        known = {"https://api.together.xyz/v1": simulator.url, "http://localhost:10124": exporter.url, "JOB": job}
        env = {**os.environ, "TOGETHER_API_KEY": KEY}
        for line in IN_RUNBOOKS:
            command = re.sub("|".join(known), lambda found: known[found[0]], line)
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=env, check=False)
            assert done.returncode == 0, f"{line}: {done.stderr}"
            assert done.stdout, line
            assert not re.match(r'\{"error"|[45]\d\d ', done.stdout), f"{line}: {done.stdout}"


# -------------------------------------------------------------------------------------------------------- questions


QUESTIONS = list(blocks("promql", pages=[ROOT / "docs/questions.md"]))


def test_every_question_has_an_answer(prometheus: str, tmp_path: Path) -> None:
    fast = ("--poll.interval=1s", "--poll.idle-interval=1s", "--simulator.speed=600", "--alerts.stuck-after=queued=2s")
    busy = ("--details.requests-per-minute=10000", "--training.enabled", "--alerts.budget-usd-per-month=5000")
    with ExporterProcess("--demo", *fast, *busy) as exporter:
        config = tmp_path / "prometheus.yml"
        target = exporter.url.removeprefix("http://")
        config.write_text(
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
            f"scrape_configs: [{{job_name: any, static_configs: [{{targets: ['{target}']}}]}}]\n"
        )
        with Prometheus(prometheus, config, tmp_path / "data") as server:
            open_questions = {block.name: block.text for block in QUESTIONS}

            def answered() -> bool:
                for name, query in list(open_questions.items()):
                    if any(not math.isnan(value) for _, value in server.query(query)):
                        del open_questions[name]
                return not open_questions

            with suppress(AssertionError):
                wait_for(answered, 120)
            assert open_questions == {}
            [last_week] = [block.text for block in QUESTIONS if "7 * 86400" in block.text]
            # All jobs of the demo are younger than a week.
            assert server.query(f"abs(sum({last_week}) - sum(together_finetune_job_price_usd)) < 0.01")
