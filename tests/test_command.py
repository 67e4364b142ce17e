"""The command as a user runs it: exit codes, signals, the log, `--once`, `--demo`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.packaged import SOURCES
from exporter.simulator import Fleet, Simulator
from tests.programs import ExporterProcess, fetch, wait_for
from tests.support import KEY, NOW, Wire, http, job, jobs_json, parse


def run(*flags: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "exporter", *flags]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **env}, timeout=180, check=False)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(Fleet(jobs=5, start=NOW), key=KEY, clock=lambda: NOW) as simulator:
        yield simulator


def test_once_prints_the_exposition_and_exits_0(simulator: Simulator) -> None:
    done = run("--once", TOGETHER_API_KEY=KEY, TOGETHER_BASE_URL=simulator.url)
    assert done.returncode == 0
    samples = parse(done.stdout)
    assert samples.get_one("up", account="default") == 1
    assert sum(value for (name, _), value in samples.items() if name == "together_finetune_jobs") == 5


def test_once_exits_1_where_the_poll_failed(simulator: Simulator) -> None:
    done = run("--once", TOGETHER_API_KEY="another", TOGETHER_BASE_URL=simulator.url)
    assert done.returncode == 1
    assert parse(done.stdout).get_one("up", account="default") == 0
    assert 'msg="poll failed" account=default code=401' in done.stderr


@pytest.mark.parametrize(
    ("flags", "env", "message"),
    [
        (
            [],
            {},
            "no API key: set TOGETHER_API_KEY, --together.api-key-file to a file that holds it, or `accounts:` in",
        ),
        ([], {"TOGETHER_API_KEY": "two words"}, "TOGETHER_API_KEY holds something other than one word of printable"),
        ([], {"TOGETHER_API_KEY": "a\nb"}, "TOGETHER_API_KEY holds something other than one word of printable ASCII"),
        (
            [],
            {"TOGETHER_API_KEY_FILE": "/nowhere"},
            "TOGETHER_API_KEY_FILE: the API key file of account default: No such file or directory",
        ),
        ([], {"TOGETHER_API_KEY": "not-\udcff-UTF-8"}, "TOGETHER_API_KEY holds something other than one word of"),
        (["--poll.interval=x"], {"TOGETHER_API_KEY": "k"}, "--poll.interval: must be a duration"),
        (["--config.check", "--log.level=x"], {"TOGETHER_API_KEY": "k"}, "--log.level: must be"),
    ],
)
def test_a_bad_configuration_is_one_line_and_exit_code_2(flags: list[str], env: dict[str, str], message: str) -> None:
    done = run(*flags, **env)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"together-finetune-exporter: {message}")
    assert "two words" not in line


def test_a_key_in_use_is_redacted_in_the_errors_of_the_configuration() -> None:
    done = run("--config.check", "--log.level=a-short-key", TOGETHER_API_KEY="a-short-key")
    assert done.stderr.endswith("'error', not '[redacted]'\n")


def test_a_file_that_is_missing_is_an_error_of_the_setting_that_names_it() -> None:
    flags = ("--config.check", "--together.api-key-file=nowhere")
    assert run(*flags).stderr.endswith(
        ": --together.api-key-file: the API key file of account default: No such file or directory\n"
    )
    flags = ("--config.check", "--web.config.file=nowhere")
    assert run(*flags, TOGETHER_API_KEY="k").stderr.endswith("exporter: --web.config.file: No such file or directory\n")


def test_each_key_that_cannot_be_used_is_an_error_of_its_entry(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text(
        "accounts:\n  - name: a\n    api_key_env: A\n  - name: b\n    api_key_file: b.key\n"
        "  - name: c\n    api_key_env: C\n"
    )
    done = run("--config.check", f"--config.file={file}", A="key", C="two words")
    assert [line.partition(f"{file}:")[2] for line in done.stderr.splitlines()] == [
        "5: accounts[1].api_key_file: the API key file of account b: No such file or directory",
        "7: accounts[2].api_key_env: C holds something other than one word of printable ASCII",
    ]


def test_a_valid_configuration_is_checked_without_a_call(wire: Wire) -> None:
    done = run("--config.check", TOGETHER_API_KEY="k", TOGETHER_BASE_URL=wire.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "the configuration is valid\n", "")
    assert wire.requests == []


def test_a_configuration_with_a_simulated_account_needs_no_key() -> None:
    done = run("--config.check", "--demo")
    assert (done.returncode, done.stdout, done.stderr) == (0, "the configuration is valid\n", "")


def test_every_error_of_a_configuration_is_a_line_after_the_warnings(tmp_path: Path) -> None:
    file = tmp_path / "c.yml"
    file.write_text("poll:\n  interval: 2020-13-45\ncolour: red\n")
    done = run("--config.check", f"--config.file={file}", TOGETHER_EXPORTER_POLL_INTERVALL="1s", TOGETHER_API_KEY="k")
    assert (done.returncode, done.stdout) == (2, "")
    warning, unknown, invalid = done.stderr.splitlines()
    assert warning == "together-finetune-exporter: warning: TOGETHER_EXPORTER_POLL_INTERVALL is not a setting"
    assert unknown.startswith(f"together-finetune-exporter: {file}:3: colour: is not a setting")
    assert invalid.startswith(f"together-finetune-exporter: {file}:2: poll.interval: must be a duration")


def test_a_valid_configuration_with_an_unknown_variable_is_a_warning() -> None:
    done = run("--config.check", together_exporter_once="1", TOGETHER_API_KEY="k")
    assert done.returncode == 0
    assert done.stderr == "together-finetune-exporter: warning: together_exporter_once is not a setting\n"


def test_version_and_help_exit_0() -> None:
    version = run("--version")
    assert version.returncode == 0
    assert version.stdout.startswith("together-finetune-exporter, version 0.1.0 (revision ")
    usage = run("--help").stdout.partition("\n\n")[0]
    assert usage.startswith("usage: together-finetune-exporter [<flags>]\n")
    assert all(f"together-finetune-exporter {command}" in usage for command in ("status", *SOURCES))


@pytest.mark.parametrize(
    "flags", ["--help", "--version", "--demo --config.check", "--demo --once", "status --demo", "status --demo --json"]
)
def test_a_reader_that_stops_early_ends_it_without_a_message(flags: str) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs) as output:
        command = [sys.executable, "-m", "exporter", *flags.split(), "--log.level=error"]
        done = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, timeout=180, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGPIPE, "")


def test_an_address_in_use_is_one_line_and_exit_code_1(wire: Wire) -> None:
    address = wire.url.removeprefix("http://").removesuffix("/v1")
    done = run(f"--web.listen-address={address}", TOGETHER_API_KEY="k", TOGETHER_BASE_URL=wire.url)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert 'msg="cannot listen"' in line
    assert f"address={address}" in line
    assert "Address already in use" in line


def test_the_demo_needs_nothing_and_serves_a_fleet() -> None:
    with ExporterProcess("--demo", "--simulator.jobs=7") as exporter:
        exporter.line("msg=poll ")
        samples = parse(fetch(f"{exporter.url}/metrics"))
        assert sum(value for (name, _), value in samples.items() if name == "together_finetune_jobs") == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_at_a_signal_with_exit_code_0_without_waiting_for_a_call(wire: Wire, number: int) -> None:
    wire.answer = wire.hold
    with ExporterProcess("--together.timeout=1h", TOGETHER_API_KEY="k", TOGETHER_BASE_URL=wire.url) as exporter:
        wait_for(lambda: wire.requests)
        assert fetch(f"{exporter.url}/-/healthy") == "healthy\n"
        exporter.signal(number)
        assert exporter.end() == 0


def test_a_rotated_key_is_picked_up_from_its_file(tmp_path: Path, wire: Wire) -> None:
    file = tmp_path / "key"
    file.write_text("first\n")
    wire.answer = http(jobs_json(job()))
    with ExporterProcess(
        f"--together.api-key-file={file}", "--poll.interval=100ms", TOGETHER_BASE_URL=wire.url
    ) as exporter:
        wait_for(lambda: any("Bearer first\r\n" in request for request in wire.requests))
        file.unlink()
        exporter.line("the last good key stays in use")
        file.write_text("second\n")
        wait_for(lambda: any("Bearer second\r\n" in request for request in wire.requests))
        exporter.signal(signal.SIGTERM)
        assert exporter.end() == 0
    assert "first" not in "".join(exporter.lines)


def test_the_key_is_in_no_log_and_on_no_page(wire: Wire) -> None:
    wire.answer = http(json.dumps({"error": {"message": f"{KEY} is not a key"}}), "401 Unauthorized")
    flags = ("--log.level=debug", "--poll.interval=100ms")
    with ExporterProcess(*flags, TOGETHER_API_KEY=KEY, TOGETHER_BASE_URL=wire.url) as exporter:
        exporter.line("poll failed")
        pages = [fetch(exporter.url + path) for path in ("/", "/metrics", "/-/ready")]
    assert KEY in wire.requests[0]
    assert KEY not in "".join([*exporter.lines, *pages])


def test_the_log_can_be_json(wire: Wire) -> None:
    wire.answer = http(jobs_json(job("ft-\n1", "new")))
    done = run("--once", "--log.format=json", "--details.mode=off", TOGETHER_API_KEY="k", TOGETHER_BASE_URL=wire.url)
    poll, odd = map(json.loads, done.stderr.splitlines())
    assert (odd["level"], odd["msg"], odd["job_id"], odd["value"]) == ("warning", "unknown value", "ft-\n1", "new")
    assert (poll["level"], poll["msg"], poll["account"], poll["jobs"]) == ("info", "poll", "default", 1)


def test_a_name_with_a_newline_is_still_one_line_of_logfmt(wire: Wire) -> None:
    wire.answer = http(jobs_json(job('ft-\n"1"', "new")))
    done = run("--once", "--details.mode=off", TOGETHER_API_KEY="k", TOGETHER_BASE_URL=wire.url)
    _, odd = done.stderr.splitlines()
    assert r'job_id="ft-\n\"1\""' in odd


def test_an_unknown_variable_is_a_warning(wire: Wire) -> None:
    wire.answer = http(jobs_json())
    env = {"TOGETHER_EXPORTER_POLL_INTERVALL": "1s", "TOGETHER_API_KEY": "k", "TOGETHER_BASE_URL": wire.url}
    with ExporterProcess(**env) as exporter:
        assert "variable=TOGETHER_EXPORTER_POLL_INTERVALL" in exporter.line("unknown environment variable")
