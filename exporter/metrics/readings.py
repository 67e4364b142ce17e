"""What rows read if it takes more than a field."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from exporter.metrics.row import Labels, Reading
from exporter.models import LEVELS, JobFields, dollars
from exporter.state import AccountView, JobView
from exporter.statuses import STATUSES, UNKNOWN

_MAX_MODELS = 100
_OTHER = "other"


def by_status(figure: str, *, per: int = 1) -> Callable[[AccountView], Reading]:
    """Sums of a figure by status, divided by `per`. A status whose jobs all leave the figure unknown has none; one
    without jobs has 0."""

    def read(view: AccountView) -> Reading:
        sums, jobs = view.totals.by_status(figure), view.totals.by_status("jobs")
        return {
            (name,): sums.get(name, 0) / per for name in (*STATUSES, UNKNOWN.name) if name in sums or name not in jobs
        }

    return read


def by_model(figure: str, *, per: int = 1) -> Callable[[AccountView], Reading]:
    """Sums of a figure by base model and status, divided by `per`, for existing combinations with a known figure."""

    def read(view: AccountView) -> Reading:
        models = _models(view)
        sums: dict[Labels, int] = {}
        for (model, status), value in view.totals.by_model(figure).items():
            key = (model if model in models else _OTHER, status)
            sums[key] = sums.get(key, 0) + value
        return {key: value / per for key, value in sums.items()}

    return read


def _models(view: AccountView) -> Collection[str]:
    """The models with series of their own: those whose oldest job is oldest, so that a new model moves none of them."""
    models = {model for model, _ in view.totals.by_model("jobs")}
    if len(models) <= _MAX_MODELS:
        return models
    oldest: dict[str, float] = {}
    for state in view.state.jobs.values():
        model, created = state.job.model, state.job.created or 0.0
        oldest[model] = min(created, oldest.get(model, created))
    return sorted(models, key=lambda model: (oldest[model], model))[:_MAX_MODELS]


def refund_usd(view: AccountView) -> float | None:
    """The refunds of all jobs, in US dollars."""
    return dollars(view.totals.sum("refund"))


INFO: Mapping[str, Callable[[JobFields], str | None]] = {
    "model": lambda f: f.get("model"),
    "output_name": lambda f: f.get("model_output_name"),
    "suffix": lambda f: f.get("suffix"),
    "training_type": lambda f: (f.get("training_type") or {}).get("type"),
    "training_method": lambda f: (f.get("training_method") or {}).get("method"),
    "lr_scheduler": lambda f: (f.get("lr_scheduler") or {}).get("lr_scheduler_type"),
    "train_on_inputs": lambda f: _lower(f.get("train_on_inputs")),
    "training_file": lambda f: f.get("training_file"),
    "validation_file": lambda f: f.get("validation_file"),
    "from_checkpoint": lambda f: f.get("from_checkpoint"),
    "wandb_project": lambda f: f.get("wandb_project_name"),
    "user_id": lambda f: f.get("user_id"),
    "wandb_url": lambda f: f.get("wandb_url"),
}
"""The labels of `job_info`, each with how it is read."""


def info(view: JobView) -> Reading:
    """1 with the labels of `INFO`."""
    fields = view.fields
    return {tuple([read(fields) or "" for read in INFO.values()]): 1}


def _lower(value: bool | str | None) -> str | None:
    return str(value).lower() if isinstance(value, bool) else value


_HYPERPARAMETERS = (
    "batch_size",
    "learning_rate",
    "warmup_ratio",
    "max_grad_norm",
    "weight_decay",
    "eval_steps",
    "max_seq_length",
    "random_seed",
)
_SCHEDULER_ARGS = ("min_lr_ratio", "num_cycles")
_TYPE_ARGS = ("lora_r", "lora_alpha", "lora_dropout")
_METHOD_ARGS = ("dpo_beta", "rpo_alpha", "simpo_gamma")


def hyperparameters(view: JobView) -> Reading:
    """The hyperparameters that are numbers, by name."""
    fields = view.fields
    groups: tuple[tuple[Mapping[str, Any] | None, Sequence[str]], ...] = (
        (fields, _HYPERPARAMETERS),
        ((fields.get("lr_scheduler") or {}).get("lr_scheduler_args"), _SCHEDULER_ARGS),
        (fields.get("training_type"), _TYPE_ARGS),
        (fields.get("training_method"), _METHOD_ARGS),
    )
    return {
        (name,): value
        for group, names in groups
        if group
        for name in names
        if (value := group.get(name)) is not None and value != "max"  # a batch size
    }


def events_by_level(view: JobView) -> Reading:
    """Events by level; none if no event is known."""
    events = view.job.events
    if events is None:
        return None
    counts = Counter(dict.fromkeys(LEVELS, 0))
    counts.update(events.levels)
    return {(level,): count for level, count in counts.items()}


def events_of_type(event_type: str) -> Callable[[JobView], int | None]:
    """The number of events of a type; none if no event is known."""
    return lambda view: view.job.events.types.get(event_type, 0) if view.job.events else None


TRAINING_ROWS = ("train/loss", "eval/loss", "train/grad_norm", "train/learning_rate")
"""Training metrics with a row of their own."""


def training_metric(name: str) -> Callable[[JobView], float | None]:
    """The newest value of a training metric."""
    return lambda view: view.state.training.values.get(name) if view.state.training else None


def other_training_metrics(view: JobView) -> Reading:
    """The newest value of each training metric that has no row of its own."""
    values = view.state.training.values if view.state.training else {}
    return {(name,): value for name, value in values.items() if name not in TRAINING_ROWS}


def with_status(read: Callable[[JobView], float | bool | None]) -> Callable[[JobView], Reading]:
    """A value of a job with its status as the label."""

    def labelled(view: JobView) -> Reading:
        value = read(view)
        return None if value is None else {(view.job.status.name,): float(value)}

    return labelled


def verdicts(figure: str, *, failed: bool) -> Callable[[AccountView], Reading]:
    """The number of jobs with such a verdict, by status: of the failed statuses, or of those that may be active."""
    statuses = (*STATUSES.values(), UNKNOWN)
    names = [status.name for status in statuses if (status.failed if failed else not status.ended)]

    def read(view: AccountView) -> Reading:
        counts = view.totals.by_status(figure)
        return {(name,): counts.get(name, 0) for name in names} if view.state.last_list is not None else None

    return read
