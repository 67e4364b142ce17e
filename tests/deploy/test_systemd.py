"""The systemd unit, checked by systemd's own tools and run by a systemd in a container."""

import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from exporter.config import settings
from exporter.simulator import Fleet, Simulator
from tests.conftest import need
from tests.deploy.common import ROOT, run
from tests.programs import Program, fetch
from tests.support import KEY, parse

NAME = "together-finetune-exporter"
UNIT = ROOT / f"deploy/systemd/{NAME}.service"
ENVIRONMENT = ROOT / f"deploy/systemd/{NAME}.env"


def test_systemd_accepts_the_unit_and_calls_its_exposure_what_the_docs_say(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text(), flags=re.MULTILINE))
    analyze = need("systemd-analyze", "systemd")
    verified = subprocess.run([analyze, "verify", unit], capture_output=True, text=True, check=False)
    assert (verified.returncode, [line for line in verified.stderr.splitlines() if UNIT.name in line]) == (0, [])
    rated = run(analyze, "security", "--offline=true", "--no-pager", unit)
    [level] = re.findall(r"Overall exposure level for \S+: ([\d.]+) OK", rated)
    assert f"exposure level {level} OK" in (ROOT / "docs/deployment.md").read_text()


def test_the_environment_file_has_only_variables_that_exist() -> None:
    known = {variable for setting in settings() for variable in setting.variables}
    named = set(re.findall(r"^#?([A-Z_]+)=", ENVIRONMENT.read_text(), re.MULTILINE))
    assert named
    assert named <= known


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(Fleet(start=1.79e9), key=KEY, clock=lambda: 1.79e9) as simulator:
        yield simulator


def test_the_unit_polls_with_the_key_that_only_root_can_read(simulator: Simulator, tmp_path: Path) -> None:
    nspawn, python = need("systemd-nspawn", "systemd-container"), "/usr/bin/python3"
    if os.geteuid() != 0:
        pytest.skip("a systemd of its own needs root: run the tests as root")
    installed = tmp_path / "opt"
    run(python, "-m", "venv", installed)
    pip = (installed / "bin/python", "-m", "pip", "install", "--quiet", "--no-compile")
    run(*pip, "--require-hashes", "--requirement", ROOT / "deploy/docker/requirements.txt")
    run(*pip, "--no-deps", ROOT)
    command = installed / f"bin/{NAME}"
    command.write_text(command.read_text().replace(str(installed), f"/opt/{NAME}"))
    key, environment = tmp_path / "api-key", tmp_path / "environment"
    key.touch(mode=0o600)
    key.write_text(f"{KEY}\n")
    environment.write_text(f"TOGETHER_BASE_URL={simulator.url}\nTOGETHER_EXPORTER_WEB_LISTEN_ADDRESS=127.0.0.1:0\n")
    mounts = {
        UNIT: f"/etc/systemd/system/{UNIT.name}",
        environment: f"/etc/default/{NAME}",
        key: f"/etc/{NAME}/api-key",
        installed: f"/opt/{NAME}",
    }
    container = [
        *(nspawn, "--quiet", "--register=no", "--keep-unit", "--directory=/mnt", "--volatile=overlay", "--boot"),
        *(f"--bind-ro={source}:{target}" for source, target in mounts.items()),
        f"systemd.unit={UNIT.name}",
        "systemd.journald.forward_to_console=1",
    ]
    # nspawn refuses the root directory itself, but not a mount of it.
    script = f"mount --bind / /mnt && exec {' '.join(container)}"
    unshare = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    with Program(*unshare, "sh", "-c", script) as machine:
        port = machine.logged("msg=listening", "port", seconds=600)
        machine.line("msg=poll ")
        metrics = parse(fetch(f"http://127.0.0.1:{port}/metrics"))
        status = process(simulator.url)
    assert metrics.get_one("up", account="default") == 1
    assert metrics[("process_start_time_seconds", frozenset())] == pytest.approx(time.time(), abs=3600)
    assert "0" not in status["Uid"].split()
    assert (status["CapEff"], status["CapBnd"]) == ("0" * 16, "0" * 16)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def process(url: str) -> dict[str, str]:
    """What the kernel says of the process whose environment has this URL."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # others end meanwhile
            if url.encode() in file.read_bytes():
                found.append(file.with_name("status").read_text())
    [status] = found
    return dict(re.findall(r"^(\w+):\s+(.+)$", status, re.MULTILINE))
