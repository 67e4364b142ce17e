"""A scenario as its file tells it."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from exporter.config import AccountEntry, Settings
from exporter.poller import Schedule
from exporter.simulator import Endpoint, Fault, Plan, Shape
from exporter.snapshot import Selection, Terms

ACCOUNT = "default"
TIMEOUT = 10.0  # of a call, as by default
MINUTE, HOUR, DAY = 60, 3600, 86400
_DURATION = re.compile(r"(-?)" + "".join(rf"(?:(\d+){unit})?" for unit in "wdhms"))
_LEAD = 10.0 * MINUTE  # before a scenario; every interval goes into it
_SPANS = {"created", "pending", "queued", "download", "train", "compress", "upload", "cancel"}


def seconds(value: Any) -> Any:
    """`-1w2d3h4m5s` as seconds; what is no such text stays."""
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    sign, *counts = match.groups()
    seconds = sum(int(count or 0) * unit for count, unit in zip(counts, (7 * DAY, DAY, HOUR, MINUTE, 1), strict=True))
    return -seconds if sign else seconds


Span = Annotated[float, BeforeValidator(seconds)]
"""A duration, or a moment as the time since the scenario's start."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiTrouble(_Part):
    """What the API answers instead of the ordinary: a `status` with a `body`, or nothing in time (`latency`)."""

    endpoints: tuple[Endpoint, ...] = get_args(Endpoint)
    status: int | None = None
    latency: Annotated[Span, Field(gt=TIMEOUT)] | None = None
    body: str | None = None
    job_id: str | None = None

    def faults(self) -> list[Fault]:
        """The same as the simulator has it."""
        body = self.body.encode() if self.body is not None else None
        return [
            Fault(endpoint, self.status, self.latency or 0.0, body, job_id=self.job_id) for endpoint in self.endpoints
        ]


class Trouble(_Part):
    """Something wrong from a moment to another.

    Down may be the `exporter` (its process is gone, and the next one knows nothing), a `scrape` (missed), the `target`
    (no longer configured) or `prometheus` itself. `clock` is by how much that of the API is ahead of the others.
    """

    since: Span = Field(0, alias="from")
    to: Span = inf
    down: Literal["exporter", "scrape", "target", "prometheus"] | None = None
    api: ApiTrouble | None = None
    clock: Span = 0


class Expected(_Part):
    """An alert that must fire from `from`, late by `within` at the most, until `until`, longer by that at the most.

    `event` is what the delay is counted from, where that is not `from`.
    """

    alert: str
    labels: Mapping[str, str] = {}
    event: Span | None = None
    since: Span = Field(alias="from")
    within: Span = 300
    until: Span = inf

    @model_validator(mode="after")
    def _can_be_missed(self) -> "Expected":
        if self.since + self.within >= self.until:
            raise ValueError("there is no moment at which it must fire")
        return self

    def must(self, at: float) -> bool:
        """Whether it has to fire at that moment."""
        return self.since + self.within <= at < self.until

    def may(self, at: float) -> bool:
        """Whether it is allowed to."""
        return self.since <= at <= self.until + self.within

    def names(self, alert: Mapping[str, str]) -> bool:
        """Whether it is that alert, given by its labels."""
        return alert.items() >= {"alertname": self.alert, **self.labels}.items()


class Polling(_Part):
    """How the exporter is set up."""

    details: Literal["auto", "always", "off"] = "auto"
    training: bool = False
    limit: int = Selection().limit
    retention: Span = Selection().retention

    def schedule(self) -> Schedule:
        """The same as the poller has it."""
        selection = Selection(self.retention, self.limit)
        return Schedule(details=self.details, training=self.training, selection=selection)


class Scenario(_Part):
    """A scripted life of a fleet, and the alerts that belong to it."""

    about: str
    lasts: Span
    begins: Span | None = None
    """Unix time of the start, where the day of the month matters; else as early as the jobs allow."""
    scrape: Span = 60
    evaluate: Span = 60
    shape: Shape = "live"
    account: dict[str, Any] = {}
    polling: Polling = Polling()
    jobs: tuple[dict[str, Any], ...] = ()
    deleted: dict[str, Span] = {}
    during: tuple[Trouble, ...] = ()
    expect: tuple[Expected, ...] = ()

    @cached_property
    def start(self) -> float:
        """When it starts, in unix seconds: promtool evaluates from 0 on, and the API's times are later than that."""
        if self.begins is not None:
            return self.begins
        oldest = min((_plan(job, 0).created for job in self.jobs), default=0.0)
        return _LEAD * (1 - min(oldest, 0.0) // _LEAD)

    @property
    def plans(self) -> list[Plan]:
        """Its jobs, as the simulator has them."""
        return [_plan(job, self.start) for job in self.jobs]

    @property
    def terms(self) -> Terms:
        """What the account is set up with."""
        entry = AccountEntry(name=ACCOUNT, api_key_env="KEY", **self.account)
        [account] = Settings(accounts=(entry,)).effective_accounts()
        return Terms(account.budget_usd_per_month, account.stuck_after, account.failure_window, account.failure_limit)

    def troubles(self, at: float) -> list[Trouble]:
        """What is wrong at a moment."""
        return [trouble for trouble in self.during if trouble.since <= at < trouble.to]

    def is_down(self, what: str, at: float) -> bool:
        """Whether that is down at a moment."""
        return any(trouble.down == what for trouble in self.troubles(at))

    def moments(self, interval: float) -> Iterator[float]:
        """Moments so far apart, from the start to the end."""
        return (step * interval for step in range(int(self.lasts // interval) + 1))


def _plan(job: Mapping[str, Any], start: float) -> Plan:
    told = {name: seconds(value) if name in _SPANS else value for name, value in job.items()}
    return Plan(**{**told, "created": start + told["created"]})


def load(path: Path) -> Scenario:
    """The scenario of a file."""
    return Scenario.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
