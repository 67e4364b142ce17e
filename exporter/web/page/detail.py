"""One job: everything that is known of it, as JSON."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from exporter.state import Entry, JobState, State
from exporter.web.page.document import Document
from exporter.web.page.overview import STATUS_TABLE, summary

_DASHBOARD = "/d/together-finetune-job"  # as it is named in the packaged dashboards
_HYPERPARAMETERS = (
    "training_type",
    "training_method",
    "n_epochs",
    "batch_size",
    "learning_rate",
    "lr_scheduler",
    "warmup_ratio",
    "max_grad_norm",
    "weight_decay",
    "eval_steps",
    "max_seq_length",
    "random_seed",
    "train_on_inputs",
)

Figure = tuple[str, str, Any]
"""A label, how to write the value (`text`, `time`, `usd`, `number`, `bytes`, `of`: done and planned), and the value."""


@dataclass(frozen=True, slots=True)
class Links:
    """Where to find a job elsewhere: the URL of a job at Together, with `{id}`, and the base URL of Grafana."""

    console: str
    grafana: str | None = None


def describe(state: State, account: str, job_id: str, links: Links) -> Document | None:
    """The JSON of one job; `None` if there is no such job."""
    view = state.accounts.get(account)
    entry = view.entry(job_id) if view is not None else None
    if view is None or entry is None:
        return None
    described = {
        **summary(account, entry),
        "version": state.exporter.version,
        "statuses": STATUS_TABLE,
        "failure": _failure(entry.view.state),
        "links": list(_links(account, entry.view.state, links)),
        "sections": [
            {"title": title, "figures": [figure for figure in figures if figure[2] not in (None, "")]}
            for title, figures in _sections(account, entry)
        ],
        "curves": _curves(entry.view.state),
        "events": list(_events(entry.view.state)),
    }
    return Document(json.dumps(described, allow_nan=False).encode())


def _sections(account: str, entry: Entry) -> Iterator[tuple[str, Iterable[Figure]]]:
    view = entry.view
    state, verdict, job, fields = view.state, view.verdict, view.job, view.fields
    yield (
        "Job",
        (
            ("Account", "text", account),
            ("User", "text", fields.get("user_id")),
            ("Model", "text", fields.get("model")),
            ("Output model", "text", fields.get("model_output_name")),
            ("From checkpoint", "text", fields.get("from_checkpoint")),
            ("Parameters", "number", fields.get("param_count")),
            ("Tokens", "number", fields.get("token_count")),
            ("Price", "usd", job.price_usd),
            ("Refund", "usd", job.refund_usd or None),
        ),
    )
    yield (
        "Times",
        (
            ("Created", "time", job.created),
            ("Training started", "time", state.run_started),
            ("In this status since", "time", state.status_since),
            ("Last progress", "time", verdict.progress),
            ("Next progress due", "time", verdict.deadline),
            ("Estimated end of stage", "time", state.estimated_completion),
            ("Last checked", "time", verdict.checked),
            ("Finished", "time", state.finished),
        ),
    )
    yield (
        "Progress",
        (
            ("Position in queue", "number", state.queue_place),
            ("Epochs", *_done(state.epochs_completed, fields.get("n_epochs"))),
            ("Steps", *_done(fields.get("steps_completed"), fields.get("total_steps"))),
            ("Evaluations", *_done(fields.get("evals_completed"), fields.get("n_evals"))),
            ("Restarts", "number", (job.events.types.get("job_restarted") if job.events else None) or None),
        ),
    )
    yield (
        "Files",
        (
            ("Training file", "text", fields.get("training_file")),
            ("Lines", "number", fields.get("trainingfile_numlines")),
            ("Size", "bytes", fields.get("trainingfile_size")),
            ("Validation file", "text", fields.get("validation_file")),
        ),
    )
    yield "Hyperparameters", _hyperparameters({name: fields.get(name) for name in _HYPERPARAMETERS})


def _done(done: int | None, planned: int | None) -> tuple[str, Any]:
    return ("of", (done, planned)) if done is not None and planned else ("number", done or planned or None)


def _hyperparameters(fields: Mapping[str, Any], of: str = "") -> Iterator[Figure]:
    """Those in nested objects too; `training_type.type` is named `training_type`."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _hyperparameters(value, name)
        else:
            label = of if name in ("type", "method") else name
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            text = str(value).lower() if isinstance(value, bool) else value
            yield (label, "number", value) if is_number else (label, "text", text)


def _failure(state: JobState) -> str | None:
    """Why the job failed: the message of its last error."""
    if not state.job.status.failed or state.job.events is None:
        return None
    errors = (event.message for event in reversed(state.job.events.recent) if event.level == "error")
    endings = (e.message for e in reversed(state.job.events.recent) if e.type in state.job.status.starts_with)
    return next(filter(None, (*errors, *endings)), None)


def _events(state: JobState) -> Iterator[dict[str, object]]:
    """The newest events, the newest first."""
    for event in reversed(state.job.events.recent if state.job.events else ()):
        yield {"type": event.type, "level": event.level, "time": event.time, "message": event.message}


def _curves(state: JobState) -> dict[str, list[tuple[int, float | None]]]:
    """Steps and values by metric; a value that is not finite is null, as JSON has no other word for it."""
    curves = state.training.curves if state.training else {}
    return {
        name: [(step, value if math.isfinite(value) else None) for step, value in curve]
        for name, curve in curves.items()
        if curve
    }


def _links(account: str, state: JobState, links: Links) -> Iterator[dict[str, str]]:
    yield {"name": "Together", "url": links.console.replace("{id}", quote(state.job.id, safe=""))}
    if run := state.fields.get("wandb_url"):
        yield {"name": "Weights & Biases", "url": run}
    if links.grafana:
        query = urlencode({"var-account": account, "var-job_id": state.job.id})
        yield {"name": "Grafana", "url": f"{links.grafana.rstrip('/')}{_DASHBOARD}?{query}"}
