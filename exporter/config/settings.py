"""The settings: each is declared once, as a field of `Settings`.

Its flag, its variable, its key in the file, its line in `--help` and in the docs follow from the field.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from os import environ as process_environment
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from exporter.config.given import Given
from exporter.config.validators import (
    STUCK_AFTER,
    AccountName,
    Addresses,
    Duration,
    FilePath,
    GrafanaUrl,
    JobUrl,
    Regexes,
    Switch,
    Thresholds,
    Timeout,
    Url,
    UrlPath,
    VariableName,
    number,
    whole,
    write_duration,
)

ENV_PREFIX = "TOGETHER_EXPORTER_"
KEY_VARIABLE = "TOGETHER_API_KEY"

Limit = Annotated[float, number(1)]
Dollars = Annotated[float, number(10**9)]


class AccountEntry(BaseModel):
    """An entry of `accounts:` in the file. What it leaves out, the settings for all accounts decide."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: AccountName = Field(description="Value of the label `account`.")
    api_key_file: FilePath | None = Field(None, description="File that holds the API key; this or `api_key_env`.")
    api_key_env: VariableName | None = Field(None, description="Environment variable that holds the API key.")
    base_url: Url | None = Field(None, description="Overrides `--together.base-url`.")
    stuck_after: Thresholds = Field({}, description="Overrides `--alerts.stuck-after`, status by status.")
    failure_window: Duration | None = Field(None, description="Overrides `--alerts.failure-window`.")
    failure_limit: Limit | None = Field(None, description="Overrides `--alerts.failure-limit`.")
    budget_usd_per_month: Dollars | None = Field(None, description="Overrides `--alerts.budget-usd-per-month`.")

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if (self.api_key_file is None) == (self.api_key_env is None):
            raise ValueError("must have either api_key_file or api_key_env")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account with everything that is in effect for it; durations are seconds.

    The key is in `api_key_file`, or else it is `api_key`, the value of the variable `api_key_env`. `key_place` is the
    flag, variable, or file and line that names one of these.
    """

    name: str
    base_url: str
    api_key_file: Path | None
    api_key_env: str | None
    api_key: SecretStr | None
    key_place: str
    stuck_after: Mapping[str, float]
    failure_window: float
    failure_limit: float
    budget_usd_per_month: float | None


def _setting(default: object, takes: str, help_: str, variable: str | None = None, *, flag: str | None = None) -> Any:
    """A setting with a flag: what it takes (empty for the names of a `Literal`), its help, the variable of Together's
    own tools that means the same, and its flag if that does not follow from the name of the field."""
    return Field(default, description=help_, json_schema_extra={"takes": takes, "variable": variable, "flag": flag})


class Settings(BaseModel):
    """All settings, validated; durations are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    config_file: FilePath | None = _setting(None, "FILE", "YAML file with settings and accounts.")
    config_check: Switch = _setting(
        False, "", "Check the configuration, report every error with its location, and exit with 0 or 2."
    )
    together_base_url: Url = _setting("https://api.together.xyz/v1", "URL", "Base URL of the API.", "TOGETHER_BASE_URL")
    together_api_key: SecretStr | None = None
    together_api_key_file: FilePath | None = _setting(
        None,
        "FILE",
        "File that holds the API key, read again when it changes. Takes precedence over TOGETHER_API_KEY.",
        "TOGETHER_API_KEY_FILE",
    )
    together_timeout: Timeout = _setting(
        "10s",
        "DURATION",
        "Timeout for connecting and for each read. A whole request takes at most three times as long.",
    )
    poll_interval: Duration = _setting("30s", "DURATION", "Time between polls while any job is active.")
    poll_idle_interval: Duration = _setting("1m", "DURATION", "Time between polls while no job is active.")
    poll_max_staleness: Duration = _setting(
        "10m", "DURATION", "Drop job and account metrics after this long without a successful poll."
    )
    details_mode: Literal["auto", "always", "off"] = _setting(
        "auto", "", "When to request the details of each job: if the list omits fields (auto), always, or never (off)."
    )
    details_concurrency: Annotated[int, whole(1, 100)] = _setting(
        4, "N", "Maximum number of concurrent requests for single jobs, per account."
    )
    details_requests_per_minute: Annotated[int, whole(1, 100_000)] = _setting(
        120, "N", "Maximum number of requests for single jobs in a minute, per account."
    )
    training_enabled: Switch = _setting(False, "", "Request the training metrics of running jobs, such as the loss.")
    jobs_retention: Duration = _setting(
        "7d", "DURATION", "How long a finished job keeps its own series. Totals always include it."
    )
    jobs_limit: Annotated[int, whole(0, 1_000_000)] = _setting(
        5000,
        "N",
        "Maximum number of jobs with series of their own, per account: stuck, failed and active jobs first, then the"
        " newest.",
    )
    alerts_stuck_after: Annotated[Thresholds, AfterValidator(lambda given: {**STUCK_AFTER, **given})] = _setting(
        ",".join(f"{status}={write_duration(seconds)}" for status, seconds in STUCK_AFTER.items()),
        "STATUS=DURATION",
        "How long a job with this status may go without progress before it counts as stuck. Repeatable.",
    )
    alerts_failure_window: Duration = _setting("6h", "DURATION", "How long a failed job keeps alerting.")
    alerts_failure_limit: Limit = _setting(0.5, "RATIO", "Share of failed jobs above which to alert, from 0 to 1.")
    alerts_budget_usd_per_month: Dollars | None = _setting(
        None, "USD", "Monthly budget of an account in US dollars, for the budget alerts."
    )
    metrics_exclude: Regexes = _setting(
        (), "REGEX", "Leave out the metrics whose full name matches this regular expression. Repeatable."
    )
    web_listen_address: Addresses = _setting((":10124",), "[HOST]:PORT", "Address to listen on. Repeatable.")
    web_telemetry_path: UrlPath = _setting("/metrics", "PATH", "Path under which to serve metrics.")
    web_config_file: FilePath | None = _setting(
        None,
        "FILE",
        "File with TLS settings and passwords, in the format of the Prometheus exporter-toolkit.",
        flag="web.config.file",
    )
    web_enable_lifecycle: Switch = _setting(False, "", "Reload the configuration on a POST request to /-/reload.")
    web_console_url: JobUrl = _setting(
        "https://api.together.ai/fine-tuning/{id}", "URL", "Link to a job at Together; {id} is the job's id."
    )
    web_grafana_url: GrafanaUrl | None = _setting(
        None, "URL", "Base URL of the Grafana that has the dashboards, for links to them."
    )
    log_level: Annotated[
        Literal["debug", "info", "warn", "warning", "error"],
        AfterValidator(lambda level: "warning" if level == "warn" else level),
    ] = _setting("info", "", "Only log messages with this level or above.")
    log_format: Literal["logfmt", "json"] = _setting("logfmt", "", "Output format of log messages.")
    once: Switch = _setting(
        False, "", "Poll each account once, print the metrics, and exit with 0, or with 1 if a poll failed."
    )
    demo: Switch = _setting(False, "", "Run against a simulated API in the same process.")
    simulator_jobs: Annotated[int, whole(0, 100_000)] = _setting(40, "N", "Number of simulated jobs.")
    simulator_speed: Annotated[float, number(1_000_000)] = _setting(60, "N", "Simulated seconds per second.")
    simulator_shape: Literal["live", "reference"] = _setting("live", "", "Shape of the simulated list of jobs.")
    simulator_seed: Annotated[int, whole(0, 2**32 - 1)] = _setting(1, "N", "Random seed of the simulation.")

    accounts: tuple[AccountEntry, ...] = ()
    given: Mapping[str, Given] = Field({}, exclude=True, repr=False)

    def place(self, field: str, *inside: str | int) -> str:
        """Where a setting was given, or a value inside it: its flag, its variable, or file and line; else empty."""
        return self.given[field].place(inside) if field in self.given else ""

    def effective_accounts(self, environ: Mapping[str, str] = process_environment) -> tuple[Account, ...]:
        """The accounts of the file, or the one that flags and variables describe, with nothing left to resolve.

        `environ` has the keys of accounts with an `api_key_env`; a key that is missing there is empty.
        """
        if self.accounts:
            entries = self.accounts
        elif self.together_api_key_file:
            entries = (AccountEntry(name="default", api_key_file=self.together_api_key_file),)
        else:
            entries = (AccountEntry(name="default", api_key_env=KEY_VARIABLE),)
        return tuple(self._effective(index, entry, environ) for index, entry in enumerate(entries))

    def _effective(self, index: int, entry: AccountEntry, environ: Mapping[str, str]) -> Account:
        key_name = "api_key_file" if entry.api_key_file else "api_key_env"
        key = None
        if entry.api_key_env == KEY_VARIABLE:
            key = self.together_api_key or SecretStr("")
        elif entry.api_key_env:
            key = SecretStr(environ.get(entry.api_key_env, ""))
        return Account(
            name=entry.name,
            base_url=entry.base_url or self.together_base_url,
            api_key_file=entry.api_key_file,
            api_key_env=entry.api_key_env,
            api_key=key,
            key_place=self.place("accounts", index, key_name) if self.accounts else self.place(f"together_{key_name}"),
            stuck_after={**self.alerts_stuck_after, **entry.stuck_after},
            failure_window=entry.failure_window or self.alerts_failure_window,
            failure_limit=entry.failure_limit or self.alerts_failure_limit,
            budget_usd_per_month=entry.budget_usd_per_month or self.alerts_budget_usd_per_month,
        )


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as a user meets it. `flag` is without its dashes, and also the key in the file.

    `variables` are the environment variables that set it; the first one takes precedence.
    """

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
        if not isinstance(info.json_schema_extra, dict):
            continue  # the API key and the accounts are never in a flag
        own, other = ENV_PREFIX + field.upper(), info.json_schema_extra["variable"]
        yield Setting(
            field=field,
            flag=str(info.json_schema_extra["flag"] or field.replace("_", ".", 1).replace("_", "-")),
            variables=(own, str(other)) if other else (own,),
            takes=str(info.json_schema_extra["takes"]) or "|".join(map(str, get_args(info.annotation))),
            help=info.description or "",
            default=_written(info.default),
            switch=info.annotation is bool,
            repeatable=get_origin(info.annotation) in (tuple, dict),
        )


def _written(value: object) -> str:
    return "" if value is None or value is False else " ".join(value) if isinstance(value, tuple) else str(value)
