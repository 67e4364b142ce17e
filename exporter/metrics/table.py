"""The table of all metrics, a row each, and the prometheus-client collector that reads it.

Whatever else speaks of metrics (exposition, docs, dashboards, alerts) takes them from here.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Literal

from prometheus_client import registry
from prometheus_client.core import Metric
from prometheus_client.utils import floatToGoString

from exporter.models import LEVELS, STATUSES, UNKNOWN, Job
from exporter.snapshot import Board, Exporter, Histogram, JobState, Polls, Snapshot, State

PREFIX = "together_finetune_"

Type = Literal["gauge", "counter", "histogram", "info"]
Labels = tuple[str, ...]
Value = float | Histogram
Reading = Value | Mapping[Labels, Value] | None
"""What a row reads: a value, nothing, or a value for each combination of its own labels."""

_ENDING = {"counter": "_total", "info": "_info"}
_UNITS = ("seconds", "bytes", "usd", "ratio")


class Scope(Enum):
    """What a metric is about."""

    EXPORTER = "exporter"
    """This process: always served."""
    POLL = "poll"
    """The polls of an account: always served."""
    ACCOUNT = "account"
    """All jobs of an account: vanishes when the last good poll is too long ago."""
    JOB = "job"
    """One job: vanishes likewise."""


_SCOPE_LABELS: Mapping[Scope, Labels] = {
    Scope.EXPORTER: (),
    Scope.POLL: ("account",),
    Scope.ACCOUNT: ("account",),
    Scope.JOB: ("account", "job_id"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A metric. `read` takes what the scope is about (`Exporter`, `Polls`, `Snapshot`, `JobState`); `own_labels` are
    the names that a reading of several values is keyed by."""

    scope: Scope
    type: Type
    name: str
    help: str
    own_labels: Labels
    read: Callable[[Any], Reading]

    @property
    def labels(self) -> Labels:
        """All its labels: those of the scope, then its own."""
        return _SCOPE_LABELS[self.scope] + self.own_labels

    @property
    def family(self) -> str:
        """The name without the `_total` or `_info` that OpenMetrics leaves to the series."""
        return self.name.removesuffix(_ENDING.get(self.type, ""))

    @property
    def unit(self) -> str:
        """The unit: the last word of the family's name, where that is one."""
        word = self.family.rpartition("_")[2]
        return word if word in _UNITS else ""

    def metric(self) -> Metric:
        """The row as prometheus-client's family, without samples."""
        return Metric(self.family, self.help, self.type, self.unit)


def number(value: float) -> str:
    """A sample's value, as prometheus-client writes it."""
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]  # it has no annotations


def samples(row: Row, reading: Reading) -> Iterator[tuple[str, tuple[tuple[str, str], ...], float]]:
    """The series of a reading: name, own labels with their values, value."""
    if reading is None:
        return
    for key, value in reading.items() if isinstance(reading, Mapping) else [((), reading)]:
        labels = tuple(zip(row.own_labels, key, strict=True))
        if isinstance(value, Histogram):
            for bound, count in zip((*value.bounds, math.inf), value.cumulative, strict=True):
                yield f"{row.name}_bucket", (*labels, ("le", number(bound))), count
            yield f"{row.name}_count", labels, value.cumulative[-1]
            yield f"{row.name}_sum", labels, value.sum
        else:
            yield row.name, labels, value


def things(state: State, scope: Scope, fresh: Mapping[str, Snapshot]) -> Iterator[tuple[Labels, Any]]:
    """What rows of `scope` read from, each with the values of the scope's labels; `fresh` are the snapshots to show."""
    match scope:
        case Scope.EXPORTER:
            yield (), state.exporter
        case Scope.POLL:
            yield from (((name,), account.polls) for name, account in state.accounts.items())
        case Scope.ACCOUNT:
            yield from (((name,), snapshot) for name, snapshot in fresh.items())
        case Scope.JOB:
            yield from (((name, job.job.id), job) for name, snapshot in fresh.items() for job in snapshot.jobs)


class Collector(registry.Collector):
    """The figures on `board` as metric families, for any prometheus-client registry.

    `scopes` selects rows. Jobs and accounts whose last good poll is longer than `max_staleness` (seconds) ago, by
    `clock`, are left out.
    """

    def __init__(
        self,
        board: Board,
        *,
        max_staleness: float = 600.0,
        scopes: Iterable[Scope] = Scope,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._board = board
        self._max_staleness = max_staleness
        self._rows = [row for row in ROWS if row.scope in set(scopes)]
        self._clock = clock

    def collect(self) -> Iterator[Metric]:
        """The families that have a sample now."""
        state = self._board.read()
        fresh = state.fresh(self._clock(), self._max_staleness)
        for row in self._rows:
            family = row.metric()
            for values, thing in things(state, row.scope, fresh):
                labels = dict(zip(_SCOPE_LABELS[row.scope], values, strict=True))
                for name, own_labels, value in samples(row, row.read(thing)):
                    family.add_sample(name, {**labels, **dict(own_labels)}, value)
            if family.samples:
                yield family

    def describe(self) -> Iterator[Metric]:
        """All families, without samples: what a registry checks for names that are taken."""
        return (row.metric() for row in self._rows)


# ---------------------------------------------------------------------------------------------------------- readings


def _by_status(figure: Callable[[Job], float | None]) -> Callable[[Snapshot], Reading]:
    """Sums of a figure by status. A status whose jobs all leave the figure unknown has none; one without jobs has 0."""

    def read(snapshot: Snapshot) -> Reading:
        figures: dict[Labels, list[float | None]] = {(status,): [] for status in (*STATUSES, UNKNOWN)}
        for state in snapshot.jobs:
            figures[(state.job.status,)].append(figure(state.job))
        return {key: total for key, values in figures.items() if (total := _total(values)) is not None}

    return read


def _total(values: Iterable[float | None]) -> float | None:
    values = list(values)
    known = [value for value in values if value is not None]
    return sum(known) if known or not values else None


def _model_jobs(snapshot: Snapshot) -> Reading:
    counts: dict[Labels, float] = {}
    for state in snapshot.jobs:
        key = (state.fields.get("model") or UNKNOWN, state.job.status)
        counts[key] = counts.get(key, 0) + 1
    return counts


def _month_price(snapshot: Snapshot) -> Reading:
    month = datetime.fromtimestamp(snapshot.at, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    start = month.timestamp()
    return _total(state.job.price_usd for state in snapshot.jobs if (state.job.created or 0) >= start)


def _queue_place(state: JobState) -> int | None:
    return state.fields.get("queue_depth") if state.waiting else None


def _info(state: JobState) -> Reading:
    fields = state.fields
    train_on_inputs = fields.get("train_on_inputs")
    values = (
        fields.get("model"),
        fields.get("model_output_name"),
        fields.get("suffix"),
        (fields.get("training_type") or {}).get("type"),
        (fields.get("training_method") or {}).get("method"),
        (fields.get("lr_scheduler") or {}).get("lr_scheduler_type"),
        str(train_on_inputs).lower() if isinstance(train_on_inputs, bool) else train_on_inputs,
        fields.get("training_file"),
        fields.get("validation_file"),
        fields.get("from_checkpoint"),
        fields.get("wandb_project_name"),
    )
    return {tuple(value or "" for value in values): 1}


def _hyperparameters(state: JobState) -> Reading:
    fields = state.fields
    training_type = fields.get("training_type") or {}
    training_method = fields.get("training_method") or {}
    scheduler = (fields.get("lr_scheduler") or {}).get("lr_scheduler_args") or {}
    batch_size = fields.get("batch_size")
    values: dict[str, float | None] = {
        "batch_size": None if isinstance(batch_size, str) else batch_size,  # "max" is no number
        "learning_rate": fields.get("learning_rate"),
        "warmup_ratio": fields.get("warmup_ratio"),
        "max_grad_norm": fields.get("max_grad_norm"),
        "weight_decay": fields.get("weight_decay"),
        "eval_steps": fields.get("eval_steps"),
        "max_seq_length": fields.get("max_seq_length"),
        "random_seed": fields.get("random_seed"),
        "min_lr_ratio": scheduler.get("min_lr_ratio"),
        "num_cycles": scheduler.get("num_cycles"),
        "lora_r": training_type.get("lora_r"),
        "lora_alpha": training_type.get("lora_alpha"),
        "lora_dropout": training_type.get("lora_dropout"),
        "dpo_beta": training_method.get("dpo_beta"),
        "rpo_alpha": training_method.get("rpo_alpha"),
        "simpo_gamma": training_method.get("simpo_gamma"),
    }
    return {(name,): value for name, value in values.items() if value is not None}


def _progress(state: JobState) -> float | None:
    fields = state.fields
    steps = (fields.get("steps_completed"), fields.get("total_steps"))
    epochs = (fields.get("epochs_completed"), fields.get("n_epochs"))
    return next((min(done / planned, 1.0) for done, planned in (steps, epochs) if done is not None and planned), None)


def _events_by_level(state: JobState) -> Reading:
    events = state.job.events
    if not events:
        return None
    counts = Counter(dict.fromkeys(LEVELS, 0))
    counts.update(event.level for event in events)
    return {(level,): count for level, count in counts.items()}


def _events_of_type(event_type: str) -> Callable[[JobState], int | None]:
    def read(state: JobState) -> int | None:
        events = state.job.events
        return sum(event.type == event_type for event in events) if events else None

    return read


# ------------------------------------------------------------------------------------------------------------- table


def _exporter(type_: Type, name: str, help_: str, read: Callable[[Exporter], Reading], *own_labels: str) -> Row:
    return Row(Scope.EXPORTER, type_, PREFIX + name, help_, own_labels, read)


def _poll(type_: Type, name: str, help_: str, read: Callable[[Polls], Reading], *own_labels: str) -> Row:
    return Row(Scope.POLL, type_, PREFIX + name, help_, own_labels, read)


def _account(type_: Type, name: str, help_: str, read: Callable[[Snapshot], Reading], *own_labels: str) -> Row:
    return Row(Scope.ACCOUNT, type_, PREFIX + name, help_, own_labels, read)


def _job(type_: Type, name: str, help_: str, read: Callable[[JobState], Reading], *own_labels: str) -> Row:
    return Row(Scope.JOB, type_, PREFIX + name, help_, own_labels, read)


# fmt: off
ROWS: tuple[Row, ...] = (
    _account("gauge", "jobs", "Jobs by status (status).", _by_status(lambda _: 1), "status"),
    _account("gauge", "model_jobs", "Jobs by base model and status (model, status).", _model_jobs, "model", "status"),
    _account("gauge", "queue_depth", "Largest place in the queue that any waiting job reports (queue_depth).",
             lambda s: max((place for job in s.jobs if (place := _queue_place(job)) is not None), default=None)),
    _account("gauge", "tokens", "Tokens of the jobs' training, by status (token_count).",
             _by_status(lambda job: job.fields.get("token_count")), "status"),
    _account("gauge", "price_usd", "Price of the jobs in US dollars, by status (total_price).",
             _by_status(lambda job: job.price_usd), "status"),
    _account("gauge", "refund_usd", "Refunds of the jobs in US dollars (refund_amount).",
             lambda s: _total(state.job.refund_usd for state in s.jobs)),
    _account("gauge", "month_price_usd",
             "Price of the jobs created in this calendar month (UTC) in US dollars (total_price, created_at).",
             _month_price),
    _account("gauge", "epochs", "Epochs planned, by status of the job (n_epochs).",
             _by_status(lambda job: job.fields.get("n_epochs")), "status"),
    _account("gauge", "epochs_completed", "Epochs done, by status of the job (epochs_completed).",
             _by_status(lambda job: job.fields.get("epochs_completed")), "status"),

    _job("info", "job_info", "Names that belong to the job; empty where unknown.", _info,
         "model", "output_name", "suffix", "training_type", "training_method", "lr_scheduler", "train_on_inputs",
         "training_file", "validation_file", "from_checkpoint", "wandb_project"),
    _job("gauge", "job_status", "1 for the status that the job has now (status).",
         lambda s: {(s.job.status,): 1}, "status"),
    _job("gauge", "job_created_timestamp_seconds", "When the job was created, unix time in seconds (created_at).",
         lambda s: s.job.created),
    _job("gauge", "job_updated_timestamp_seconds", "When the job last changed, unix time in seconds (updated_at).",
         lambda s: s.job.updated),
    _job("gauge", "job_started_timestamp_seconds",
         "When the job's current stage began, unix time in seconds (started_at).",
         lambda s: s.job.started),
    _job("gauge", "job_estimated_completion_timestamp_seconds",
         "Estimated end of the current stage, unix time in seconds (started_at + progress.seconds_remaining).",
         lambda s: s.estimated_completion),
    _job("gauge", "job_finished_timestamp_seconds",
         "When the job ended, by its last status, unix time in seconds (updated_at of a job that has ended).",
         lambda s: None if s.finished is None else {(s.job.status,): s.finished}, "status"),
    _job("gauge", "job_queue_depth", "Place of the waiting job in the queue (queue_depth).", _queue_place),
    _job("gauge", "job_epochs", "Epochs planned (n_epochs).", lambda s: s.fields.get("n_epochs")),
    _job("gauge", "job_epochs_completed", "Epochs done (epochs_completed).",
         lambda s: s.fields.get("epochs_completed")),
    _job("gauge", "job_steps", "Training steps planned (total_steps).", lambda s: s.fields.get("total_steps")),
    _job("gauge", "job_steps_completed", "Training steps done (steps_completed).",
         lambda s: s.fields.get("steps_completed")),
    _job("gauge", "job_evals", "Evaluations planned (n_evals).", lambda s: s.fields.get("n_evals")),
    _job("gauge", "job_evals_completed", "Evaluations done (evals_completed).",
         lambda s: s.fields.get("evals_completed")),
    _job("gauge", "job_checkpoints", "Checkpoints planned (n_checkpoints).", lambda s: s.fields.get("n_checkpoints")),
    _job("gauge", "job_checkpoints_saved", "Checkpoints saved (events of type checkpoint_save).",
         _events_of_type("checkpoint_save")),
    _job("gauge", "job_progress_ratio",
         "Part of the training that is done, 0 to 1 (steps_completed / total_steps, else epochs_completed / n_epochs).",
         _progress),
    _job("gauge", "job_tokens", "Tokens of the job's training (token_count).", lambda s: s.fields.get("token_count")),
    _job("gauge", "job_parameters", "Parameters of the trained model (param_count).",
         lambda s: s.fields.get("param_count")),
    _job("gauge", "job_price_usd", "Price in US dollars (total_price).", lambda s: s.job.price_usd),
    _job("gauge", "job_refund_usd", "Refund in US dollars (refund_amount).", lambda s: s.job.refund_usd),
    _job("gauge", "job_training_file_lines", "Lines of the training file (trainingfile_numlines).",
         lambda s: s.fields.get("trainingfile_numlines")),
    _job("gauge", "job_training_file_bytes", "Size of the training file in bytes (trainingfile_size).",
         lambda s: s.fields.get("trainingfile_size")),
    _job("gauge", "job_hyperparameter",
         "Numbers that the training was set up with, by name (batch_size, learning_rate, lr_scheduler, training_type, "
         "training_method and others of the same name).",
         _hyperparameters, "name"),
    _job("gauge", "job_events", "Events by level (events.level).", _events_by_level, "level"),
    _job("gauge", "job_restarts", "Restarts after an internal error (events of type job_restarted).",
         _events_of_type("job_restarted")),
    _job("gauge", "job_billing_limited", "1 where the job ran into the billing limit (an event of type billing_limit).",
         lambda s: float(any(event.type == "billing_limit" for event in s.job.events)) if s.job.events else None),

    _poll("gauge", "up", "1 where the last poll of the list was answered and understood, else 0.",
          lambda p: None if p.up is None else float(p.up)),
    _poll("gauge", "last_poll_timestamp_seconds", "When the last poll began, unix time in seconds.", lambda p: p.last),
    _poll("gauge", "last_successful_poll_timestamp_seconds", "When the last good poll began, unix time in seconds.",
          lambda p: p.last_good),
    _poll("gauge", "poll_duration_seconds", "How long the last poll took, in seconds.", lambda p: p.duration),
    _poll("gauge", "poll_interval_seconds", "From the last poll to the next one, in seconds.", lambda p: p.interval),
    _poll("counter", "api_requests_total",
          "Calls to the API by endpoint and by HTTP status or reason of failure (timeout, connection, tls, body).",
          lambda p: p.requests, "endpoint", "code"),
    _poll("histogram", "api_request_duration_seconds", "How long calls to the API took, in seconds.",
          lambda p: {(endpoint,): seconds for endpoint, seconds in p.request_seconds.items()}, "endpoint"),
    _poll("gauge", "api_rate_limit_remaining", "Calls that the API still allows (header x-ratelimit-remaining).",
          lambda p: p.rate_limit_remaining),
    _poll("gauge", "rejected_jobs", "Objects of the last list that could not be used, by reason.",
          lambda p: {(reason,): count for reason, count in p.rejected.items()}, "reason"),
    _poll("counter", "unknown_values_total",
          "Values outside what is known, by field; counted once for a job and field as long as it stands there.",
          lambda p: {(field,): count for field, count in p.unknown_values.items()}, "field"),

    _exporter("info", "exporter_build_info", "Version, revision and Python version of the exporter.",
              lambda e: {(e.version, e.revision, e.python_version): 1}, "version", "revision", "python_version"),
)
# fmt: on
