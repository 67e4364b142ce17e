"""Flags, environment variables and the YAML file as one frozen `Settings`.

A setting is declared once, as a field of `Settings`. Its flag, its variable, its key in the file, its line in `--help`
and in the docs follow from that, and pydantic-settings puts them in order: flag over environment over file over
default.
"""

import argparse
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self, get_args, get_origin
from urllib.parse import urlsplit

import yaml
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

PROGRAM = "together-finetune-exporter"
ENV_PREFIX = "TOGETHER_EXPORTER_"

_UNITS = {"y": 31536000.0, "w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile("".join(f"(?:(?P<{unit}>[0-9]+){unit})?" for unit in _UNITS))
# Kubernetes puts such variables into every pod beside a service named `together-exporter`.
_SERVICE_LINK = re.compile(r".*(_SERVICE_(HOST|PORT.*)|_PORT|_PORT_[0-9]+_.*|^PORT.*|^SERVICE_(HOST|PORT.*))")


class ConfigError(Exception):
    """A setting that cannot be used: one line that says which, where it stands, and what it takes."""


def _seconds(text: object) -> float:
    match = _DURATION.fullmatch(text.strip()) if isinstance(text, str) else None
    counts = {unit: int(count) for unit, count in match.groupdict().items() if count} if match else {}
    duration = sum(count * _UNITS[unit] for unit, count in counts.items())
    if not duration:
        raise ValueError("must be a duration such as 90s, 1h30m or 7d")
    return duration


def _base_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be a URL such as https://api.together.xyz/v1")
    if "@" in parts.netloc:
        raise ValueError("must be a URL without a user name or password")
    return url


def _address(address: str) -> str:
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not (port.isascii() and port.isdecimal() and int(port) < 65536) or (":" in host and not bracketed):
        raise ValueError("must be an address such as :10124, 127.0.0.1:10124 or [::1]:10124")
    return address


def _path(path: str) -> str:
    taken = path in ("/", "/sd", "/jobs.json", "/page.js", "/page.css") or path.startswith("/-/")
    if not path.startswith("/") or taken or any(character in path for character in "?# "):
        raise ValueError("must be a path such as /metrics, and none of the exporter's other pages")
    return path


def _words(value: object) -> object:
    return value.split() if isinstance(value, str) else value  # several in one variable stand apart by spaces


Duration = Annotated[float, BeforeValidator(_seconds)]
Url = Annotated[str, AfterValidator(_base_url)]
UrlPath = Annotated[str, AfterValidator(_path)]
Address = Annotated[str, AfterValidator(_address)]
Addresses = Annotated[tuple[Address, ...], NoDecode, BeforeValidator(_words), Field(min_length=1)]


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"must be a regular expression ({error})") from None
    return pattern


def _side_by_side(patterns: tuple[str, ...]) -> tuple[str, ...]:
    _regex("|".join(patterns))  # as they are used: `(?i)` may stand at the very beginning alone
    return patterns


Regexes = Annotated[
    tuple[Annotated[str, AfterValidator(_regex)], ...],
    NoDecode,
    BeforeValidator(_words),
    AfterValidator(_side_by_side),
]
ActiveStatus = Literal["pending", "queued", "running", "compressing", "uploading", "cancel_requested"]


class Account(BaseModel):
    """One entry of `accounts:`, or the one account that flags and variables describe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, max_length=128, description="value of the label `account`")
    api_key_file: Path | None = Field(None, description="file with the API key; this or `api_key_env`")
    api_key_env: str | None = Field(None, description="environment variable with the API key")
    base_url: Url | None = Field(None, description="where the API is, if elsewhere than `--together.base-url` says")
    budget_usd_per_month: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="US dollars, for the budget alerts"
    )
    stuck_after: dict[ActiveStatus, Duration] = Field(
        default_factory=dict, description="how long a job may show no sign of life before it counts as stuck, by status"
    )
    failure_window: Duration = Field(
        6 * 3600.0, description="how long after its end a job that failed is worth an alert"
    )
    failure_limit: float = Field(0.5, gt=0, le=1, allow_inf_nan=False, description="part of the jobs that may fail")

    @model_validator(mode="before")
    @classmethod
    def _dashes_or_underscores(cls, value: object) -> object:
        return {str(key).replace("-", "_"): item for key, item in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if (self.api_key_file is None) == (self.api_key_env is None):
            raise ValueError("must have either api_key_file or api_key_env")
        return self


def _distinct(accounts: tuple[Account, ...]) -> tuple[Account, ...]:
    names = [account.name for account in accounts]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"must have a name each: {name!r} stands there twice")
    return accounts


def _setting(default: object, takes: str, help_: str, *, also: AliasChoices | None = None) -> Any:
    return Field(default, description=help_, validation_alias=also, json_schema_extra={"takes": takes})


def _also(field: str, variable: str) -> AliasChoices:
    return AliasChoices(field, ENV_PREFIX + field.upper(), variable)


class Settings(BaseSettings):
    """All settings, validated; durations are seconds."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, populate_by_name=True, frozen=True, extra="forbid"
    )

    config_file: Path | None = _setting(None, "FILE", "YAML file with settings by the same names")
    config_check: bool = _setting(False, "", "check the configuration, say what is wrong and where, and exit")
    together_base_url: Url = _setting(
        "https://api.together.xyz/v1",
        "URL",
        "where the API is",
        also=_also("together_base_url", "TOGETHER_BASE_URL"),
    )
    together_api_key: SecretStr | None = Field(None, validation_alias="TOGETHER_API_KEY")
    together_api_key_file: Path | None = _setting(
        None,
        "FILE",
        "file with the API key, read again at each call; it wins over TOGETHER_API_KEY",
        also=_also("together_api_key_file", "TOGETHER_API_KEY_FILE"),
    )
    together_timeout: Duration = _setting(
        "10s", "DURATION", "for connecting and for each read; a whole call ends within three times that"
    )
    poll_interval: Duration = _setting("30s", "DURATION", "from poll to poll while any job is active")
    poll_idle_interval: Duration = _setting("2m", "DURATION", "from poll to poll while no job is active")
    poll_max_staleness: Duration = _setting(
        "10m", "DURATION", "after that long without a good poll the figures of jobs and accounts vanish"
    )
    details_mode: Literal["auto", "always", "off"] = _setting(
        "auto", "", "whether jobs are asked about one by one: where the list leaves fields out, always, or never"
    )
    details_concurrency: Annotated[int, Field(ge=1, le=100)] = _setting(
        4, "N", "most calls about single jobs at a time, for an account"
    )
    details_requests_per_minute: Annotated[int, Field(ge=1)] = _setting(
        120, "N", "most calls about single jobs in any minute, for an account"
    )
    training_enabled: bool = _setting(False, "", "ask for the training metrics (loss and others) of running jobs")
    jobs_retention: Duration = _setting(
        "7d", "DURATION", "how long a job that ended keeps its own series; sums keep it always"
    )
    jobs_limit: Annotated[int, Field(ge=0)] = _setting(
        5000, "N", "most jobs of an account with series of their own: active ones first, then the newest"
    )
    metrics_exclude: Regexes = _setting((), "REGEX", "whole names of metrics that are not served; repeatable")
    web_listen_address: Addresses = _setting((":10124",), "[HOST]:PORT", "where to serve; repeatable")
    web_telemetry_path: UrlPath = _setting("/metrics", "PATH", "path of the metrics")
    log_level: Literal["debug", "info", "warning", "error"] = _setting("info", "", "least level that is logged")
    log_format: Literal["logfmt", "json"] = _setting("logfmt", "", "form of the log's lines")
    once: bool = _setting(False, "", "poll each account once, print the exposition, exit 0, or 1 where a poll failed")
    demo: bool = _setting(False, "", "run against a simulated account, in the same process")
    simulator_jobs: Annotated[int, Field(ge=0, le=100_000)] = _setting(40, "N", "jobs of the simulated account")
    simulator_speed: Annotated[float, Field(gt=0, allow_inf_nan=False)] = _setting(
        60, "N", "simulated seconds that a second lasts"
    )
    simulator_shape: Literal["live", "reference"] = _setting("live", "", "the shape of the simulated list")
    simulator_seed: int = _setting(1, "N", "another number is another simulated account")

    accounts: Annotated[tuple[Account, ...], NoDecode, AfterValidator(_distinct)] = Field(())

    def effective_accounts(self) -> tuple[Account, ...]:
        """The accounts of the file, or the one that flags and variables describe; `ConfigError` where there is no
        key."""
        if self.accounts:
            folder = (self.config_file or Path()).parent  # where Prometheus too looks for files that a file names
            return tuple(
                account.model_copy(update={"api_key_file": folder / account.api_key_file})
                if account.api_key_file
                else account
                for account in self.accounts
            )
        file, env = self.together_api_key_file, None if self.together_api_key_file else "TOGETHER_API_KEY"
        if file is None and self.together_api_key is None:
            raise ConfigError(
                "no API key: set TOGETHER_API_KEY, --together.api-key-file to a file that holds it, or `accounts:` in"
                " --config.file"
            )
        return (Account(name="default", api_key_file=file, api_key_env=env),)

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _FileSource(settings_cls)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as a user meets it. `flag` is without its dashes, and also the key in the file."""

    field: str
    flag: str
    variables: tuple[str, ...]
    takes: str
    help: str
    default: str
    switch: bool
    repeatable: bool


def settings() -> Iterator[Setting]:
    """All settings that have a flag, in the order of their declaration."""
    for field, info in Settings.model_fields.items():
        if not isinstance(info.json_schema_extra, dict):  # the API key: never a flag, never in the file
            continue
        alias = info.validation_alias
        yield Setting(
            field=field,
            flag=field.replace("_", ".", 1).replace("_", "-"),
            variables=tuple(map(str, alias.choices[1:]))
            if isinstance(alias, AliasChoices)
            else (ENV_PREFIX + field.upper(),),
            takes=str(info.json_schema_extra["takes"]) or "|".join(map(str, get_args(info.annotation))),
            help=info.description or "",
            default=_written(info.default),
            switch=info.annotation is bool,
            repeatable=get_origin(info.annotation) is tuple,
        )


def _written(value: object) -> str:
    return "" if value is None or value is False else " ".join(value) if isinstance(value, tuple) else str(value)


class _FileSource(PydanticBaseSettingsSource):
    """The YAML file, which a flag or variable must have named."""

    @override
    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        raise NotImplementedError  # pydantic-settings asks for it, but only its own `__call__` uses it

    @override
    def __call__(self) -> dict[str, Any]:
        path = self.current_state.get("config_file")
        found = {field: value for field, (value, _) in read_file(Path(path)).items()} if path else {}
        if path and isinstance(file := found.get("together_api_key_file"), str):
            found["together_api_key_file"] = Path(path).parent / file
        return found


def read_file(path: Path) -> dict[str, tuple[Any, int]]:
    """The settings in a YAML file by field, each with its line; `ConfigError` where it cannot be read or has a key
    that is not known."""
    fields = {setting.flag: setting.field for setting in settings() if not setting.flag.startswith("config.")}
    fields["accounts"] = "accounts"
    found: dict[str, tuple[Any, int]] = {}

    def walk(node: yaml.Node, prefix: str) -> None:
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(
                f"{path}:{node.start_mark.line + 1}: {prefix[:-1] or 'the file'} must hold keys and values"
            )
        for key_node, value_node in node.value:
            flag, line = prefix + str(key_node.value).replace("_", "-"), key_node.start_mark.line + 1
            if flag in fields:
                if fields[flag] in found:
                    raise ConfigError(f"{path}:{line}: {flag} stands there twice")
                found[fields[flag]] = (loader.construct_object(value_node, deep=True), line)
            elif any(known.startswith(f"{flag}.") for known in fields):
                walk(value_node, f"{flag}.")
            else:
                siblings = [known for known in fields if known.startswith(prefix)]
                known = sorted({sibling.removeprefix(prefix).partition(".")[0] for sibling in siblings})
                raise ConfigError(f"{path}:{line}: {flag} is not a setting; known here: {', '.join(known)}")

    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        if root is not None:
            walk(root, "")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{path}:{line}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    return found


def load(argv: Sequence[str], version: str) -> Settings:
    """The settings from the flags in `argv`, the environment and the file that these name; `ConfigError` for what is
    not right. `--help` and `--version` (which prints `version`) exit."""
    flags = vars(_parser(version).parse_args(argv))
    try:
        return Settings(**flags)
    except ValidationError as error:
        problems = {str(problem["loc"][:2]): problem for problem in error.errors(include_url=False)}
        raise ConfigError("\n".join(_line(problem, flags) for problem in problems.values())) from None


def _line(problem: ErrorDetails, flags: Mapping[str, Any]) -> str:
    """What is wrong, where, as one line."""
    field, *inside = problem["loc"]
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    given = repr(problem["input"])
    # A password in a URL is not for the terminal, and a whole account no help.
    shown = "" if "@" in given or isinstance(problem["input"], dict | tuple | list) else f", not {given}"
    if field == "accounts":
        within = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in inside)
        place = f"{_place_in_file('accounts', flags)}accounts{within}"
    else:
        place = _place(next(s for s in settings() if field in (s.field, *s.variables)), flags)
    return f"{place}: {message}{shown}"


def _place(setting: Setting, flags: Mapping[str, Any]) -> str:
    if setting.field in flags:
        return f"--{setting.flag}"
    for variable in setting.variables:
        if os.environ.get(variable):
            return variable
    return f"{_place_in_file(setting.field, flags)}{setting.flag}"


def _place_in_file(field: str, flags: Mapping[str, Any]) -> str:
    path = flags.get("config_file") or os.environ[f"{ENV_PREFIX}CONFIG_FILE"]
    _, line = read_file(Path(path))[field]
    return f"{path}:{line}: "


class _Parser(argparse.ArgumentParser):
    @override
    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def _parser(version: str) -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM,
        usage="%(prog)s [<flags>]",
        description="Prometheus exporter for Together AI fine-tuning jobs. The API key is taken from TOGETHER_API_KEY"
        " or from --together.api-key-file.",
        epilog="Every flag is also an environment variable (in brackets) and a key of the file: poll: {interval: 30s}.",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=36, width=110),
    )
    parser._optionals.title = "flags"
    parser.add_argument("--version", action="version", version=version, help="print the version")
    for setting in settings():
        default = f" (default {setting.default})" if setting.default else ""
        text = f"{setting.help}{default} [{setting.variables[-1]}]".replace("%", "%%")
        if setting.switch:
            parser.add_argument(
                f"--{setting.flag}", dest=setting.field, action=argparse.BooleanOptionalAction, help=text
            )
        else:
            action = "append" if setting.repeatable else "store"
            parser.add_argument(
                f"--{setting.flag}", dest=setting.field, action=action, metavar=setting.takes, help=text
            )
    return parser


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like settings and are none: a slip of the pen, most likely."""
    known = {variable for setting in settings() for variable in setting.variables}
    return sorted(
        name
        for name in environ
        if name.startswith(ENV_PREFIX) and name not in known and not _SERVICE_LINK.match(name.removeprefix(ENV_PREFIX))
    )
