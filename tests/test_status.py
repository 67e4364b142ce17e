"""The command `status`, run in a pipe and in a terminal."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from exporter.simulator import Plan, Script, Simulator
from tests.support import KEY, Wire, http, job, jobs_json

HOUR = 3600.0
STATUS = (sys.executable, "-m", "exporter", "status")


def run(*flags: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The command with its output in a pipe."""
    environ = {**os.environ, "TOGETHER_API_KEY": KEY, **env}
    return subprocess.run([*STATUS, *flags], capture_output=True, text=True, env=environ, timeout=180, check=False)


@contextmanager
def simulated(*plans: Plan, **options: Any) -> Iterator[str]:
    """The URL of an API with these jobs."""
    with Simulator(Script(plans), key=KEY, clock=time.time, **options) as simulator:
        yield simulator.url


def queued(job_id: str, hours: float) -> Plan:
    """A job that has been waiting for so long."""
    return Plan(id=job_id, created=time.time() - hours * HOUR, queued=1e9, suffix="support")


def failed(job_id: str, hours: float) -> Plan:
    """A job that failed so long ago, within its first hour."""
    return Plan(id=job_id, created=time.time() - (hours + 1) * HOUR, fate="error", train=1200, suffix="nightly")


def at_work(job_id: str = "ft-run", **life: Any) -> Plan:
    """A job that trains for two hours, the first of which is over."""
    return Plan(**{"id": job_id, "created": time.time() - 1.5 * HOUR, "train": 2 * HOUR, **life})


def test_all_is_well_is_exit_code_0_and_a_table() -> None:
    with simulated(at_work(suffix="support"), queued("ft-queued", 0.5)) as url:
        done = run(TOGETHER_BASE_URL=url)
    assert (done.returncode, done.stderr) == (0, "")
    heading, first, second, _, summary = done.stdout.splitlines()
    assert heading.split() == ["Job", "Status", "Attention", "Model", "Progress", "Ends", "Price", "Age", "Id"]
    assert [first.split()[0], first.split()[1], first.split()[-1]] == ["support", "running", "ft-run"]
    assert second.split()[:2] == ["support", "queued"]
    assert summary.startswith("0 stuck, 0 failed, 1 running, 1 waiting, $")


def test_what_needs_attention_is_exit_code_1_and_comes_first() -> None:
    with simulated(at_work(), failed("ft-failed", 1), queued("ft-queued", 120)) as url:
        done = run(TOGETHER_BASE_URL=url)
    assert done.returncode == 1
    stuck, lost, running = done.stdout.splitlines()[1:4]
    assert "no progress for 5 d" in stuck
    assert "failed " in lost
    assert "ft-run" in running


def test_a_waiting_job_is_judged_from_its_creation() -> None:
    with simulated(queued("ft-1", 3)) as url:
        assert run(TOGETHER_BASE_URL=url).returncode == 1
        assert run("--alerts.stuck-after=queued=4h", TOGETHER_BASE_URL=url).returncode == 0


def test_a_running_job_is_judged_by_its_training_rows() -> None:
    created = time.time() - 12 * HOUR
    hung = at_work("ft-hung", created=created, fate="hang", fate_at=0.5, estimate=())
    with simulated(hung) as url:
        done = run("--json", TOGETHER_BASE_URL=url)
    [found] = json.loads(done.stdout)["jobs"]
    assert (done.returncode, found["mark"]["kind"]) == (1, "stuck")
    assert found["mark"]["since"] < time.time() - 5 * HOUR


def test_a_failure_counts_only_within_its_window() -> None:
    with simulated(failed("ft-failed", 8)) as url:
        assert run(TOGETHER_BASE_URL=url).returncode == 0
        assert run("--alerts.failure-window=1d", TOGETHER_BASE_URL=url).returncode == 1


def test_a_poll_that_fails_is_exit_code_3_with_the_reason(wire: Wire) -> None:
    wire.answer = http("{}", "401 Unauthorized")
    done = run(TOGETHER_BASE_URL=wire.url)
    assert done.returncode == 3
    reason = "account default: the poll failed: the API refuses the key (HTTP 401)"
    assert done.stderr == f"together-finetune-exporter: {reason}\n"


@pytest.mark.parametrize("flags", [("--no-such-flag",), ("--alerts.stuck-after=x",), ("--web.console-url=https://x/",)])
def test_an_invalid_configuration_is_exit_code_2(flags: tuple[str, ...]) -> None:
    done = run(*flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"together-finetune-exporter: {flags[0].partition('=')[0]}: ")


def test_the_json_has_all_jobs_in_order() -> None:
    with simulated(at_work(), queued("ft-queued", 120)) as url:
        done = run("--json", TOGETHER_BASE_URL=url)
    told = json.loads(done.stdout)
    assert [found["id"] for found in told["jobs"]] == ["ft-queued", "ft-run"]
    assert told["jobs"][0]["groups"][:2] == ["stuck", "waiting"]
    assert told["accounts"][0]["health"] == "successful"


def test_jobs_that_finished_long_ago_are_only_counted() -> None:
    done_long_ago = Plan(id="ft-old", created=time.time() - 60 * HOUR)
    with simulated(done_long_ago, Plan(id="ft-new", created=time.time() - 5 * HOUR)) as url:
        shown = run(TOGETHER_BASE_URL=url).stdout
    assert "ft-new" in shown
    assert "ft-old" not in shown
    assert "1 finished more than a day ago" in shown


def test_a_pipe_gets_whole_lines_without_colours(wire: Wire) -> None:
    wire.answer = http(jobs_json(job("ft-" + "1" * 200, "error", model="m" * 250, suffix="s" * 250)))
    flags = ("--details.mode=off", "--alerts.failure-window=10y", "--jobs.retention=10y")
    shown = run(*flags, TOGETHER_BASE_URL=wire.url, COLUMNS="40").stdout
    assert "\x1b" not in shown
    for text in ("1" * 200, "m" * 250, "s" * 250):
        assert text in shown


def test_a_name_cannot_control_the_terminal(wire: Wire) -> None:
    name = "\x1b[31mred\x07\u202e[bold]m\r\n"
    wire.answer = http(jobs_json(job(f"ft-{name}", "queued", model=name, suffix=name)))
    shown = run("--details.mode=off", TOGETHER_BASE_URL=wire.url).stdout
    assert "\N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}" in shown
    assert not set("\x1b\x07\u202e\r") & set(shown)
    assert "[bold]m" in shown


def in_terminal(columns: int, **env: str) -> str:
    """What the command writes to a terminal of so many columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environ = {**os.environ, "TOGETHER_API_KEY": KEY, "TERM": "xterm-256color", **env}
    with subprocess.Popen(STATUS, stdin=theirs, stdout=theirs, stderr=theirs, env=environ) as process:
        os.close(theirs)
        written = b""
        try:
            while chunk := os.read(ours, 65536):
                written += chunk
        except OSError:
            pass  # how a terminal on Linux ends
        os.close(ours)
        process.wait(180)
    return written.decode()


def test_in_a_narrow_terminal_what_needs_attention_stays_whole() -> None:
    with simulated(queued("ft-0123456789-0123456789-0123456789", 120)) as url:
        shown = in_terminal(80, TOGETHER_BASE_URL=url)
    assert "no progress for 5 d" in shown
    assert "ft-0123456789-0123456789-0123456789" not in shown


def test_a_terminal_gets_colours_and_lines_that_fit() -> None:
    with simulated(at_work(), failed("ft-failed", 1), queued("ft-queued", 120)) as url:
        shown = in_terminal(100, TOGETHER_BASE_URL=url)
        plain = in_terminal(100, TOGETHER_BASE_URL=url, NO_COLOR="1")
    assert "\x1b[1;31m" in shown
    assert "\x1b[1;31m" not in plain
    assert "no progress for 5 d" in plain
    assert max(map(len, re.sub(r"\x1b\[[\d;]*m", "", plain).splitlines())) <= 100
