"""The board of one job: its life, its training, its hyperparameters."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import bargauge, gauge, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import dashboard as model

from grafana.look import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    STATUS_NUMBERS,
    Property,
    Query,
    bars,
    board,
    choice,
    colour,
    datasource,
    figure,
    grid,
    lines,
    now,
    over_time,
    part,
    rows,
    status_mappings,
    steps,
    timeline,
)
from grafana.promql import JOB, MODEL, each, metric, of, this_job

NO_JOB = "no such job"
NOT_REPORTED = "not reported"
NO_TRAINING = "no training metrics: they are asked for where training.enabled is set, while the job trains"


def job() -> model.Dashboard:
    """The board."""
    return board(
        "job",
        "Together AI fine-tuning: job",
        "One fine-tuning job from its creation to its end.",
        "now-24h",
        [
            datasource(),
            choice("account", "Account", f"label_values({metric('up')}, account)", several=False),
            choice("model", "Model", f"label_values({of('job_info')}, model)"),
            choice("job", "Job", f"label_values({of('job_info', MODEL)}, job_id)", everything=False, several=False),
        ],
        {
            "Job $job": [*_state(), *_times(), _life(), _names()],
            "Progress": [_progress(), _counted("Steps", "steps", "steps_completed"), *_epochs_and_queue()],
            "Training": _training(),
            "Set-up and events": [_hyperparameters(), _events(), *_facts()],
        },
    )


def _status_number() -> str:
    """The status as a number: a value that changes over time, unlike a label, is one series."""
    numbers = ((f'status="{status}"', number) for status, number in STATUS_NUMBERS.items())
    return each("job_id", " or ".join(f"{of('job_status', is_it, scope=JOB)} * {number}" for is_it, number in numbers))


def _state() -> list[stat.Panel | gauge.Panel]:
    return [
        figure("Status", "Current status of the job.", now(_status_number()), empty=NO_JOB, size=(5, 4))
        .mappings(status_mappings())
        .thresholds(steps(GREY)),
        part(
            "Progress",
            "Completed part of the training, by steps, else by epochs.",
            now(this_job("job_progress_ratio")),
            empty=NOT_REPORTED,
        ),
        figure(
            "Queue place",
            "Place of the waiting job in the queue.",
            now(this_job("job_queue_depth")),
            empty="not waiting",
            size=(3, 4),
        ),
        figure(
            "Price",
            "Price of the job, and its refund.",
            now(this_job("job_price_usd"), "price"),
            now(this_job("job_refund_usd"), "refund"),
            unit="currencyUSD",
            empty=NOT_REPORTED,
            size=(5, 4),
        ).decimals(2),
        figure(
            "Tokens",
            "Tokens of the job's training.",
            now(this_job("job_tokens")),
            empty=NOT_REPORTED,
            size=(3, 4),
        ),
        figure(
            "Restarts",
            "Restarts after an internal error.",
            now(this_job("job_restarts")),
            empty=NOT_REPORTED,
            size=(4, 4),
        ).thresholds(steps(GREEN, (1, ORANGE), (3, RED))),
    ]


def _times() -> list[stat.Panel]:
    ended_or_now = f"(max({this_job('job_finished_timestamp_seconds')}) or max({this_job('job_status')}) * 0 + time())"
    texts = {
        "Age": (
            "Time since its creation, until its end.",
            f"{ended_or_now} - max({this_job('job_created_timestamp_seconds')})",
            NO_JOB,
        ),
        "In this status": (
            "Time in the current status.",
            f"time() - {this_job('job_status_since_timestamp_seconds')}",
            NOT_REPORTED,
        ),
        "Stage ends in": (
            "The API's estimate for the current stage; negative if it is overdue.",
            f"{this_job('job_estimated_completion_timestamp_seconds')} - time()",
            "no estimate",
        ),
        "Last sign of life": (
            "Time since the last sign of life: events, steps, epochs, place in the queue, training rows.",
            f"time() - {this_job('job_last_progress_timestamp_seconds')}",
            NOT_REPORTED,
        ),
    }
    return [
        figure(title, about, now(query), unit="dtdurations", empty=empty, size=(6, 3))
        for title, (about, query, empty) in texts.items()
    ]


def _life() -> statetimeline.Panel:
    return timeline(
        "Status over time",
        "The statuses of the job over time.",
        over_time(_status_number(), "status"),
        status_mappings(),
        empty=NO_JOB,
        size=(24, 4),
    )


def _names() -> table.Panel:
    return grid(
        "Names",
        "Names of the job: model, files, method. Empty if unknown.",
        [rows(f"topk by (account, job_id) (1, {of('job_info', scope=JOB)})")],
        {
            "account": "Account",
            "model": "Model",
            "output_name": "Output",
            "suffix": "Suffix",
            "training_type": "Type",
            "training_method": "Method",
            "training_file": "Training file",
            "validation_file": "Validation file",
            "from_checkpoint": "From checkpoint",
        },
        empty=NO_JOB,
        size=(24, 4),
    )


def _progress() -> timeseries.Panel:
    return (
        lines(
            "Progress over time",
            "Completed part of the training. It falls when a job restarts.",
            over_time(this_job("job_progress_ratio"), "done"),
            unit="percentunit",
            empty=NOT_REPORTED,
            size=(6, 8),
        )
        .min(0)
        .max(1)
    )


def _counted(title: str, planned: str, done: str) -> timeseries.Panel:
    return (
        lines(
            title,
            f"{title} of the training: done and planned.",
            over_time(this_job(f"job_{done}"), "done"),
            over_time(this_job(f"job_{planned}"), "planned"),
            empty=NOT_REPORTED,
            size=(6, 8),
        )
        .min(0)
        .decimals(0)
        .override_by_name("done", [colour(BLUE)])
        .override_by_name("planned", [colour(GREY)])
    )


def _epochs_and_queue() -> list[timeseries.Panel]:
    queue = lines(
        "Queue place over time",
        "Place of the job in the queue, while it waits.",
        over_time(this_job("job_queue_depth"), "place"),
        empty="did not wait in this time",
        size=(6, 8),
    )
    return [_counted("Epochs", "epochs", "epochs_completed"), queue.min(0).decimals(0)]


def _training() -> Sequence[timeseries.Panel]:
    others = this_job("job_training_metric", by="name")
    return [
        lines(
            "Loss",
            "Training and evaluation loss. A gap in a line is a value that is not a number.",
            over_time(this_job("job_training_loss"), "training"),
            over_time(this_job("job_eval_loss"), "evaluation"),
            empty=NO_TRAINING,
            size=(12, 9),
        )
        .override_by_name("training", [colour(BLUE)])
        .override_by_name("evaluation", [colour(ORANGE)]),
        _trained("Learning rate", "job_learning_rate", "sci"),
        _trained("Gradient norm", "job_grad_norm", "short"),
        lines(
            "Other training metrics",
            "All other training metrics, by name; they differ by training method.",
            over_time(others, "{{name}}"),
            empty=NO_TRAINING,
            size=(24, 8),
        ),
    ]


def _trained(title: str, name: str, unit: str) -> timeseries.Panel:
    about = f"{title} in the newest training row."
    return lines(title, about, over_time(this_job(name), title.lower()), unit=unit, empty=NO_TRAINING, size=(6, 9))


def _hyperparameters() -> table.Panel:
    panel = grid(
        "Hyperparameters",
        "Hyperparameters that are numbers.",
        [rows(this_job("job_hyperparameter", by="name"))],
        {"name": "Name", "A": "Value"},
        empty=NOT_REPORTED,
        size=(8, 9),
    )
    return panel.override_by_name("Value", [Property("unit", "none")])


def _events() -> bargauge.Panel:
    panel = bars(
        "Events by level",
        "Events of the job, by level.",
        now(this_job("job_events", by="level"), "{{level}}"),
        empty=NOT_REPORTED,
        size=(8, 9),
    ).decimals(0)
    for level, value in {"info": BLUE, "warning": ORANGE, "error": RED}.items():
        panel.override_by_name(level, [colour(value)])
    return panel


def _facts() -> list[stat.Panel]:
    def done_of(title: str, about: str, done: str, planned: str) -> stat.Panel:
        queries: list[Query] = [now(this_job(done), "done"), now(this_job(planned), "planned")]
        return figure(title, about, *queries, empty=NOT_REPORTED, size=(4, 9))

    return [
        done_of("Evaluations", "Evaluations done and planned.", "job_evals_completed", "job_evals"),
        done_of("Checkpoints", "Checkpoints saved and planned.", "job_checkpoints_saved", "job_checkpoints"),
    ]
