"""The board of one job: its life, its training, its hyperparameters."""

from collections.abc import Sequence

from grafana_foundation_sdk.builders import bargauge, dashboard, gauge, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import dashboard as model

from grafana.frame import CONSOLE, board, choice, choice_of_job
from grafana.look import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    RED,
    STATUS_NUMBERS,
    Property,
    bars,
    colour,
    curves,
    figure,
    grid,
    lines,
    now,
    over_time,
    part,
    rows,
    rows_over_time,
    status_mappings,
    steps,
    timeline,
)
from grafana.promql import COMPARED, JOB, ONE_JOB, each, jobs, metric, of, status_number, this_job, titled

NO_JOB = "No such job"
NOT_REPORTED = "Not reported"
NO_TRAINING = "No training metrics: the exporter collects them with --training.enabled, while a job trains"
MOST_LISTED = 500  # jobs that a variable offers; a link may name any other
MOST_COMPARED = 10


def job() -> model.Dashboard:
    """The board."""
    newest = f"topk({MOST_LISTED}, max by (job_id, title) ({titled(jobs('job_created_timestamp_seconds'))}))"
    console = dashboard.DashboardLink("Open at Together").type(model.DashboardLinkType.LINK)
    return board(
        "job",
        "Together AI fine-tuning: job",
        "One fine-tuning job from its creation to its end.",
        "now-24h",
        [
            choice("account", "Account", metric("up") + '{job=~"$job"}', "account", several=False),
            choice("model", "Model", of("model_jobs"), "model"),
            choice_of_job("job_id", "Fine-tuning job", newest),
            choice_of_job("compare", "Compare with", newest, several=True),
        ],
        {
            "Job ${job_id:text}": [*_state(), *_times(), _life(), _names()],
            "Progress": [_progress(), _counted("Steps", "steps", "steps_completed"), *_epochs_and_queue()],
            "Training": _training(),
            "Configuration and events": [_hyperparameters(), _events(), *_facts()],
        },
        [console.url(f"{CONSOLE}${{job_id:percentencode}}").icon("external link").target_blank(True)],
    )


def _state() -> list[stat.Panel | gauge.Panel]:
    return [
        figure(
            "Status",
            "Current status of the job.",
            now(status_number(STATUS_NUMBERS, JOB)),
            empty=NO_JOB,
            size=(5, 4),
        )
        .mappings(status_mappings())
        .thresholds(steps(GREY)),
        part(
            "Progress",
            "Share of the training that is done, by steps if the API reports them, otherwise by epochs.",
            now(this_job("job_progress_ratio")),
            empty=NOT_REPORTED,
        ),
        figure(
            "Queue position",
            "Position of the job in the queue while it waits.",
            now(this_job("job_queue_depth")),
            empty="Not waiting",
            size=(3, 4),
        ),
        figure(
            "Price",
            "Price of the job and its refund.",
            now(this_job("job_price_usd"), "price"),
            now(this_job("job_refund_usd"), "refund"),
            unit="currencyUSD",
            empty=NOT_REPORTED,
            size=(5, 4),
        ).decimals(2),
        figure(
            "Tokens",
            "Number of training tokens.",
            now(this_job("job_tokens")),
            empty=NOT_REPORTED,
            size=(3, 4),
        ),
        figure(
            "Restarts",
            "How often the job was restarted after an internal error at Together.",
            now(this_job("job_restarts")),
            empty=NOT_REPORTED,
            size=(4, 4),
        ).thresholds(steps(GREEN, (1, ORANGE), (3, RED))),
    ]


def _times() -> list[stat.Panel]:
    ended_or_now = f"(max({this_job('job_finished_timestamp_seconds')}) or max({this_job('job_status')}) * 0 + time())"
    texts = {
        "Age": (
            "Time since the job was created, or from its creation to its end if it has finished.",
            f"{ended_or_now} - max({this_job('job_created_timestamp_seconds')})",
            NO_JOB,
        ),
        "In this status": (
            "How long the job has been in its current status.",
            f"time() - {this_job('job_status_since_timestamp_seconds')}",
            NOT_REPORTED,
        ),
        "Stage ends in": (
            "The API's estimate for the current stage. A negative time means overdue.",
            f"{this_job('job_estimated_completion_timestamp_seconds')} - time()",
            "No estimate",
        ),
        "Last progress": (
            "Time since the last sign of progress: an event, a step, an epoch, a move in the queue or a training row.",
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
        "The statuses that the job went through.",
        over_time(status_number(STATUS_NUMBERS, JOB), "status"),
        status_mappings(),
        empty=NO_JOB,
        size=(24, 4),
    )


def _names() -> table.Panel:
    panel = grid(
        "Names",
        "What the job is called, what it trains and on which data. Click a W&B run to open it.",
        [rows(f"topk by ({ONE_JOB}) (1, {of('job_info', scope=JOB)})")],
        {
            "account": "Account",
            "suffix": "Suffix",
            "model": "Model",
            "output_name": "Output",
            "training_type": "Type",
            "training_method": "Method",
            "training_file": "Training file",
            "validation_file": "Validation file",
            "from_checkpoint": "From checkpoint",
            "wandb_url": "W&B run",
        },
        empty=NO_JOB,
        size=(24, 4),
    )
    run = {"title": "Open at Weights & Biases", "url": "${__value.raw:raw}", "targetBlank": True}
    return panel.override_by_name("W&B run", [Property("links", [run])])


def _progress() -> timeseries.Panel:
    return (
        lines(
            "Progress over time",
            "Share of the training that is done. It falls when the job restarts.",
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
            f"Training {title.lower()}, completed and planned.",
            over_time(this_job(f"job_{done}"), "completed"),
            over_time(this_job(f"job_{planned}"), "planned"),
            empty=NOT_REPORTED,
            size=(6, 8),
        )
        .min(0)
        .decimals(0)
        .override_by_name("completed", [colour(BLUE)])
        .override_by_name("planned", [colour(GREY)])
    )


def _epochs_and_queue() -> list[timeseries.Panel]:
    queue = lines(
        "Queue position over time",
        "Position of the job in the queue while it waits.",
        over_time(this_job("job_queue_depth"), "position"),
        empty="Did not wait in this time range",
        size=(6, 8),
    )
    return [_counted("Epochs", "epochs", "epochs_completed"), queue.min(0).decimals(0)]


def _training() -> Sequence[timeseries.Panel | dashboard.Panel]:
    others = f"topk({MOST_LISTED // 10}, {this_job('job_training_metric', by='name')})"
    return [
        lines(
            "Loss",
            "Training and evaluation loss over time. A gap means that the value is not a number.",
            over_time(this_job("job_training_loss"), "training"),
            over_time(this_job("job_eval_loss"), "evaluation"),
            empty=NO_TRAINING,
            size=(12, 9),
        )
        .override_by_name("training", [colour(BLUE)])
        .override_by_name("evaluation", [colour(ORANGE)]),
        _trained("Learning rate", "job_learning_rate", "sci"),
        _trained("Gradient norm", "job_grad_norm", "short"),
        _compared(),
        lines(
            "Other training metrics",
            "All other training metrics, by name. They depend on the training method.",
            over_time(others, "{{name}}"),
            empty=NO_TRAINING,
            size=(12, 9),
        ),
    ]


def _trained(title: str, name: str, unit: str) -> timeseries.Panel:
    about = f"{title} in the newest training row."
    return lines(title, about, over_time(this_job(name), title.lower()), unit=unit, empty=NO_TRAINING, size=(6, 9))


def _compared() -> dashboard.Panel:
    trained = each(ONE_JOB, f"{of('job_training_timestamp_seconds', scope=COMPARED)} @ end()")
    chosen = f"(topk({MOST_COMPARED}, {trained}) or {of('job_info', scope=JOB)} @ end())"
    return curves(
        "Loss by step",
        "Training loss by training step, of this job and of those in Compare with: at most the"
        f" {MOST_COMPARED} that trained last. Needs Grafana 11.1; older versions draw one job.",
        {
            axis: rows_over_time(
                f"max by (title) ({titled(f'({jobs(name, scope=COMPARED)} and on ({ONE_JOB}) {chosen})', COMPARED)})"
            )
            for axis, name in {"Step": "job_training_step", "Loss": "job_training_loss"}.items()
        },
        by="title",
        empty=NO_TRAINING,
        size=(12, 9),
    )


def _hyperparameters() -> table.Panel:
    panel = grid(
        "Hyperparameters",
        "The numeric hyperparameters of the job.",
        [rows(this_job("job_hyperparameter", by="name"))],
        {"name": "Name", "A": "Value"},
        empty=NOT_REPORTED,
        size=(8, 9),
    )
    return panel.override_by_name("Value", [Property("unit", "none")])


def _events() -> bargauge.Panel:
    panel = bars(
        "Events by level",
        "Number of events of the job, by level.",
        now(this_job("job_events", by="level"), "{{level}}"),
        empty=NOT_REPORTED,
        size=(8, 9),
    ).decimals(0)
    for level, value in {"info": BLUE, "warning": ORANGE, "error": RED}.items():
        panel.override_by_name(level, [colour(value)])
    return panel


def _facts() -> list[stat.Panel]:
    return [
        figure(
            title,
            about,
            now(this_job(done), "done"),
            now(this_job(planned), "planned"),
            empty=NOT_REPORTED,
            size=(4, 9),
        )
        for title, about, done, planned in (
            ("Evaluations", "Evaluations done and planned.", "job_evals_completed", "job_evals"),
            ("Checkpoints", "Checkpoints saved and planned.", "job_checkpoints_saved", "job_checkpoints"),
        )
    ]
