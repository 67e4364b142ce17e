"""Flags, variables and the file: which wins, and what is reported about an error."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from exporter import config, web
from exporter.config import ENV_PREFIX, ConfigError, Setting, Settings, secrets, settings, unknown_variables
from exporter.statuses import STATUSES

TABLE = {name: status.stuck_after for name, status in STATUSES.items() if status.stuck_after is not None}
DURATION = "must be a duration such as 90s, 1h30m or 7d, at most 10y"


def load(*argv: str, **environ: str) -> Settings:
    """The settings from these flags and variables, and an API key."""
    return config.load(argv, "", {"TOGETHER_API_KEY": "k", **environ})


def errors(*argv: str, **environ: str) -> list[str]:
    """The lines of the error that these flags and variables are."""
    with pytest.raises(ConfigError) as raised:
        load(*argv, **environ)
    assert str(raised.value).splitlines() == list(raised.value.lines)
    return list(raised.value.lines)


def write(folder: Path, text: str | bytes) -> str:
    """The flag that names a file with this text."""
    path = folder / "c.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return f"--config.file={path}"


def file_errors(folder: Path, text: str | bytes, **environ: str) -> list[str]:
    """The lines of the error that a file with this text is, without the path of its folder."""
    return [line.removeprefix(f"{folder}/") for line in errors(write(folder, text), **environ)]


# ----------------------------------------------------------------------------------------------------------- precedence


def test_the_defaults_are_those_of_the_reference() -> None:
    assert load().model_dump(exclude={"together_api_key"}) == {
        "config_file": None,
        "config_check": False,
        "together_base_url": "https://api.together.xyz/v1",
        "together_api_key_file": None,
        "together_timeout": 10,
        "poll_interval": 30,
        "poll_idle_interval": 60,
        "poll_max_staleness": 600,
        "details_mode": "auto",
        "details_concurrency": 4,
        "details_requests_per_minute": 120,
        "training_enabled": False,
        "jobs_retention": 604800,
        "jobs_limit": 5000,
        "alerts_stuck_after": TABLE,
        "alerts_failure_window": 21600,
        "alerts_failure_limit": 0.5,
        "alerts_budget_usd_per_month": None,
        "metrics_exclude": (),
        "web_listen_address": (":10124",),
        "web_telemetry_path": "/metrics",
        "web_config_file": None,
        "web_enable_lifecycle": False,
        "web_console_url": "https://api.together.ai/fine-tuning/{id}",
        "web_grafana_url": None,
        "log_level": "info",
        "log_format": "logfmt",
        "once": False,
        "demo": False,
        "simulator_jobs": 40,
        "simulator_speed": 60,
        "simulator_shape": "live",
        "simulator_seed": 1,
        "accounts": (),
    }


def test_flags_override_variables_override_the_file_overrides_defaults(tmp_path: Path) -> None:
    file = write(tmp_path, "poll: {interval: 1s, idle-interval: 2s, max-staleness: 30s}")
    environ = {"TOGETHER_EXPORTER_POLL_INTERVAL": "4s", "TOGETHER_EXPORTER_POLL_IDLE_INTERVAL": "5s"}
    found = load(file, "--poll.interval=6s", **environ)
    assert (found.poll_interval, found.poll_idle_interval, found.poll_max_staleness) == (6, 5, 30)
    assert found.together_timeout == 10


def test_our_own_variable_overrides_the_one_of_togethers_tools() -> None:
    theirs = {"TOGETHER_BASE_URL": "http://theirs/v1", "TOGETHER_API_KEY_FILE": "/key"}
    assert load(**theirs).together_base_url == "http://theirs/v1"
    assert load(**theirs).together_api_key_file == Path("/key")
    assert load(**theirs, TOGETHER_EXPORTER_TOGETHER_BASE_URL="http://ours/v1").together_base_url == "http://ours/v1"


def test_an_empty_variable_is_not_set() -> None:
    assert load(TOGETHER_BASE_URL="", TOGETHER_EXPORTER_POLL_INTERVAL="").poll_interval == 30


def test_a_lower_case_variable_is_not_a_setting() -> None:
    assert load(together_exporter_poll_interval="1s", together_base_url="http://theirs/v1") == load()


def test_the_last_of_several_flags_counts_unless_it_is_repeatable() -> None:
    found = load("--poll.interval=1s", "--poll.interval", "2s", "--metrics.exclude=a", "--metrics.exclude=b")
    assert (found.poll_interval, found.metrics_exclude) == (2, ("a", "b"))


# --------------------------------------------------------------------------------------------------------------- values


@pytest.mark.parametrize("setting", list(settings()), ids=lambda setting: setting.flag)
def test_every_setting_has_a_flag_a_variable_and_a_line_of_help(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        load("--help")
    assert raised.value.code == 0
    text = capsys.readouterr().out
    assert f"  --{'[no-]' if setting.switch else ''}{setting.flag}" in text
    assert setting.variables[0] == ENV_PREFIX + setting.flag.upper().replace(".", "_").replace("-", "_")
    assert set(setting.variables) <= set(re.findall(r"\w+", text))
    assert setting.help.endswith(".")


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--once"], True),
        (["--once=true"], True),
        (["--once=false"], False),
        (["--once", "--no-once"], False),
        (["--no-once", "--once"], True),
    ],
)
def test_a_switch_is_a_flag_or_its_opposite_or_has_a_value(flags: list[str], expected: bool) -> None:
    assert load(*flags).once is expected


def test_a_switch_in_the_file_is_written_as_yaml_writes_it(tmp_path: Path) -> None:
    assert load(write(tmp_path, "training: {enabled: yes}\ndetails: {mode: off}\n")).training_enabled
    assert load(write(tmp_path, "training: {enabled: yes}\ndetails: {mode: off}\n")).details_mode == "off"


@pytest.mark.parametrize("level", ["warn", "warning"])
def test_a_warning_has_two_names(level: str) -> None:
    assert load(f"--log.level={level}").log_level == "warning"


def test_several_addresses_are_several_flags_or_words_or_a_list(tmp_path: Path) -> None:
    expected = (":1", "[::1]:2")
    assert load("--web.listen-address=:1", "--web.listen-address", "[::1]:2").web_listen_address == expected
    assert load(write(tmp_path, 'web: {listen-address: [":1", "[::1]:2"]}')).web_listen_address == expected
    assert load(TOGETHER_EXPORTER_WEB_LISTEN_ADDRESS=":1 [::1]:2").web_listen_address == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("7d", 604800),
        ("500ms", 0.5),
        ("1m500ms", 60.5),
        ("2w1d", 1296000),
        ("1y", 31536000),
        ("10y", 315360000),
    ],
)
def test_durations_are_written_as_in_prometheus(text: str, expected: float) -> None:
    assert load(f"--jobs.retention={text}").jobs_retention == expected


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().poll_interval = 1  # type: ignore[misc]  # the point of the test


# ---------------------------------------------------------------------------------------- errors in flags and variables


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--poll.interval=30", f"--poll.interval: {DURATION}, not '30'"),
        ("--poll.interval=0s", f"--poll.interval: {DURATION}, not '0s'"),
        ("--poll.interval=-5s", f"--poll.interval: {DURATION}, not '-5s'"),
        ("--poll.interval=1m1h", f"--poll.interval: {DURATION}, not '1m1h'"),
        ("--poll.interval= 1m", f"--poll.interval: {DURATION}, not ' 1m'"),
        ("--poll.interval=", f"--poll.interval: {DURATION}, not ''"),
        ("--poll.interval=300y", f"--poll.interval: {DURATION}, not '300y'"),
        (f"--poll.interval={'9' * 400}s", f"--poll.interval: {DURATION}"),
        (f"--poll.interval={'9' * 5000}s", f"--poll.interval: {DURATION}"),
        (
            "--together.timeout=2h",
            "--together.timeout: must be a duration such as 500ms, 10s or 1m30s, at most 1h, not",
        ),
        ("--poll.intervall=30s", "--poll.intervall: is not a flag; did you mean --poll.interval?"),
        ("--poll.inter=30s", "--poll.inter: is not a flag; did you mean --poll.interval?"),
        ("--poll.interval", "--poll.interval: needs a value (DURATION)"),
        ("--colour=red", "--colour: is not a flag; see --help"),
        (f"--together.api-key{'5' * 40}", "there is an argument that is not a flag; see --help"),
        ("--no-once=true", "--no-once: takes no value"),
        ("--once=maybe", "--once: must be true or false, not 'maybe'"),
        ("once", "there is an argument that is not a flag; see --help"),
        ("--web.listen-address=10124", "--web.listen-address: must be an address such as :10124,"),
        ("--web.listen-address=:99999", "--web.listen-address: must be an address such as :10124,"),
        (f"--web.listen-address=:{'9' * 5000}", "--web.listen-address: must be an address such as :10124,"),
        ("--web.listen-address=::1:10124", "--web.listen-address: must be an address such as :10124,"),
        ("--web.listen-address=[localhost]:80", "--web.listen-address: must be an address such as :10124,"),
        ("--web.listen-address=a..b:80", "--web.listen-address: must be an address such as :10124,"),
        ("--web.listen-address=a\0b:80", "--web.listen-address: must be an address such as :10124,"),
        (f"--web.listen-address={'a' * 64}:80", "--web.listen-address: must be an address such as :10124,"),
        ("--web.telemetry-path=metrics", "--web.telemetry-path: must be a path such as /metrics that no"),
        ("--web.telemetry-path=/é", "--web.telemetry-path: must be a path such as /metrics that no"),
        ("--web.telemetry-path=/-/healthy", "--web.telemetry-path: must be a path such as /metrics that no"),
        ("--web.telemetry-path=/sd", "--web.telemetry-path: must be a path such as /metrics that no"),
        ("--web.telemetry-path=/job.json", "--web.telemetry-path: must be a path such as /metrics that no"),
        ("--web.console-url=https://x.y/", "--web.console-url: must be a URL with {id} in its path, such as https://"),
        ("--web.console-url=ftp://x.y/{id}", "--web.console-url: must be a URL such as https://api.together.ai/"),
        ("--web.grafana-url=grafana", "--web.grafana-url: must be a URL such as https://grafana.example.com"),
        ("--web.telemetry-path=/\udcff", "--web.telemetry-path: must be a path such as /metrics that no"),
        ("--together.base-url=api.together.xyz", "--together.base-url: must be a URL such as https://"),
        ("--together.base-url=http://[::1", "--together.base-url: must be a URL such as https://"),
        ("--together.base-url=http://a..b/", "--together.base-url: must be a URL such as https://"),
        ("--together.base-url=http://a:99999/", "--together.base-url: must be a URL such as https://"),
        ("--together.base-url=http://a/\n", "--together.base-url: must be a URL such as https://"),
        ("--together.api-key-file=a\0b", "--together.api-key-file: must be the path of a file"),
        ("--together.api-key-file=", "--together.api-key-file: must be the path of a file"),
        ("--config.file=a\0b", "--config.file: must be the path of a file"),
        ("--log.level=loud", "--log.level: must be 'debug', 'info', 'warn', 'warning' or 'error', not 'loud'"),
        ("--jobs.limit=1_000", "--jobs.limit: must be a whole number from 0 to 1,000,000, not '1_000'"),
        (f"--jobs.limit={'9' * 5000}", "--jobs.limit: must be a whole number from 0 to 1,000,000"),
        ("--simulator.jobs=-1", "--simulator.jobs: must be a whole number from 0 to 100,000, not '-1'"),
        ("--simulator.speed=0", "--simulator.speed: must be a number above 0, at most 1,000,000, not '0'"),
        ("--simulator.speed=nan", "--simulator.speed: must be a number above 0, at most 1,000,000, not 'nan'"),
        ("--alerts.failure-limit=1.5", "--alerts.failure-limit: must be a number above 0, at most 1, not '1.5'"),
        ("--alerts.stuck-after=3h", "--alerts.stuck-after: must be status=duration, such as queued=3h or"),
        ("--alerts.stuck-after=queued=3", f"--alerts.stuck-after.queued: {DURATION}, not '3'"),
        ("--alerts.stuck-after=done=3h", f"--alerts.stuck-after.done: must be one of {', '.join(TABLE)}, not 'done'"),
        ("--metrics.exclude=(", "--metrics.exclude: must be a regular expression ("),
        ("--together.api-key=abc", "--together.api-key: is not a flag; did you mean --together.api-key-file?"),
    ],
)
def test_an_invalid_flag_is_one_line_that_names_it(argument: str, message: str) -> None:
    [line] = errors(argument)
    assert line.startswith(message)


def test_an_invalid_variable_is_one_line_that_names_it() -> None:
    [line] = errors(TOGETHER_EXPORTER_POLL_MAX_STALENESS="soon")
    assert line == f"TOGETHER_EXPORTER_POLL_MAX_STALENESS: {DURATION}, not 'soon'"
    [line] = errors(TOGETHER_EXPORTER_WEB_TELEMETRY_PATH=b"/\xff".decode(errors="surrogateescape"))
    assert line.startswith("TOGETHER_EXPORTER_WEB_TELEMETRY_PATH: must be a path")
    [line] = errors(TOGETHER_BASE_URL="x")
    assert line.startswith("TOGETHER_BASE_URL: must be a URL")


def test_accounts_cannot_be_set_in_a_variable() -> None:
    [line] = errors(TOGETHER_EXPORTER_ACCOUNTS="x")
    assert line.startswith("TOGETHER_EXPORTER_ACCOUNTS: accounts can only be set in the file")


def test_patterns_that_cannot_be_combined_are_one_line() -> None:
    [line] = errors("--metrics.exclude=a", "--metrics.exclude=(?i)b")
    assert line.startswith("--metrics.exclude: must be a regular expression (")


def test_every_error_of_every_source_is_reported(tmp_path: Path) -> None:
    text = "colour: red\npoll:\n  max-staleness: x\n  max-staleness: y\naccounts: [{name: a}, {api_key_env: A}]\n"
    found = errors(write(tmp_path, text), "--poll.interval=x", "--size=1", TOGETHER_EXPORTER_LOG_LEVEL="y")
    assert [re.sub(r".*/(?=c\.yml)|: (must|is) .*", "", line) for line in found] == [
        "--size",
        "c.yml:1: colour",
        "c.yml:4: poll.max-staleness",
        "--poll.interval",
        "c.yml:4: poll.max-staleness",
        "TOGETHER_EXPORTER_LOG_LEVEL",
        "c.yml:5: accounts[0]",
        "c.yml:5: accounts[1].name",
    ]


def test_no_path_of_a_page_can_be_that_of_the_metrics() -> None:
    served = re.findall(r'"(/[a-z.]*)": ', (Path(web.__file__).parent / "application.py").read_text())
    assert {"/", "/sd"} <= set(served)
    for path in served:
        assert len(errors(f"--web.telemetry-path={path}")) == 1


# ------------------------------------------------------------------------------------------------------- contradictions


def test_a_poll_interval_longer_than_the_staleness_is_refused() -> None:
    assert errors("--poll.interval=20s", TOGETHER_EXPORTER_POLL_MAX_STALENESS="10s") == [
        "--poll.interval (20s) must not be longer than TOGETHER_EXPORTER_POLL_MAX_STALENESS (10s)",
        "TOGETHER_EXPORTER_POLL_MAX_STALENESS (10s) must not be shorter than poll.idle-interval (1m by default)",
    ]


def test_a_threshold_shorter_than_the_poll_interval_is_refused(tmp_path: Path) -> None:
    account = "accounts:\n- name: a\n  api_key_env: A\n  stuck_after:\n    queued: 5s\n  failure_window: 6s"
    shorter = "must not be shorter than poll.interval (30s by default)"
    assert file_errors(tmp_path, f"alerts: {{failure-window: 10s}}\n{account}", A="k") == [
        f"c.yml:1: alerts.failure-window (10s) {shorter}",
        f"c.yml:7: accounts[0].failure_window {shorter}",
        f"c.yml:6: accounts[0].stuck_after.queued {shorter}",
    ]


def test_an_invalid_setting_contradicts_nothing() -> None:
    [line] = errors("--poll.interval=20m", "--poll.max-staleness=x", "--alerts.stuck-after=cancel-requested=1h")
    assert line.startswith("--poll.max-staleness: ")


# ------------------------------------------------------------------------------------------------------------- the file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "poll:\n  interval: 30s\n  intervall: 3s\n",
            "c.yml:3: poll.intervall: is not a setting; known here: idle-interval, interval, max-staleness",
        ),
        ("pol: {}\n", "c.yml:1: pol: is not a setting; known here: accounts, alerts, demo, details, jobs, log,"),
        ("\npoll: {interval: 30}\n", f"c.yml:2: poll.interval: {DURATION}, not '30'"),
        ("poll: 30s\n", "c.yml:1: poll: must contain settings, such as poll: {interval: 30s}"),
        ("- a\n", "c.yml:1: must contain settings, such as poll: {interval: 30s}"),
        ("poll:\n  interval: 3s\npoll: {}\n", "c.yml:3: poll: is given twice"),
        ("poll: {idle-interval: 3s, idle_interval: 4s}\n", "c.yml:1: poll.idle-interval: is given twice"),
        ("poll: [a\n", "c.yml:2: not YAML: expected ',' or ']'"),
        ("poll: \x00\n", "c.yml: not YAML: character U+0000 is not allowed"),
        (b"# \xff\n", "c.yml:1: not UTF-8"),
        ("together: {api-key: abc}\n", "c.yml:1: together.api-key: is not a setting; known here: api-key-file,"),
        ("config: {file: x}\n", "c.yml:1: config: is not a setting"),
        ("poll: {interval: !!python/name:os.system x}\n", "c.yml:1: poll.interval: has a tag that is not supported"),
        ("poll:\n  interval: 2020-13-45\n", f"c.yml:2: poll.interval: {DURATION}, not '2020-13-45'"),
        ("poll: {interval: !!timestamp x}\n", f"c.yml:1: poll.interval: {DURATION}, not 'x'"),
        ('jobs: {limit: !!int ""}\n', "c.yml:1: jobs.limit: must be a whole number from 0 to 1,000,000, not ''"),
        ("once: !!bool x\n", "c.yml:1: once: must be true or false, not 'x'"),
        (f"poll: {{interval: {'9' * 400}s}}\n", f"c.yml:1: poll.interval: {DURATION}"),
        ("[" * 3000 + "]" * 3000, "c.yml: is nested too deeply"),
        ("poll: {interval: [[[1s]]]}\n", f"c.yml:1: poll.interval: {DURATION}"),
        (r'log: {level: "\U00110000"}', "c.yml: not YAML"),
        ("%YAML 1." + "9" * 5000 + "\n---\na: b\n", "c.yml: not YAML"),
        ("a: b\n---\nc: d\n", "c.yml:2: not YAML: but found another document"),
        ("? [a]\n: b\n", "c.yml:1: has a key that is not text"),
        ('together: {api-key-file: "a\\0b"}\n', "c.yml:1: together.api-key-file: must be the path of a file"),
        ('together: {api-key-file: "a\\ud800b"}\n', "c.yml:1: together.api-key-file: must be the path of a file"),
        ("alerts:\n  stuck-after:\n    queued: 3h\n    done: 1h\n", "c.yml:4: alerts.stuck-after.done: must be one of"),
        ('web: {listen-address:\n  [":1",\n  ":x"]}', "c.yml:3: web.listen-address[1]: must be an address"),
        ("web: {telemetry-path: [a]}", "c.yml:1: web.telemetry-path: must be one value"),
        ("metrics: {exclude: {a: b}}", "c.yml:1: metrics.exclude: must be a list"),
        ("accounts: [{name: a, api_key_env: A, stuck_after: [x]}]", "c.yml:1: accounts[0].stuck_after: must be status"),
        ("accounts: [a]", "c.yml:1: accounts[0]: must contain keys and values"),
        ("accounts: a", "c.yml:1: accounts: must be a list"),
        ("x" * (2**20 + 1), "c.yml: larger than 1 MiB"),
    ],
)
def test_an_invalid_file_is_one_line_that_names_the_place(tmp_path: Path, text: str | bytes, message: str) -> None:
    [line] = file_errors(tmp_path, text)
    assert line.startswith(message)


def test_a_key_that_is_no_name_is_not_shown(tmp_path: Path) -> None:
    [line] = file_errors(tmp_path, '"a\\nb\\ud800\\e[31m": 1')
    assert line.startswith("c.yml:1: …: is not a setting")


def test_aliases_of_aliases_are_bounded(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    assert file_errors(tmp_path, bomb) == ["c.yml: has more than 100,000 values"]
    merges = "a0: &a0 {x: y}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 60))
    assert file_errors(tmp_path, merges) == ["c.yml: has more than 100,000 values"]
    assert file_errors(tmp_path, "a: &a [*a]") == ["c.yml: is nested too deeply"]


def test_accounts_can_share_settings_by_alias_and_by_merge(tmp_path: Path) -> None:
    text = """
        accounts:
        - &first {name: a, api_key_env: A, stuck_after: &slow {queued: 4h}, failure_window: 1h}
        - {name: b, api_key_env: B, stuck_after: *slow}
        - {<<: *first, name: c}
    """
    a, b, c = load(write(tmp_path, text), A="k", B="k").effective_accounts()
    assert (a.stuck_after["queued"], b.stuck_after["queued"], c.stuck_after["queued"]) == (14400, 14400, 14400)
    assert (a.failure_window, b.failure_window, c.failure_window) == (3600, 21600, 3600)


def test_a_file_that_is_not_there_is_the_only_error_even_if_it_may_have_had_the_keys() -> None:
    assert errors("--config.file=nowhere.yml", TOGETHER_API_KEY="") == ["--config.file: No such file or directory"]


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_a_device_is_not_read(path: str) -> None:
    assert errors(f"--config.file={path}") == [f"{path}: not a regular file"]


def test_a_pipe_or_a_folder_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert errors(f"--config.file={tmp_path}/pipe") == [f"{tmp_path}/pipe: not a regular file"]
    assert errors(f"--config.file={tmp_path}") == ["--config.file: Is a directory"]


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "poll:\naccounts:\n", "poll: {interval: }\n", "---\n...\n"])
def test_what_has_no_value_in_the_file_is_not_set(tmp_path: Path, text: str) -> None:
    assert load(write(tmp_path, text)).poll_interval == 30


def test_keys_of_the_file_may_have_underscores(tmp_path: Path) -> None:
    assert load(write(tmp_path, "poll: {max_staleness: 1h}\n")).poll_max_staleness == 3600


# ------------------------------------------------------------------------------------------------- accounts, thresholds

ACCOUNT = "accounts:\n- {name: a, api_key_env: A}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accounts: [{name: a}]", "c.yml:1: accounts[0]: must have either api_key_file or api_key_env"),
        ("accounts: [{api_key_env: A}]", "c.yml:1: accounts[0].name: is required"),
        ("accounts: [{name: '', api_key_env: A}]", "c.yml:1: accounts[0].name: must be 1 to 128 printable characters"),
        (f"{ACCOUNT}- {{name: a, api_key_env: A}}", "c.yml:3: accounts[1].name: is the name of another account"),
        (
            f"{ACCOUNT}- name: b\n  api_key_env: A\n  colour: x",
            "c.yml:5: accounts[1].colour: is not a setting of an account; known: name, api_key_file,",
        ),
        (f"{ACCOUNT}- {{name: b, api_key_env: A, api_key_file: f}}", "c.yml:3: accounts[1]: must have either api_key"),
        (f"{ACCOUNT}- name: b\n  api_key_env: B", "c.yml:4: accounts[1].api_key_env: the environment variable is not"),
        (f"{ACCOUNT}- name: b\n  api_key_env: 'a b'", "c.yml:4: accounts[1].api_key_env: must be the name of an"),
        (f'{ACCOUNT}- name: b\n  api_key_file: "\\0"', "c.yml:4: accounts[1].api_key_file: must be the path of a file"),
        (f"{ACCOUNT}  \n- {{name: b, name: c, api_key_env: A}}", "c.yml:4: accounts[1].name: is given twice"),
        (
            f"{ACCOUNT[:-2]}, stuck_after: {{done: 1h}}}}",
            "c.yml:2: accounts[0].stuck_after.done: must be one of pending",
        ),
        (f"{ACCOUNT[:-2]}, stuck_after: {{queued: 60}}}}", f"c.yml:2: accounts[0].stuck_after.queued: {DURATION}"),
        (
            f"{ACCOUNT[:-2]}, failure_limit: 2}}",
            "c.yml:2: accounts[0].failure_limit: must be a number above 0, at most 1",
        ),
        (f"{ACCOUNT[:-2]}, base_url: x}}", "c.yml:2: accounts[0].base_url: must be a URL"),
    ],
)
def test_an_invalid_account_is_one_line_that_names_the_entry(tmp_path: Path, text: str, message: str) -> None:
    [line] = file_errors(tmp_path, text, A="k")
    assert line.startswith(message)


def test_accounts_may_be_written_with_dashes_and_find_their_keys_next_to_the_file(tmp_path: Path) -> None:
    text = "accounts: [{name: a, api-key-file: a.key, budget-usd-per-month: 5}, {name: b, api_key_file: /b.key}]\n"
    a, b = load(write(tmp_path, text)).effective_accounts()
    assert (a.name, a.api_key_file, a.budget_usd_per_month) == ("a", tmp_path / "a.key", 5)
    assert b.api_key_file == Path("/b.key")


def test_a_key_file_that_the_file_names_is_next_to_it(tmp_path: Path) -> None:
    [account] = load(write(tmp_path, "together: {api-key-file: x.key}\n")).effective_accounts()
    assert account.api_key_file == tmp_path / "x.key"


def test_without_accounts_there_is_one_called_default() -> None:
    [account] = load().effective_accounts()
    assert (account.name, account.api_key_env) == ("default", "TOGETHER_API_KEY")
    assert account.api_key is not None
    assert account.api_key.get_secret_value() == "k"


def test_a_key_file_takes_precedence_over_the_key_in_the_environment() -> None:
    [account] = load("--together.api-key-file=/k").effective_accounts()
    assert (account.api_key_file, account.api_key_env, account.api_key) == (Path("/k"), None, None)


@pytest.mark.parametrize(("flags", "refused"), [([], True), (["--demo"], False)])
def test_only_the_demo_needs_no_key(flags: list[str], refused: bool) -> None:
    if refused:
        assert errors(*flags, TOGETHER_API_KEY="")[0].startswith("no API key: set TOGETHER_API_KEY, ")
    else:
        assert load(*flags, TOGETHER_API_KEY="").demo


def test_thresholds_come_from_flags_or_a_variable_or_the_file(tmp_path: Path) -> None:
    expected = {**TABLE, "queued": 10800, "cancel_requested": 5400}
    for found in (
        load("--alerts.stuck-after=queued=3h", "--alerts.stuck-after", "cancel_requested=90m"),
        load(TOGETHER_EXPORTER_ALERTS_STUCK_AFTER="queued=3h,cancel_requested=90m"),
        load(write(tmp_path, "alerts: {stuck-after: {queued: 3h, cancel-requested: 90m}}")),
    ):
        assert found.effective_accounts()[0].stuck_after == expected


def test_an_account_overrides_the_settings_for_all_accounts(tmp_path: Path) -> None:
    flags = [
        "--alerts.stuck-after=queued=3h,running=4h",
        "--alerts.failure-window=1h",
        "--alerts.failure-limit=0.1",
        "--alerts.budget-usd-per-month=10",
        "--together.base-url=http://all/v1",
    ]
    own = "stuck_after: {queued: 5h}, failure_window: 2h, failure_limit: 0.2, budget_usd_per_month: 20"
    text = f"accounts: [{{name: a, api_key_env: A}}, {{name: b, api_key_env: A, base_url: http://own/v1, {own}}}]"
    a, b = load(write(tmp_path, text), *flags, A="k").effective_accounts({"A": "key of A"})
    assert a.stuck_after == {**TABLE, "queued": 10800, "running": 14400}
    assert b.stuck_after == {**TABLE, "queued": 18000, "running": 14400}
    assert (a.failure_window, a.failure_limit, a.budget_usd_per_month, a.base_url) == (3600, 0.1, 10, "http://all/v1")
    assert (b.failure_window, b.failure_limit, b.budget_usd_per_month, b.base_url) == (7200, 0.2, 20, "http://own/v1")
    assert b.api_key is not None
    assert b.api_key.get_secret_value() == "key of A"


def test_the_documented_accounts_are_valid() -> None:
    documented = Path(__file__).parent.parent / "docs/accounts.yml"
    found = load(f"--config.file={documented}", PRODUCT_TOGETHER_API_KEY="k").effective_accounts()
    assert [account.name for account in found] == ["research", "product"]
    assert documented.read_text() in documented.with_name("configuration.md").read_text()


# -------------------------------------------------------------------------------------------------------------- secrets


def test_the_key_is_in_no_representation() -> None:
    found = load(TOGETHER_API_KEY="hunter2")
    assert found.together_api_key is not None
    assert found.together_api_key.get_secret_value() == "hunter2"
    accounts = found.effective_accounts()
    assert "hunter2" not in f"{found!r} {found} {found.model_dump()} {found.model_dump_json()} {accounts}"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--together.base-url=https://me:hunter2@api.together.xyz/v1"],
        ["--together.api-key=hunter2"],
        ["--together.api-key", "hunter2"],
        ["hunter2"],
        ["--once=https://me:hunter2@host"],
    ],
)
def test_a_secret_in_a_flag_is_not_shown(arguments: list[str]) -> None:
    assert "hunter2" not in str(errors(*arguments))


@pytest.mark.parametrize(
    "text",
    [
        "together: {api_key: hunter2}",
        "together: {api-key-file: [hunter2]}",
        'together: {api-key-file: "hunter2\\0"}',
        "accounts: hunter2",
        "accounts: [hunter2]",
        "accounts: [{name: a, api_key: hunter2}]",
        "accounts: [{name: a, api_key_env: [hunter2]}]",
        "accounts: [{name: a, api_key_env: hunter2}]",
        "accounts: [{name: a, api_key_env: hunter2 }, {name: a, api_key_env: '- hunter2'}]",
        "accounts: [{name: a, api_key_file: f, failure_limit: hunter2}]",
        "accounts: [{name: hunter2, api_key_file: f}, {name: hunter2, api_key_file: f}]",
        "accounts: [{name: a, api_key_file: *hunter2 }]",
        "accounts: [{name: a, api_key_file: !hunter2 x}]",
        "accounts: [{name: a, api_key_file: &hunter2 x, base_url: &hunter2 y}]",
        'accounts: [{name: "hunter2 }]',
    ],
)
def test_a_misplaced_key_in_the_file_is_not_shown(tmp_path: Path, text: str) -> None:
    assert "hunter2" not in str(file_errors(tmp_path, text))


def test_the_secrets_are_the_keys_of_the_environment_and_the_passwords_of_proxies(tmp_path: Path) -> None:
    environ = {
        "TOGETHER_API_KEY": "key-1\n",
        "A": "key-2",
        "http_proxy": "http://me:plain@proxy:3128",
        "HTTPS_PROXY": "http://me:p%40ss@proxy:3128/",
        "all_proxy": "socks5://me:with#and/and@proxy",
        "ftp_proxy": "me:bare@proxy",
        "Http_Proxy": "http://token@proxy",
        "no_proxy": "a:b@c",
    }
    found = config.load([write(tmp_path, "accounts: [{name: a, api_key_env: A}]")], "", environ)
    assert secrets(found.effective_accounts(environ), environ) == {
        *("key-1", "key-2", "plain", "p%40ss", "p@ss", "with#and/and", "bare", "token")
    }
    assert secrets(environ={"http_proxy": "http://proxy:3128"}) == frozenset()


def test_a_password_with_an_at_sign_is_a_secret_whichever_one_ends_it() -> None:
    assert secrets(environ={"http_proxy": "http://me:a@b@proxy"}) == {"a", "a@b"}


# ---------------------------------------------------------------------------------------------------- unknown variables


def test_variables_that_look_like_settings_are_reported_but_not_those_of_kubernetes() -> None:
    misspelt = ["TOGETHER_EXPORTER_POLL_INTERVALL", "Together_Base_Url", "together_exporter_poll_interval"]
    kubernetes = {
        "TOGETHER_EXPORTER_SERVICE_HOST": "10.0.0.1",
        "TOGETHER_EXPORTER_SERVICE_PORT": "10124",
        "TOGETHER_EXPORTER_SERVICE_PORT_METRICS": "10124",
        "TOGETHER_EXPORTER_PORT": "tcp://10.0.0.1:10124",
        "TOGETHER_EXPORTER_PORT_10124_TCP": "tcp://10.0.0.1:10124",
        "TOGETHER_EXPORTER_PORT_10124_TCP_ADDR": "10.0.0.1",
    }
    valid = {"TOGETHER_EXPORTER_POLL_INTERVAL": "1s", "TOGETHER_API_KEY": "x", "HOME": "/"}
    assert unknown_variables({**dict.fromkeys(misspelt, "1s"), **kubernetes, **valid}) == misspelt


# ------------------------------------------------------------------------------------------------------------- any text


NO_DEADLINE = hypothesis_settings(deadline=None)  # on a busy machine any example may take long


def check_total(argv: list[str], environ: dict[str, str]) -> None:
    """Fails unless these flags and variables yield settings, or lines that name what is wrong."""
    lines: tuple[str, ...] = ("settings",)
    try:
        config.load(argv, "", environ)
    except ConfigError as error:
        lines = error.lines
    assert lines
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("internal error while") for line in lines)


def test_a_bug_is_one_line_and_its_traceback_is_logged_at_debug_level(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(dict[str, str]):
        def get(self, *_: object) -> Any:
            raise LookupError("surprise")

    caplog.set_level("DEBUG", logger="exporter.config")
    with pytest.raises(ConfigError) as raised:
        config.load([], "", Broken())
    assert raised.value.lines == ("internal error while reading the configuration (LookupError)",)
    assert [record.levelname for record in caplog.records] == ["DEBUG"]
    assert "surprise" in caplog.text


FLAGS = [f"--{setting.flag}" for setting in settings()]
VARIABLES = [variable for setting in settings() for variable in setting.variables]
ANY_TEXT = st.text(st.characters(max_codepoint=0x2FF) | st.sampled_from("\ud83d\udcff\u202e"))
PLAUSIBLE = (
    "30s",
    "9h",
    "queued=3h",
    "queued=",
    ":80",
    "[::1]:80",
    "a..b:80",
    "http://[::1",
    "http://a:b@c",
    "on",
    "5",
)
VALUE = st.sampled_from(PLAUSIBLE) | ANY_TEXT


@NO_DEADLINE
@given(st.lists(st.builds("{}={}".format, st.sampled_from(FLAGS), VALUE) | st.sampled_from(FLAGS) | ANY_TEXT))
def test_any_flags_are_settings_or_an_error(argv: list[str]) -> None:
    if not {"-h", "--help", "--version"} & set(argv):
        check_total(argv, {"TOGETHER_API_KEY": "k"})


@NO_DEADLINE
@given(st.dictionaries(st.sampled_from(VARIABLES) | ANY_TEXT, VALUE))
def test_any_variables_are_settings_or_an_error(environ: dict[str, str]) -> None:
    check_total([], environ)


def sections(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Files with the names of settings, and whatever else in between."""
    names = st.sampled_from([*sorted({part for setting in settings() for part in setting.flag.split(".")}), "accounts"])
    fields = st.sampled_from(sorted(config.AccountEntry.model_fields))
    return st.dictionaries(names | fields, values, max_size=4) | st.lists(values, max_size=3)


TREES = st.recursive(st.none() | st.booleans() | st.floats() | st.dates() | st.text() | VALUE, sections, max_leaves=8)


@NO_DEADLINE
@given(TREES.map(lambda tree: yaml.safe_dump(tree).encode()) | st.binary() | st.text().map(str.encode))
def test_any_file_is_settings_or_an_error(tmp_path_factory: pytest.TempPathFactory, text: bytes) -> None:
    check_total([write(tmp_path_factory.getbasetemp(), text)], {"TOGETHER_API_KEY": "k"})
