"""The training metrics of a job: a row for each reported step, and rows of their own for the evaluations."""

import math
from bisect import bisect_right
from functools import lru_cache
from operator import attrgetter
from random import Random
from typing import NamedTuple

from exporter.simulator.plan import Json, Plan, draws
from exporter.simulator.story import changes


class _Row(NamedTuple):
    """A row, and from when to when (unix seconds) the API has it."""

    since: float
    until: float
    content: Json


def training_rows(plan: Plan, now: float) -> list[Json]:
    """The training metrics that a job has written by `now` (unix seconds), in time order.

    A job that goes back to an earlier step loses the rows of the steps after it.
    """
    if "rows" not in plan.reports:
        return []
    rows = _rows(plan)
    return [dict(row.content) for row in rows[: bisect_right(rows, now, key=attrgetter("since"))] if now < row.until]


@lru_cache(maxsize=100)  # the rows of a job take some 150 kB
def _rows(plan: Plan) -> list[_Row]:
    rows: list[_Row] = []
    draw = draws(plan.seed, plan.id)
    last = 0
    for at, event, fields in changes(plan):
        step = fields.get("steps_completed", last)
        if step < last:
            lost = (row.content["train/global_step"] > step for row in rows)
            rows = [
                row._replace(until=min(row.until, at)) if gone else row for row, gone in zip(rows, lost, strict=True)
            ]
        elif step and "steps_completed" in fields and event in ("", "eval_complete"):
            figures = _figures(plan, "eval" if event else "train", step / plan.total_steps, draw)
            rows.append(_Row(at, math.inf, {"train/global_step": step, "timestamp": int(at * 1e9)} | figures))
        last = step
    return rows


def chosen(rows: list[Json], first: int, points: int) -> list[Json]:
    """The rows from the step `first` on, with at most `points` training rows, the newest always among them."""
    rows = [row for row in rows if row["train/global_step"] >= first]
    steps = [row["train/global_step"] for row in rows if "train/loss" in row]
    points = min(points, len(steps))
    kept = {steps[-1 - n * len(steps) // points] for n in range(points)}
    return [row for row in rows if "eval/loss" in row or row["train/global_step"] in kept]


def _figures(plan: Plan, split: str, done: float, draw: Random) -> Json:
    """The figures of a row of `split` (train or eval) after this fraction of the training."""
    loss = max(0.01, 0.7 + 1.3 * math.exp(-5 * done) + draw.gauss(0, 0.04))
    figures: Json = {f"{split}/loss": loss}
    if split == "train":
        warm = min(1, done / (plan.warmup_ratio or done))
        figures["train/learning_rate"] = plan.learning_rate * warm * (0.55 + 0.45 * math.cos(math.pi * done))
        figures["train/grad_norm"] = loss * draw.uniform(0.3, 0.6)
        figures["train/epoch"] = done * plan.n_epochs
        if plan.diverges_at is not None and done >= plan.diverges_at:
            figures["train/loss"] = math.nan
    if plan.dpo_beta:
        figures |= {f"{split}/accuracies": 1 - loss / 4, f"{split}/rewards/margins": 2 - loss}
    return figures
