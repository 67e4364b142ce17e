"""A scenario as its file tells it."""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from math import inf
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from exporter.accounts import AccountConfig, account_configs
from exporter.config import AccountEntry, Settings
from exporter.simulator import Endpoint, Fault, Interruption, Plan, Shape, edit

ACCOUNT = "default"
TIMEOUT = 10.0  # of a call, as by default
MINUTE, HOUR, DAY = 60, 3600, 86400
_DURATION = re.compile(r"(-?)" + "".join(rf"(?:(\d+){unit})?" for unit in "wdhms"))
LINGERS = 15.0 * MINUTE
"""Seconds for which an alert may go on after its reason is gone."""
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
    """What the API answers instead of the ordinary.

    That is a `status` with a `body`, nothing in time (`latency`), what was true `lag` ago, or an answer with other
    `fields` of a job, or one that lacks some jobs. Of the requests to `endpoints` (for `job_id`, if given), each
    `every`th is affected, with a `probability`.
    """

    endpoints: tuple[Endpoint, ...] = get_args(Endpoint)
    status: int | None = None
    latency: Annotated[Span, Field(gt=TIMEOUT)] | None = None
    body: str | None = None
    job_id: str | None = None
    lag: Span = 0
    fields: Mapping[str, Any] = {}
    lacks: tuple[str, ...] = ()
    every: int = 1
    probability: float = 1.0

    @cached_property
    def faults(self) -> list[Fault]:
        """The same as the simulator has it."""
        return [
            Fault(
                endpoint,
                self.status,
                self.latency or 0.0,
                self.body.encode() if self.body is not None else None,
                job_id=None if endpoint == "list" else self.job_id,
                lag=self.lag,
                change=edit(self._changed) if self.fields or self.lacks else None,
                every=self.every,
                probability=self.probability,
            )
            for endpoint in self.endpoints
        ]

    def _changed(self, body: dict[str, Any]) -> dict[str, Any]:
        """A list, or the details of a job, with what is different."""
        if "data" not in body:
            return {**body, **self.fields}
        jobs = [job for job in body["data"] if job["id"] not in self.lacks]
        return {"data": [{**job, **self.fields} if self.job_id in (None, job["id"]) else job for job in jobs]}


Down = Literal["exporter", "pod", "scrape", "target", "prometheus"]


class Trouble(_Part):
    """Something wrong from a moment to another; with `every`, again and again until the end.

    Down may be the `exporter` (its process is gone, and the next one knows nothing), its `pod` (likewise, and the next
    one has another instance), a `scrape` (missed), the `target` (no longer configured) or `prometheus` itself. `clock`
    is by how much that of the API is ahead of the others.
    """

    since: Span = Field(0, alias="from")
    to: Span = inf
    every: Span = inf
    down: Down | None = None
    api: ApiTrouble | None = None
    clock: Span = 0

    @property
    def lasts(self) -> float:
        """How long it lasts each time, in seconds."""
        return self.to - self.since

    def is_now(self, at: float) -> bool:
        """Whether it is there at a moment."""
        return at >= self.since and (at - self.since) % self.every < self.lasts

    def ends(self, end: float) -> Iterator[float]:
        """The moments before `end` at which it is over."""
        moment = self.to
        while moment < end:
            yield moment
            moment += self.every


class Expected(_Part):
    """An alert that must start to fire at `from`, late by `within` at the most, and fire until `until`, once.

    `event` is what the delay is counted from, where that is not `from`. After `until` it may linger.
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
        return self.since <= at <= self.until + LINGERS

    def names(self, alert: Mapping[str, str]) -> bool:
        """Whether it is that alert, given by its labels."""
        return alert.items() >= {"alertname": self.alert, **self.labels}.items()


class Polling(_Part):
    """The settings of the exporter. The list is requested half as often as by default, which costs half as much."""

    interval: Span = 60
    details: Literal["auto", "always", "off"] = "auto"
    training: bool = False
    limit: int = 5000
    retention: Span = 7 * DAY


class Scenario(_Part):
    """A scripted life of a fleet, and the alerts that belong to it."""

    about: str
    lasts: Span
    begins: Span | None = None
    """Unix time of the start, where the day of the month matters; else as early as the jobs allow."""
    scrape: Span = 60
    evaluate: Span = 60
    shape: Shape = "live"
    replicas: int = 1
    account: dict[str, Any] = {}
    renamed: Span = inf
    """When the account gets another name."""
    polling: Polling = Polling()
    jobs: tuple[dict[str, Any], ...] = ()
    deleted: dict[str, Span] = {}
    during: tuple[Trouble, ...] = ()
    expect: tuple[Expected, ...] = ()
    besides: frozenset[str] = frozenset()
    """Alerts that may fire or not."""

    @cached_property
    def start(self) -> float:
        """When it starts, in unix seconds: promtool evaluates from 0 on, and the API's times are later than that."""
        if self.begins is not None:
            return self.begins
        oldest = min((seconds(job["created"]) for job in self.jobs), default=0.0)
        return _LEAD * (1 - min(oldest, 0.0) // _LEAD)

    @property
    def end(self) -> float:
        """When it ends, in unix seconds."""
        return self.start + self.lasts

    @property
    def plans(self) -> list[Plan]:
        """Its jobs, as the simulator has them: of one with `copies`, as many, numbered."""
        return [_plan(job, self.start) for each in self.jobs for job in _copies(**each)]

    def config(self, account: str = ACCOUNT) -> AccountConfig:
        """How the account, by its name, is polled and judged."""
        entry = AccountEntry(name=account, api_key_env="KEY", **self.account)
        settings = Settings(accounts=(entry,), details_mode=self.polling.details).model_copy(
            update={
                "poll_interval": self.polling.interval,
                "training_enabled": self.polling.training,
                "jobs_limit": self.polling.limit,
                "jobs_retention": self.polling.retention,
            }
        )
        return account_configs(settings)[account]

    def troubles(self, at: float) -> list[Trouble]:
        """What is wrong at a moment."""
        return [trouble for trouble in self.during if trouble.is_now(at)]

    def is_down(self, what: Down, at: float) -> bool:
        """Whether that is down at a moment."""
        return any(trouble.down == what for trouble in self.troubles(at))

    def back(self, what: Down) -> set[float]:
        """The moments at which that is back."""
        return {moment for trouble in self.during if trouble.down == what for moment in trouble.ends(self.lasts)}

    def moments(self, interval: float) -> Iterator[float]:
        """Moments so far apart, from the start to the end."""
        return (step * interval for step in range(int(self.lasts // interval) + 1))


def _copies(*, copies: int = 0, **job: Any) -> list[dict[str, Any]]:
    return [{**job, "id": f"{job['id']}-{number}"} for number in range(copies)] if copies else [job]


def _plan(job: Mapping[str, Any], start: float) -> Plan:
    plan = {name: seconds(value) if name in _SPANS else value for name, value in job.items()}
    if "reports" in plan:
        plan["reports"] = frozenset(plan["reports"])
    plan["interruptions"] = tuple(
        Interruption(**{**item, "lasts": seconds(item.get("lasts", 0.0))}) for item in plan.get("interruptions", ())
    )
    return Plan(**{**plan, "created": start + plan["created"]})


def load(path: Path) -> Scenario:
    """The scenario of a file."""
    return Scenario.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
