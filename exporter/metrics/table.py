"""The table of all metrics: one row each.

Whatever else mentions metrics (exposition, docs, dashboards, alerts) takes them from here.
"""

from collections.abc import Callable

from exporter.metrics.readings import (
    INFO,
    by_model,
    by_status,
    events_by_level,
    events_of_type,
    hyperparameters,
    info,
    other_training_metrics,
    refund_usd,
    training_metric,
    verdicts,
    with_status,
)
from exporter.metrics.row import PREFIX, Reading, Row, Scope, Type
from exporter.models import NANO
from exporter.state import AccountView, Exporter, JobView


def _exporter(type_: Type, name: str, help_: str, read: Callable[[Exporter], Reading], *own_labels: str) -> Row:
    return Row(Scope.EXPORTER, type_, PREFIX + name, help_, own_labels, read, lasting=True)


def _poll(type_: Type, name: str, help_: str, read: Callable[[AccountView], Reading], *own_labels: str) -> Row:
    return Row(Scope.ACCOUNT, type_, PREFIX + name, help_, own_labels, read, lasting=True)


def _account(type_: Type, name: str, help_: str, read: Callable[[AccountView], Reading], *own_labels: str) -> Row:
    return Row(Scope.ACCOUNT, type_, PREFIX + name, help_, own_labels, read)


def _job(type_: Type, name: str, help_: str, read: Callable[[JobView], Reading], *own_labels: str) -> Row:
    return Row(Scope.JOB, type_, PREFIX + name, help_, own_labels, read)


def _verdict(name: str, help_: str, read: Callable[[JobView], Reading], *own_labels: str) -> Row:
    return Row(Scope.JOB, "gauge", PREFIX + name, help_, own_labels, read, lasting=True)


# fmt: off
ROWS: tuple[Row, ...] = (
    # Jobs of an account, while the list is recent.
    _account("gauge", "jobs", "Jobs by status (status).",
             by_status("jobs"), "status"),
    _account("gauge", "model_jobs", "Jobs by base model and status (model, status).", by_model("jobs"),
             "model", "status"),
    _account("gauge", "queue_depth", "The largest place in the queue that any waiting job reports (queue_depth).",
             lambda v: v.totals.largest_place),
    _account("gauge", "tokens", "Tokens of the jobs, by status (token_count).",
             by_status("tokens"), "status"),
    _account("gauge", "price_usd", "Price of the jobs in US dollars, by status (total_price).",
             by_status("price", per=NANO), "status"),
    _account("gauge", "model_price_usd", "Price of the jobs in US dollars, by base model and status (total_price).",
             by_model("price", per=NANO), "model", "status"),
    _account("gauge", "refund_usd", "Refunds of the jobs in US dollars (refund_amount).",
             refund_usd),
    _account("gauge", "month_price_usd",
             "Price of the jobs created in this calendar month (UTC), in US dollars (total_price, created_at).",
             lambda v: v.month_price_usd),
    _account("gauge", "unexported_jobs",
             "Jobs without series of their own, by reason (settings jobs.retention, jobs.limit); sums include them.",
             lambda a: {(reason,): count for reason, count in a.unexported.items()}, "reason"),
    _account("gauge", "missing_jobs", "Jobs that the last list lacked; they are kept for a few minutes.",
             lambda v: v.totals.count("missing")),
    _account("gauge", "epochs", "Planned epochs of the jobs, by status (n_epochs).",
             by_status("epochs"), "status"),
    _account("gauge", "epochs_completed", "Completed epochs of the jobs, by status (epochs_completed).",
             by_status("epochs_completed"), "status"),

    # Verdicts: they freeze when polls fail.
    _poll("gauge", "stuck_jobs", "Jobs that are stuck, by status; see job_stuck.",
          verdicts("stuck", failed=False), "status"),
    _poll("gauge", "failed_jobs", "Jobs that failed within the failure window, by status; see job_failed.",
          verdicts("failed", failed=True), "status"),
    _poll("gauge", "unjudged_jobs",
          "Active jobs of which nothing shows whether they are stuck, or only evidence older than an hour, by status.",
          verdicts("unjudged", failed=False), "status"),
    _verdict("job_stuck",
             "1 if the newest evidence of the job is past its deadline, 0 if not; absent if nothing can be decided.",
             with_status(lambda j: j.verdict.stuck), "status"),
    _verdict("job_failed", "1 from the failure of the job until its failure window ends, 0 for other finished jobs.",
             with_status(lambda j: j.verdict.failed), "status"),
    _job("gauge", "job_progress_deadline_timestamp_seconds",
         "When the next sign of life is due, in unix seconds (the last progress, stuck_after, estimates).",
         lambda j: j.verdict.deadline),
    _job("gauge", "job_last_progress_timestamp_seconds",
         "When the job last showed progress, in unix seconds (events, started_at, steps, epochs, evaluations, "
         "queue_depth, training rows).",
         lambda j: j.verdict.progress),
    _job("gauge", "job_checked_timestamp_seconds",
         "When details or training rows of the job last arrived, in unix seconds; absent if the list is enough.",
         lambda j: j.verdict.checked),

    # Single jobs.
    _job("info", "job_info", "Names of the job; empty if unknown.", info, *INFO),
    _job("gauge", "job_status", "1 for the current status of the job (status).",
         with_status(lambda _: 1), "status"),
    _job("gauge", "job_created_timestamp_seconds", "When the job was created, in unix seconds (created_at).",
         lambda j: j.job.created),
    _job("gauge", "job_updated_timestamp_seconds", "When the job last changed, in unix seconds (updated_at).",
         lambda j: j.job.updated),
    _job("gauge", "job_started_timestamp_seconds",
         "When the current stage of the job started, in unix seconds (started_at).",
         lambda j: j.job.started),
    _job("gauge", "job_status_since_timestamp_seconds",
         "When the job entered its status, in unix seconds (started_at, events, created_at, updated_at).",
         with_status(lambda j: j.state.status_since), "status"),
    _job("gauge", "job_estimated_completion_timestamp_seconds",
         "Estimated end of the current stage, in unix seconds (started_at + progress.seconds_remaining).",
         lambda j: j.state.estimated_completion),
    _job("gauge", "job_finished_timestamp_seconds",
         "When the job finished, in unix seconds, with its last status (the event of its end, else updated_at).",
         with_status(lambda j: j.state.finished), "status"),
    _job("gauge", "job_queue_depth", "Place of the waiting job in the queue (queue_depth).",
         lambda j: j.state.queue_place),
    _job("gauge", "job_epochs", "Planned epochs (n_epochs).", lambda j: j.fields.get("n_epochs")),
    _job("gauge", "job_epochs_completed", "Completed epochs (epochs_completed).", lambda j: j.state.epochs_completed),
    _job("gauge", "job_steps", "Planned training steps (total_steps).", lambda j: j.fields.get("total_steps")),
    _job("gauge", "job_steps_completed", "Completed training steps (steps_completed).",
         lambda j: j.fields.get("steps_completed")),
    _job("gauge", "job_evals", "Planned evaluations (n_evals).", lambda j: j.fields.get("n_evals")),
    _job("gauge", "job_evals_completed", "Completed evaluations (evals_completed).",
         lambda j: j.fields.get("evals_completed")),
    _job("gauge", "job_checkpoints", "Planned checkpoints (n_checkpoints).", lambda j: j.fields.get("n_checkpoints")),
    _job("gauge", "job_checkpoints_saved", "Saved checkpoints (events of type checkpoint_save).",
         events_of_type("checkpoint_save")),
    _job("gauge", "job_progress_ratio",
         "Completed part of the training, 0 to 1 (steps_completed / total_steps, else epochs_completed / n_epochs).",
         lambda j: j.state.progress_ratio),
    _job("gauge", "job_tokens", "Tokens of the job (token_count).", lambda j: j.fields.get("token_count")),
    _job("gauge", "job_parameters", "Parameters of the trained model (param_count).",
         lambda j: j.fields.get("param_count")),
    _job("gauge", "job_price_usd", "Price in US dollars (total_price).", lambda j: j.job.price_usd),
    _job("gauge", "job_refund_usd", "Refund in US dollars (refund_amount).", lambda j: j.job.refund_usd),
    _job("gauge", "job_training_file_lines", "Lines of the training file (trainingfile_numlines).",
         lambda j: j.fields.get("trainingfile_numlines")),
    _job("gauge", "job_training_file_bytes", "Size of the training file in bytes (trainingfile_size).",
         lambda j: j.fields.get("trainingfile_size")),
    _job("gauge", "job_hyperparameter",
         "Hyperparameters that are numbers, by name (batch_size, learning_rate, lr_scheduler, training_type, "
         "training_method and others of the same name).",
         hyperparameters, "name"),
    _job("gauge", "job_events", "Events by level (events.level).", events_by_level, "level"),
    _job("gauge", "job_restarts", "Restarts after an internal error (events of type job_restarted).",
         events_of_type("job_restarted")),
    _job("gauge", "job_billing_limited", "1 if the job hit the billing limit (an event of type billing_limit).",
         lambda j: float("billing_limit" in j.job.events.types) if j.job.events else None),

    # Training metrics of a job.
    _job("gauge", "job_training_loss", "Newest training loss (train/loss).", training_metric("train/loss")),
    _job("gauge", "job_eval_loss", "Newest evaluation loss (eval/loss).", training_metric("eval/loss")),
    _job("gauge", "job_grad_norm", "Newest gradient norm (train/grad_norm).", training_metric("train/grad_norm")),
    _job("gauge", "job_learning_rate", "Newest learning rate (train/learning_rate).",
         training_metric("train/learning_rate")),
    _job("gauge", "job_training_step", "Step of the newest training row (train/global_step).",
         lambda j: j.state.training.step if j.state.training else None),
    _job("gauge", "job_training_timestamp_seconds",
         "Time of the newest training row, in unix seconds (timestamp).",
         lambda j: j.state.training.time if j.state.training else None),
    _job("gauge", "job_training_metric", "Newest value of every other number in the training rows, by its name.",
         other_training_metrics, "name"),

    # Polls of an account.
    _poll("gauge", "up", "1 if the last poll of the list succeeded and was understood, else 0.",
          lambda a: None if a.state.polls.up is None else float(a.state.polls.up)),
    _poll("gauge", "last_poll_timestamp_seconds", "When the last poll started, in unix seconds.",
          lambda a: a.state.polls.last),
    _poll("gauge", "last_successful_poll_timestamp_seconds", "When the last successful poll started, in unix seconds.",
          lambda a: a.state.last_list),
    _poll("gauge", "poll_duration_seconds", "Duration of the last poll in seconds.", lambda a: a.state.polls.duration),
    _poll("gauge", "poll_interval_seconds", "Seconds from the last poll to the next.",
          lambda a: a.state.polls.interval),
    _poll("counter", "api_requests_total",
          "Requests to the API by endpoint and by HTTP status or reason of failure (timeout, connection, tls, body).",
          lambda a: a.state.polls.requests, "endpoint", "code"),
    _poll("histogram", "api_request_duration_seconds", "Duration of requests to the API in seconds.",
          lambda a: {(endpoint,): seconds for endpoint, seconds in a.state.polls.request_seconds.items()}, "endpoint"),
    _poll("gauge", "api_rate_limit_remaining", "Requests that the API still allows (header x-ratelimit-remaining).",
          lambda a: a.state.polls.rate_limit_remaining),
    _poll("gauge", "rejected_jobs", "Objects in the last list that could not be used, by reason.",
          lambda a: {(reason,): count for reason, count in a.state.polls.rejected.items()}, "reason"),
    _poll("counter", "unknown_values_total",
          "Values outside the known set or beyond a bound, by field; each field of a job is counted once.",
          lambda a: {(field,): count for field, count in a.state.polls.unknown_values.items()}, "field"),

    # Settings of an account, and what was observed of its jobs.
    _poll("gauge", "budget_usd", "Budget for a calendar month in US dollars (setting budget_usd_per_month).",
          lambda a: a.settings.budget_usd),
    _poll("gauge", "stuck_after_seconds",
          "Threshold in seconds without progress after which a job counts as stuck, by status (setting stuck_after).",
          lambda a: {(status,): seconds for status, seconds in a.settings.stuck_after.items()}, "status"),
    _poll("gauge", "failure_window_seconds",
          "Seconds for which a failed job keeps alerting (setting failure_window).",
          lambda a: a.settings.failure_window),
    _poll("gauge", "failure_limit_ratio", "Ratio of failed jobs above which an alert fires (setting failure_limit).",
          lambda a: a.settings.failure_limit),
    _poll("counter", "jobs_finished_total", "Jobs that finished since the exporter started, by their last status.",
          lambda a: {(s,): n for s, n in a.state.lifecycle.finished.items()} if a.state.lifecycle else None, "status"),
    _poll("histogram", "job_queue_duration_seconds",
          "Seconds from creation to start, observed when a job starts (created_at, events of type job_start).",
          lambda a: a.state.lifecycle.queued if a.state.lifecycle else None),
    _poll("histogram", "job_run_duration_seconds",
          "Seconds from start to end, observed when a job finishes, by last status (events, started_at, updated_at).",
          lambda a: {(s,): ran for s, ran in a.state.lifecycle.ran.items()} if a.state.lifecycle else None, "status"),

    # The exporter itself.
    _exporter("info", "exporter_build_info", "Version, revision and Python version of the exporter.",
              lambda e: {(e.version, e.revision, e.python_version): 1}, "version", "revision", "python_version"),
    _exporter("gauge", "exporter_config_last_reload_successful",
              "1 if the last reload of the configuration succeeded, else 0.",
              lambda e: float(e.reload_successful)),
    _exporter("gauge", "exporter_config_last_reload_success_timestamp_seconds",
              "When the configuration was last loaded successfully, in unix seconds.", lambda e: e.reloaded),
)
# fmt: on
