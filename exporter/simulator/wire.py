"""The shapes in which the API shows a job, as views of its full object."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from exporter.simulator.plan import Json

Shape = Literal["live", "reference"]

# fmt: off
REFERENCE = """id training_file validation_file model model_output_name model_output_path trainingfile_numlines
    trainingfile_size created_at updated_at n_epochs n_checkpoints n_evals batch_size learning_rate lr_scheduler
    warmup_ratio max_grad_norm weight_decay eval_steps train_on_inputs training_method training_type status job_id
    events token_count param_count total_price epochs_completed queue_depth wandb_project_name wandb_url
    from_checkpoint""".split()
LIVE = """id status created_at updated_at started_at model suffix token_count total_price n_epochs progress
    training_type training_method user_id owner_address""".split()
LIVE_LEVELS = {"info": "Info", "warning": "Warning", "error": "Error"}  # and "" on old jobs
# fmt: on


def live(job: Json) -> Json:
    """The truncated object that the live API lists: no events, no training figures."""
    return {name: job[name] for name in LIVE} | {"events": []}


def reference(job: Json) -> Json:
    """The object as on the reference page, the same in lists and alone."""
    training = {"training_type": {"type": job["training_type"]["type"]}}
    training["training_method"] = {"method": job["training_method"]["method"]}
    return {name: job[name] for name in REFERENCE} | training


def _live_detail(job: Json) -> Json:
    return job | {"events": [_live_event(event) for event in job["events"]]}


def _live_event(event: Json) -> Json:
    kind = "COMPRESSING_MODEL" if event["type"] == "model_compressing" else event["type"].upper()
    changed = {"type": kind, "level": LIVE_LEVELS.get(event["level"], "")}
    return {name: event[name] for name in ("object", "created_at", "message")} | changed


class Views(NamedTuple):
    """How a shape shows the full object of a job: in a list, and alone."""

    listed: Callable[[Json], Json]
    detail: Callable[[Json], Json]


SHAPES: dict[Shape, Views] = {
    "live": Views(live, _live_detail),
    "reference": Views(reference, reference),
}
