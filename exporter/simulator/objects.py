"""The full object of a job at a moment: every field that any shape of the API shows."""

import math
from collections.abc import Sequence
from functools import lru_cache

from exporter.simulator.plan import Json, Plan, stamp
from exporter.simulator.story import Change, Running, story

# Tables, to be read by the row.
# fmt: off
PLANNED = """id model suffix n_epochs n_checkpoints n_evals batch_size learning_rate warmup_ratio train_on_inputs
    wandb_project_name""".split()
FIXED: Json = {  # what the API says of every job, unless something changes it
    "user_id": "user-demo", "owner_address": "demo@example.com", "max_grad_norm": 1.0, "weight_decay": 0.01,
    "max_seq_length": 8192, "packing": True, "random_seed": 42, "from_checkpoint": None, "from_hf_model": None,
    "wandb_name": None, "early_stopped": False, "eval_price": 0, "refund_amount": 0,
}
FIXED_OF_EVENT: Json = {
    "object": "fine-tune-event", "param_count": 0, "token_count": 0, "total_steps": 0, "training_offset": 0,
    "wandb_url": "", "checkpoint_path": "", "model_path": "", "hash": "",
}
LORA: Json = {"type": "Lora", "lora_dropout": 0.05, "lora_trainable_modules": "all-linear"}
LEVELS = {"billing_limit": "error", "job_error": "error", "job_user_error": "error", "job_restarted": "warning"}
LEGACY_LEVELS = {"info": "legacy_info", "warning": "legacy_iwarning", "error": "legacy_ierror"}
# fmt: on


def job(plan: Plan, now: float) -> Json:
    """The full object of a job at `now` (unix seconds): every field of either shape."""
    now = max(now, plan.created)  # a job has always been created
    history = story(plan)
    fields = FIXED | {name: getattr(plan, name) for name in PLANNED} | history.fields(now)
    started, running, shown = fields["started_at"], fields.pop("running"), fields.pop("shown", {})
    beats = {name: _last_beat(plan, every, min(now, history.end)) for name, every in plan.beats.items()}
    updated = max(history.updated(now), beats.pop("updated_at", 0))
    progress = _progress(plan, running, now, beats.pop("progress", 0))
    for name, beat in beats.items():
        if fields[name] is not None:
            fields[name] += round((beat - plan.created) / plan.beats[name])
    fields |= {
        "created_at": stamp(plan, plan.created),
        "started_at": started and stamp(plan, started),
        "updated_at": stamp(plan, updated),
        "progress": progress,
        "events": [dict(event) for event in _events(plan)[: history.events(now)]],
        **_described(plan),
        **shown,
    }
    return {**fields, **plan.overrides.get(fields["status"], {})}


def next_change(plan: Plan, now: float) -> float:
    """The first time after `now` (unix seconds) at which anything changes in a job; infinity if nothing will."""
    now = max(now, plan.created)
    history = story(plan)
    since = history.fields(now)["running"].since
    times = [history.next_change(now), *(since + after for after, _ in _estimates(plan))]
    if now < history.end:
        times += [_last_beat(plan, every, now) + every for every in plan.beats.values()]
    return min((time for time in times if time > now), default=math.inf)


def _last_beat(plan: Plan, every: float, now: float) -> float:
    return plan.created + (now - plan.created) // every * every


def _estimates(plan: Plan) -> Sequence[tuple[float, float | None]]:
    return ((0.0, plan.estimate),) if isinstance(plan.estimate, float | int) else plan.estimate


def _progress(plan: Plan, running: Running, now: float, beat: float) -> Json:
    """The estimate of the current stage, which moves with its last beat."""
    given = [factor for after, factor in _estimates(plan) if running.since + after <= now]
    if running.length is None or not given or given[-1] is None:
        return {"estimate_available": False, "seconds_remaining": 0}
    seconds = running.length * given[-1] + max(beat - running.since, 0)
    return {"estimate_available": True, "seconds_remaining": round(seconds, 3)}


def _described(plan: Plan) -> Json:
    """The fields that follow from the plan and never change."""
    schedule = {"min_lr_ratio": 0.1, "num_cycles": 0.5}
    project = plan.wandb_project_name
    lora = LORA | {"lora_r": plan.lora_r, "lora_alpha": 2 * (plan.lora_r or 0)}
    return {
        "training_file": f"file-{plan.id}",
        "validation_file": f"file-{plan.id}-eval" if plan.n_evals else None,
        "eval_steps": plan.total_steps // plan.n_evals if plan.n_evals else 0,
        "trainingfile_numlines": plan.token_count // 640,
        "trainingfile_size": plan.token_count * 4,
        "model_output_name": f"demo/{plan.model.split('/')[-1]}-{plan.suffix or 'ft'}-{plan.id[-8:]}",
        "wandb_url": f"https://wandb.ai/demo/{project}/runs/{plan.id[-8:]}" if project else None,
        "lr_scheduler": {"lr_scheduler_type": "cosine", "lr_scheduler_args": schedule},
        "training_type": lora if plan.lora_r else {"type": "Full"},
        "training_method": {"method": "dpo", "dpo_beta": plan.dpo_beta} if plan.dpo_beta else {"method": "sft"},
    }


@lru_cache(maxsize=100)
def _events(plan: Plan) -> list[Json]:
    return [_event(plan, change) for change in story(plan).event_changes]


def _event(plan: Plan, change: Change) -> Json:
    at, kind, fields = change
    step = fields.get("steps_completed", 0) if "steps" in plan.reports else 0
    level = LEVELS.get(kind, "info")
    return FIXED_OF_EVENT | {
        "created_at": stamp(plan, at),
        "level": LEGACY_LEVELS[level] if plan.legacy_levels else level,
        "message": kind.replace("_", " ").capitalize() + (f", at step {step}" if step else ""),
        "type": kind,
        "step": step,
    }
