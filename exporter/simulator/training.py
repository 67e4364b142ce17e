"""The training metrics of a job: a row for each reported step, and rows of their own for the evaluations."""

import math
from random import Random

from exporter.simulator.plan import Json, Plan, draws, past


def training_rows(plan: Plan, now: float) -> list[Json]:
    """The training metrics that a job has written by `now` (unix seconds), in time order; a restart begins anew."""
    rows: list[Json] = []
    draw = draws(plan.seed, plan.id)
    for moment, kind, changed in past(plan, now):
        step = changed.get("steps_completed")
        if kind == "training_start":
            rows.clear()
        elif step and kind in ("", "eval_complete"):
            figures = _figures(plan, "eval" if kind else "train", step / plan.total_steps, draw)
            rows.append({"train/global_step": step, "timestamp": int(moment * 1e9)} | figures)
    return rows


def chosen(rows: list[Json], first: int, points: int) -> list[Json]:
    """The rows from the step `first` on, with at most `points` of training among them, the newest one always."""
    rows = [row for row in rows if row["train/global_step"] >= first]
    steps = [row["train/global_step"] for row in rows if "train/loss" in row]
    points = min(points, len(steps))
    kept = {steps[-1 - n * len(steps) // points] for n in range(points)}
    return [row for row in rows if "eval/loss" in row or row["train/global_step"] in kept]


def _figures(plan: Plan, split: str, share: float, draw: Random) -> Json:
    """What a row of `split` (train or eval) says after this share of the training."""
    loss = max(0.01, 0.7 + 1.3 * math.exp(-5 * share) + draw.gauss(0, 0.04))
    figures: Json = {f"{split}/loss": loss}
    if split == "train":
        warm = min(1, share / (plan.warmup_ratio or share))
        figures["train/learning_rate"] = plan.learning_rate * warm * (0.55 + 0.45 * math.cos(math.pi * share))
        figures["train/grad_norm"] = loss * draw.uniform(0.3, 0.6)
        figures["train/epoch"] = share * plan.n_epochs
        if plan.diverges_at is not None and share >= plan.diverges_at:
            figures["train/loss"] = math.nan
    if plan.dpo_beta:
        figures |= {f"{split}/accuracies": 1 - loss / 4, f"{split}/rewards/margins": 2 - loss}
    return figures
