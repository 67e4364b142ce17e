"""What rows read that takes more than a field."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from exporter.metrics.row import Labels, Reading
from exporter.models import LEVELS, STATUSES, UNKNOWN, Job
from exporter.snapshot import AccountState, JobState, Snapshot


def by_status(figure: Callable[[Job], float | None]) -> Callable[[Snapshot], Reading]:
    """Sums of a figure by status. A status whose jobs all leave the figure unknown has none; one without jobs has 0."""

    def read(snapshot: Snapshot) -> Reading:
        figures: dict[Labels, list[float | None]] = {(status,): [] for status in (*STATUSES, UNKNOWN)}
        for state in snapshot.jobs.values():
            figures[(state.job.status,)].append(figure(state.job))
        return {key: known for key, values in figures.items() if (known := total(values)) is not None}

    return read


def total(values: Iterable[float | None]) -> float | None:
    """The sum of what is known; none where all of several values are unknown."""
    values = list(values)
    known = [value for value in values if value is not None]
    return sum(known) if known or not values else None


def model_jobs(snapshot: Snapshot) -> Reading:
    """Jobs by base model and status."""
    counts: dict[Labels, float] = {}
    for state in snapshot.jobs.values():
        key = (state.fields.get("model") or UNKNOWN, state.job.status)
        counts[key] = counts.get(key, 0) + 1
    return counts


def month_price(snapshot: Snapshot) -> Reading:
    """Dollars of the jobs created in the calendar month (UTC) of the snapshot."""
    month = datetime.fromtimestamp(snapshot.at, UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    start = month.timestamp()
    return total(state.job.price_usd for state in snapshot.jobs.values() if (state.job.created or 0) >= start)


def queue_place(state: JobState) -> int | None:
    """The place in the queue of a job that waits; what a job that started still carries says nothing."""
    return state.fields.get("queue_depth") if state.waiting else None


def largest_place(snapshot: Snapshot) -> int | None:
    """The largest place in the queue that any waiting job reports."""
    places = (queue_place(state) for state in snapshot.jobs.values())
    return max((place for place in places if place is not None), default=None)


def info(state: JobState) -> Reading:
    """1 for the names that belong to a job, in the order of the labels of `job_info`."""
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


def hyperparameters(state: JobState) -> Reading:
    """The numbers that a training was set up with, by name."""
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


def events_by_level(state: JobState) -> Reading:
    """Events by level; none where no event is known."""
    events = state.job.events
    if not events:
        return None
    counts = Counter(dict.fromkeys(LEVELS, 0))
    counts.update(event.level for event in events)
    return {(level,): count for level, count in counts.items()}


def events_of_type(event_type: str) -> Callable[[JobState], int | None]:
    """How many events of a type a job has; none where no event is known."""

    def read(state: JobState) -> int | None:
        events = state.job.events
        return sum(event.type == event_type for event in events) if events else None

    return read


TRAINING_ROWS = ("train/loss", "eval/loss", "train/grad_norm", "train/learning_rate")  # those with a row of their own


def trained(name: str) -> Callable[[JobState], float | None]:
    """The newest value of that name in the training rows."""
    return lambda state: state.training.values.get(name) if state.training else None


def other_training_values(state: JobState) -> Reading:
    """The newest value of each name that has no row of its own."""
    values = state.training.values if state.training else {}
    return {(name,): value for name, value in values.items() if name not in TRAINING_ROWS}


def training_step(state: JobState) -> int | None:
    """The step of the newest training row."""
    return state.training.step if state.training else None


def training_time(state: JobState) -> float | None:
    """The time of the newest training row."""
    return state.training.time if state.training else None


def finished_jobs(account: AccountState) -> Reading:
    """Jobs seen to end, by status."""
    return {(status,): count for status, count in account.lifecycle.finished.items()} if account.lifecycle else None


def queue_seconds(account: AccountState) -> Reading:
    """How long jobs that were seen to start had waited."""
    return account.lifecycle.queued if account.lifecycle else None


def run_seconds(account: AccountState) -> Reading:
    """How long jobs that were seen to end had run, by status."""
    return {(status,): ran for status, ran in account.lifecycle.ran.items()} if account.lifecycle else None
