"""Flags, variables and the file: which wins, and what is said of a mistake."""

import re
from pathlib import Path

import pytest

from exporter import web
from exporter.config import ENV_PREFIX, ConfigError, Setting, Settings, load, settings, unknown_variables


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return f"--config.file={path}"


def test_the_defaults_are_those_of_the_reference() -> None:
    assert load([], "").model_dump(exclude={"together_api_key"}) == {
        "config_file": None,
        "config_check": False,
        "together_base_url": "https://api.together.xyz/v1",
        "together_api_key_file": None,
        "together_timeout": 10,
        "poll_interval": 30,
        "poll_idle_interval": 120,
        "poll_max_staleness": 600,
        "details_mode": "auto",
        "details_concurrency": 4,
        "details_requests_per_minute": 120,
        "training_enabled": False,
        "jobs_retention": 604800,
        "jobs_limit": 5000,
        "metrics_exclude": (),
        "web_listen_address": (":10124",),
        "web_telemetry_path": "/metrics",
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


def test_flag_wins_over_variable_over_file_over_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "c.yml", "poll: {interval: 1s, idle-interval: 2s, max-staleness: 3s}\n")
    monkeypatch.setenv("TOGETHER_EXPORTER_POLL_INTERVAL", "4s")
    monkeypatch.setenv("TOGETHER_EXPORTER_POLL_IDLE_INTERVAL", "5s")
    found = load([file, "--poll.interval=6s"], "")
    assert (found.poll_interval, found.poll_idle_interval, found.poll_max_staleness) == (6, 5, 3)
    assert found.together_timeout == 10


@pytest.mark.parametrize("setting", list(settings()), ids=lambda setting: setting.flag)
def test_every_setting_has_a_flag_a_variable_and_a_line_of_help(
    setting: Setting, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        load(["--help"], "")
    text = capsys.readouterr().out
    assert f"--{setting.flag}" in text
    assert setting.variables[0] == ENV_PREFIX + setting.flag.upper().replace(".", "_").replace("-", "_")
    assert setting.variables[-1] in text


def test_the_variables_of_togethers_own_tools_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_BASE_URL", "http://localhost/v1")
    monkeypatch.setenv("TOGETHER_API_KEY_FILE", "/key")
    assert load([], "").together_base_url == "http://localhost/v1"
    assert load([], "").together_api_key_file == Path("/key")


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_BASE_URL", "")
    monkeypatch.setenv("TOGETHER_EXPORTER_POLL_INTERVAL", "")
    assert load([], "").poll_interval == 30


def test_several_addresses_are_several_flags_or_words_or_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = (":1", "[::1]:2")
    assert load(["--web.listen-address=:1", "--web.listen-address", "[::1]:2"], "").web_listen_address == expected
    file = write(tmp_path / "c.yml", 'web: {listen-address: [":1", "[::1]:2"]}\n')
    assert load([file], "").web_listen_address == expected
    monkeypatch.setenv("TOGETHER_EXPORTER_WEB_LISTEN_ADDRESS", ":1 [::1]:2")
    assert load([], "").web_listen_address == expected


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
    ],
)
def test_durations_are_written_as_prometheus_writes_them(text: str, expected: float) -> None:
    assert load([f"--poll.interval={text}"], "").poll_interval == expected


DURATION = "must be a duration such as 90s, 1h30m or 7d"


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--poll.interval=30", f"--poll.interval: {DURATION}, not '30'"),
        ("--poll.interval=0s", f"--poll.interval: {DURATION}, not '0s'"),
        ("--poll.interval=-5s", f"--poll.interval: {DURATION}, not '-5s'"),
        ("--poll.interval=1m1h", f"--poll.interval: {DURATION}, not '1m1h'"),
        ("--poll.interval=", f"--poll.interval: {DURATION}, not ''"),
        ("--poll.intervall=30s", "unrecognized arguments: --poll.intervall=30s"),
        ("--poll.inter=30s", "unrecognized arguments: --poll.inter=30s"),
        ("--poll.interval", "argument --poll.interval: expected one argument"),
        ("--web.listen-address=10124", "--web.listen-address: must be an address such as :10124,"),
        ("--web.listen-address=:99999", "--web.listen-address: must be an address such as :10124,"),
        ("--web.listen-address=::1:10124", "--web.listen-address: must be an address such as :10124,"),
        ("--web.telemetry-path=metrics", "--web.telemetry-path: must be a path such as /metrics, and none of"),
        ("--web.telemetry-path=/-/healthy", "--web.telemetry-path: must be a path such as /metrics, and none of"),
        ("--web.telemetry-path=/sd", "--web.telemetry-path: must be a path such as /metrics, and none of"),
        ("--together.base-url=api.together.xyz", "--together.base-url: must be a URL such as https://"),
        ("--log.level=loud", "--log.level: must be 'debug', 'info', 'warning' or 'error', not 'loud'"),
        ("--simulator.jobs=-1", "--simulator.jobs: "),
        ("--simulator.speed=0", "--simulator.speed: "),
        ("--together.api-key=abc", "unrecognized arguments"),
    ],
)
def test_a_bad_flag_is_one_line_that_names_it(argument: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load([argument], "")
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_EXPORTER_POLL_MAX_STALENESS", "soon")
    with pytest.raises(ConfigError, match=r"^TOGETHER_EXPORTER_POLL_MAX_STALENESS: must be a duration"):
        load([], "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "poll:\n  interval: 30s\n  intervall: 3s\n",
            "c.yml:3: poll.intervall is not a setting; known here: idle-inter",
        ),
        ("pol: {}\n", "c.yml:1: pol is not a setting; known here: accounts, demo, details, jobs, log,"),
        ("\npoll: {interval: 30}\n", "c.yml:2: poll.interval: must be a duration such as 90s, 1h30m or 7d, not 30"),
        ("poll: 30s\n", "c.yml:1: poll must hold keys and values"),
        ("- a\n", "c.yml:1: the file must hold keys and values"),
        ("poll: {interval: 3s}\npoll: {interval: 4s}\n", "c.yml:2: poll.interval stands there twice"),
        ("poll: [a\n", "c.yml:2: not YAML: "),
        ("poll: \x00\n", "c.yml: not YAML: "),
        ("together: {api-key: abc}\n", "c.yml:1: together.api-key is not a setting; known here: api-key-file,"),
        ("config: {file: x}\n", "c.yml:1: config is not a setting"),
        ("poll: {interval: !!python/name:os.system x}\n", "c.yml:1: not YAML: could not determine a constructor"),
    ],
)
def test_a_bad_file_is_one_line_that_names_the_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load([write(tmp_path / "c.yml", text)], "")
    assert str(raised.value).startswith(f"{tmp_path}/{message}")
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^nowhere\.yml: No such file"):
        load(["--config.file=nowhere.yml"], "")


def test_an_empty_file_is_no_mistake(tmp_path: Path) -> None:
    assert load([write(tmp_path / "c.yml", "# nothing yet\n")], "").poll_interval == 30


def test_keys_of_the_file_may_have_underscores(tmp_path: Path) -> None:
    assert load([write(tmp_path / "c.yml", "poll: {max_staleness: 1h}\n")], "").poll_max_staleness == 3600


def test_several_mistakes_are_a_line_each() -> None:
    with pytest.raises(ConfigError) as raised:
        load(["--poll.interval=x", "--log.level=y"], "")
    assert [line.split(":")[0] for line in str(raised.value).splitlines()] == ["--poll.interval", "--log.level"]


def test_the_key_is_in_no_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "secret")
    found = load([], "")
    assert found.together_api_key is not None
    assert found.together_api_key.get_secret_value() == "secret"
    assert "secret" not in f"{found!r} {found} {found.model_dump()} {found.model_dump_json()}"


def test_a_password_in_the_url_is_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError) as raised:
        load(["--together.base-url=https://me:hunter2@api.together.xyz/v1"], "")
    assert "hunter2" not in str(raised.value)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().poll_interval = 1  # type: ignore[misc]  # the point of the test


def test_variables_that_look_like_settings_are_told_but_for_those_that_kubernetes_makes() -> None:
    slips = {"TOGETHER_EXPORTER_POLL_INTERVALL": "1s"}
    kubernetes = {
        "TOGETHER_EXPORTER_SERVICE_HOST": "10.0.0.1",
        "TOGETHER_EXPORTER_SERVICE_PORT": "10124",
        "TOGETHER_EXPORTER_SERVICE_PORT_METRICS": "10124",
        "TOGETHER_EXPORTER_PORT": "tcp://10.0.0.1:10124",
        "TOGETHER_EXPORTER_PORT_10124_TCP": "tcp://10.0.0.1:10124",
        "TOGETHER_EXPORTER_PORT_10124_TCP_ADDR": "10.0.0.1",
    }
    good = {"TOGETHER_EXPORTER_POLL_INTERVAL": "1s", "TOGETHER_API_KEY": "x"}
    assert unknown_variables({**slips, **kubernetes, **good}) == ["TOGETHER_EXPORTER_POLL_INTERVALL"]


ACCOUNT = "accounts: [{name: a, api_key_env: A}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accounts: [{name: a}]", "accounts[0]: must have either api_key_file or api_key_env"),
        ("accounts: [{api_key_env: A}]", "accounts[0].name: Field required"),
        ("accounts: [{name: '', api_key_env: A}]", "accounts[0].name: String should have at least 1 character, not ''"),
        (f"{ACCOUNT}, {{name: a, api_key_env: B}}]", "accounts: must have a name each: 'a' stands there twice"),
        (f"{ACCOUNT}, {{name: b, api_key_env: B, colour: x}}]", "accounts[1].colour: Extra inputs are not permitted"),
        (f"{ACCOUNT}, {{name: b, api_key_env: B, api_key_file: f}}]", "accounts[1]: must have either api_key_file or"),
        ("accounts: [{name: a, api_key_env: A, stuck_after: {done: 1h}}]", "accounts[0].stuck_after.done"),
        (
            "accounts: [{name: a, api_key_env: A, stuck_after: {queued: 60}}]",
            "accounts[0].stuck_after.queued: must be a duration such as 90s, 1h30m or 7d, not 60",
        ),
        ("accounts: [{name: a, api_key_env: A, failure_limit: 2}]", "accounts[0].failure_limit: must be less than or"),
        ("accounts: {a: b}", "accounts: must be a valid tuple"),
    ],
)
def test_a_bad_account_is_one_line_that_names_it(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load([write(tmp_path / "c.yml", f"{text}\n")], "")
    assert str(raised.value).startswith(f"{tmp_path}/c.yml:1: {message}")
    assert "\n" not in str(raised.value)


def test_accounts_may_be_written_with_dashes_and_find_their_keys_beside_the_file(tmp_path: Path) -> None:
    text = "accounts: [{name: a, api-key-file: a.key, budget-usd-per-month: 5}, {name: b, api_key_file: /b.key}]\n"
    a, b = load([write(tmp_path / "c.yml", text)], "").effective_accounts()
    assert (a.name, a.api_key_file, a.budget_usd_per_month) == ("a", tmp_path / "a.key", 5)
    assert b.api_key_file == Path("/b.key")


def test_a_key_file_that_the_file_names_lies_beside_it(tmp_path: Path) -> None:
    [account] = load([write(tmp_path / "c.yml", "together: {api-key-file: x.key}\n")], "").effective_accounts()
    assert account.api_key_file == tmp_path / "x.key"


def test_without_accounts_there_is_one_called_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOGETHER_API_KEY", "k")
    [account] = load([], "").effective_accounts()
    assert (account.name, account.api_key_env) == ("default", "TOGETHER_API_KEY")


def test_the_documented_accounts_are_good() -> None:
    documented = Path(__file__).parent.parent / "docs/accounts.yml"
    names = [account.name for account in load([f"--config.file={documented}"], "").effective_accounts()]
    assert names == ["research", "product"]
    assert documented.read_text() in (documented.parent.parent / "README.md").read_text()


def test_no_path_of_a_page_can_be_that_of_the_metrics() -> None:
    served = re.findall(r'"(/[a-z.]*)": ', (Path(web.__file__).parent / "__init__.py").read_text())
    assert {"/", "/sd"} <= set(served)
    for path in served:
        with pytest.raises(ConfigError):
            load([f"--web.telemetry-path={path}"], "")


@pytest.mark.parametrize("patterns", [["("], ["a", "(?i)b"]], ids=["none at all", "not beside another"])
def test_patterns_that_cannot_be_used_are_one_line(patterns: list[str]) -> None:
    with pytest.raises(ConfigError) as raised:
        load([f"--metrics.exclude={pattern}" for pattern in patterns], "")
    assert str(raised.value).startswith("--metrics.exclude: must be a regular expression (")
    assert "\n" not in str(raised.value)
