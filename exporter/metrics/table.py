"""The table of all metrics: a row each.

Whatever else speaks of metrics (exposition, docs, dashboards, alerts) takes them from here.
"""

from collections.abc import Callable

from exporter.metrics.readings import (
    by_status,
    events_by_level,
    events_of_type,
    finished_jobs,
    hyperparameters,
    info,
    largest_place,
    model_jobs,
    month_price,
    other_training_values,
    queue_place,
    queue_seconds,
    run_seconds,
    total,
    trained,
    training_step,
    training_time,
)
from exporter.metrics.row import PREFIX, Reading, Row, Scope, Type
from exporter.snapshot import AccountState, Exporter, JobState, Snapshot


def _exporter(type_: Type, name: str, help_: str, read: Callable[[Exporter], Reading], *own_labels: str) -> Row:
    return Row(Scope.EXPORTER, type_, PREFIX + name, help_, own_labels, read)


def _poll(type_: Type, name: str, help_: str, read: Callable[[AccountState], Reading], *own_labels: str) -> Row:
    return Row(Scope.POLL, type_, PREFIX + name, help_, own_labels, read)


def _account(type_: Type, name: str, help_: str, read: Callable[[Snapshot], Reading], *own_labels: str) -> Row:
    return Row(Scope.ACCOUNT, type_, PREFIX + name, help_, own_labels, read)


def _job(type_: Type, name: str, help_: str, read: Callable[[JobState], Reading], *own_labels: str) -> Row:
    return Row(Scope.JOB, type_, PREFIX + name, help_, own_labels, read)


# fmt: off
ROWS: tuple[Row, ...] = (
    _account("gauge", "jobs", "Jobs by status (status).", by_status(lambda _: 1), "status"),
    _account("gauge", "model_jobs", "Jobs by base model and status (model, status).", model_jobs, "model", "status"),
    _account("gauge", "queue_depth", "Largest place in the queue that any waiting job reports (queue_depth).",
             largest_place),
    _account("gauge", "tokens", "Tokens of the jobs' training, by status (token_count).",
             by_status(lambda job: job.fields.get("token_count")), "status"),
    _account("gauge", "price_usd", "Price of the jobs in US dollars, by status (total_price).",
             by_status(lambda job: job.price_usd), "status"),
    _account("gauge", "refund_usd", "Refunds of the jobs in US dollars (refund_amount).",
             lambda s: total(state.job.refund_usd for state in s.jobs.values())),
    _account("gauge", "month_price_usd",
             "Price of the jobs created in this calendar month (UTC) in US dollars (total_price, created_at).",
             month_price),
    _account("gauge", "unexported_jobs",
             "Jobs without series of their own, by reason (settings jobs.retention, jobs.limit); sums count them too.",
             lambda s: {(reason,): count for reason, count in s.unexported.items()}, "reason"),
    _account("gauge", "epochs", "Epochs planned, by status of the job (n_epochs).",
             by_status(lambda job: job.fields.get("n_epochs")), "status"),
    _account("gauge", "epochs_completed", "Epochs done, by status of the job (epochs_completed).",
             by_status(lambda job: job.fields.get("epochs_completed")), "status"),

    _job("info", "job_info", "Names that belong to the job; empty where unknown.", info,
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
    _job("gauge", "job_status_since_timestamp_seconds",
         "Since when the job is in its status, unix time in seconds (started_at, events, created_at, updated_at).",
         lambda s: None if s.status_since is None else {(s.job.status,): s.status_since}, "status"),
    _job("gauge", "job_last_progress_timestamp_seconds",
         "The newest sign of life, unix time in seconds (times, events, steps, epochs, queue place, training rows).",
         lambda s: s.last_progress),
    _job("gauge", "job_estimated_completion_timestamp_seconds",
         "Estimated end of the current stage, unix time in seconds (started_at + progress.seconds_remaining).",
         lambda s: s.estimated_completion),
    _job("gauge", "job_finished_timestamp_seconds",
         "When the job ended, by its last status, unix time in seconds (the last event, else updated_at).",
         lambda s: None if s.finished is None else {(s.job.status,): s.finished}, "status"),
    _job("gauge", "job_queue_depth", "Place of the waiting job in the queue (queue_depth).", queue_place),
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
         events_of_type("checkpoint_save")),
    _job("gauge", "job_progress_ratio",
         "Part of the training that is done, 0 to 1 (steps_completed / total_steps, else epochs_completed / n_epochs).",
         lambda s: s.progress),
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
         hyperparameters, "name"),
    _job("gauge", "job_events", "Events by level (events.level).", events_by_level, "level"),
    _job("gauge", "job_restarts", "Restarts after an internal error (events of type job_restarted).",
         events_of_type("job_restarted")),
    _job("gauge", "job_billing_limited", "1 where the job ran into the billing limit (an event of type billing_limit).",
         lambda s: float(any(event.type == "billing_limit" for event in s.job.events)) if s.job.events else None),

    _job("gauge", "job_training_loss", "Newest loss of the training (train/loss).", trained("train/loss")),
    _job("gauge", "job_eval_loss", "Newest loss of an evaluation (eval/loss).", trained("eval/loss")),
    _job("gauge", "job_grad_norm", "Newest norm of the gradient (train/grad_norm).", trained("train/grad_norm")),
    _job("gauge", "job_learning_rate", "Newest learning rate (train/learning_rate).", trained("train/learning_rate")),
    _job("gauge", "job_training_step", "Step of the newest training row (train/global_step).",
         training_step),
    _job("gauge", "job_training_timestamp_seconds",
         "Time of the newest training row, unix time in seconds (timestamp, nanoseconds there).",
         training_time),
    _job("gauge", "job_training_metric", "Newest value of every other number of the training rows, by its name.",
         other_training_values, "name"),

    _poll("gauge", "up", "1 where the last poll of the list was answered and understood, else 0.",
          lambda a: None if a.polls.up is None else float(a.polls.up)),
    _poll("gauge", "last_poll_timestamp_seconds", "When the last poll began, unix time in seconds.",
          lambda a: a.polls.last),
    _poll("gauge", "last_successful_poll_timestamp_seconds", "When the last good poll began, unix time in seconds.",
          lambda a: a.polls.last_good),
    _poll("gauge", "poll_duration_seconds", "How long the last poll took, in seconds.", lambda a: a.polls.duration),
    _poll("gauge", "poll_interval_seconds", "From the last poll to the next one, in seconds.",
          lambda a: a.polls.interval),
    _poll("counter", "api_requests_total",
          "Calls to the API by endpoint and by HTTP status or reason of failure (timeout, connection, tls, body).",
          lambda a: a.polls.requests, "endpoint", "code"),
    _poll("histogram", "api_request_duration_seconds", "How long calls to the API took, in seconds.",
          lambda a: {(endpoint,): seconds for endpoint, seconds in a.polls.request_seconds.items()}, "endpoint"),
    _poll("gauge", "api_rate_limit_remaining", "Calls that the API still allows (header x-ratelimit-remaining).",
          lambda a: a.polls.rate_limit_remaining),
    _poll("gauge", "rejected_jobs", "Objects of the last list that could not be used, by reason.",
          lambda a: {(reason,): count for reason, count in a.polls.rejected.items()}, "reason"),
    _poll("counter", "unknown_values_total",
          "Values outside what is known, by field; counted once for a job and field as long as it stands there.",
          lambda a: {(field,): count for field, count in a.polls.unknown_values.items()}, "field"),

    _poll("gauge", "budget_usd", "Budget of a calendar month in US dollars (setting budget_usd_per_month).",
          lambda a: a.terms.budget_usd),
    _poll("gauge", "stuck_after_seconds",
          "Seconds without a sign of life after which a job counts as stuck, by status (setting stuck_after).",
          lambda a: {(status,): seconds for status, seconds in a.terms.stuck_after.items()}, "status"),
    _poll("gauge", "failure_window_seconds",
          "Seconds after its end for which a job that failed is worth an alert (setting failure_window).",
          lambda a: a.terms.failure_window),
    _poll("gauge", "failure_limit_ratio", "Part of the jobs that may fail, 0 to 1 (setting failure_limit).",
          lambda a: a.terms.failure_limit),
    _poll("counter", "jobs_finished_total", "Jobs seen to end since the exporter started, by their last status.",
          finished_jobs, "status"),
    _poll("histogram", "job_queue_duration_seconds",
          "From creation to start in seconds, of jobs seen to start (created_at, events of type job_start).",
          queue_seconds),
    _poll("histogram", "job_run_duration_seconds",
          "From start to end in seconds, of jobs seen to end, by their last status (events, started_at, updated_at).",
          run_seconds, "status"),

    _exporter("info", "exporter_build_info", "Version, revision and Python version of the exporter.",
              lambda e: {(e.version, e.revision, e.python_version): 1}, "version", "revision", "python_version"),
    _exporter("gauge", "exporter_config_last_reload_successful",
              "1 where the last reload of the files was good, else 0.",
              lambda e: float(e.reload_good)),
    _exporter("gauge", "exporter_config_last_reload_success_timestamp_seconds",
              "When the files were last read with success, unix time in seconds.", lambda e: e.reloaded),
)
# fmt: on
