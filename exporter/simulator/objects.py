"""The full object of a job at a moment: every field that any shape of the API shows."""

from exporter.simulator.plan import Json, Plan, past, stamp

# Tables, to be read by the row.
# fmt: off
PLANNED = """id model suffix n_epochs n_checkpoints n_evals batch_size learning_rate warmup_ratio train_on_inputs
    wandb_project_name""".split()
FIRST: Json = {  # what a job has from the start, besides what is planned
    "user_id": "user-demo", "owner_address": "demo@example.com", "max_grad_norm": 1.0, "weight_decay": 0.01,
    "max_seq_length": 8192, "packing": True, "random_seed": 42, "from_checkpoint": None, "from_hf_model": None,
    "wandb_url": None, "wandb_name": None, "early_stopped": False, "job_id": None, "model_output_path": None,
    "queue_depth": None, "param_count": None, "total_steps": None, "steps_completed": 0, "epochs_completed": 0,
    "evals_completed": 0, "token_count": 0, "total_price": 0, "train_price": 0, "eval_price": 0, "refund_amount": 0,
}
FIRST_OF_EVENT: Json = {
    "object": "fine-tune-event", "param_count": 0, "token_count": 0, "total_steps": 0, "training_offset": 0,
    "wandb_url": "", "checkpoint_path": "", "model_path": "", "hash": "",
}
LORA: Json = {"type": "Lora", "lora_dropout": 0.05, "lora_trainable_modules": "all-linear"}
LEVELS = {"billing_limit": "error", "job_error": "error", "job_user_error": "error", "job_restarted": "warning"}
LEGACY_LEVELS = {"info": "legacy_info", "warning": "legacy_iwarning", "error": "legacy_ierror"}
# fmt: on


def job(plan: Plan, now: float) -> Json:
    """The full object of a job at `now` (unix seconds): every field of either shape."""
    changes = past(plan, now)
    fields = FIRST | {name: getattr(plan, name) for name in PLANNED}
    for _, _, changed in changes:
        fields |= changed
    last_change, _, _ = changes[-1]
    schedule = {"min_lr_ratio": 0.1, "num_cycles": 0.5}
    lora = LORA | {"lora_r": plan.lora_r, "lora_alpha": 2 * (plan.lora_r or 0)}
    return (
        fields
        | {
            "created_at": stamp(plan, plan.created),
            "updated_at": stamp(plan, last_change),
            "progress": dict(fields["progress"]),  # a copy, for the story is kept and a caller may change what it gets
            "events": [
                _event(plan, at, kind, changed.get("steps_completed", 0)) for at, kind, changed in changes if kind
            ],
            "training_file": f"file-{plan.id}",
            "validation_file": f"file-{plan.id}-eval" if plan.n_evals else None,
            "eval_steps": plan.total_steps // plan.n_evals if plan.n_evals else 0,
            "trainingfile_numlines": plan.token_count // 640,
            "trainingfile_size": plan.token_count * 4,
            "model_output_name": f"demo/{plan.model.split('/')[-1]}-{plan.suffix or 'ft'}-{plan.id[-8:]}",
            "lr_scheduler": {"lr_scheduler_type": "cosine", "lr_scheduler_args": schedule},
            "training_type": lora if plan.lora_r else {"type": "Full"},
            "training_method": {"method": "dpo", "dpo_beta": plan.dpo_beta} if plan.dpo_beta else {"method": "sft"},
        }
    )


def _event(plan: Plan, moment: float, kind: str, step: int) -> Json:
    level = LEVELS.get(kind, "info")
    return FIRST_OF_EVENT | {
        "created_at": stamp(plan, moment),
        "level": LEGACY_LEVELS[level] if plan.legacy_levels else level,
        "message": kind.replace("_", " ").capitalize() + (f", at step {step}" if step else ""),
        "type": kind,
        "step": step,
    }
