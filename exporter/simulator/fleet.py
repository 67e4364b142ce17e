"""Which jobs an account has at a given time: a random endless fleet, or a script written by hand."""

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from exporter.simulator.plan import MODELS, Fate, Json, Plan, Stage, draws

# Tables, to be read by the row.
# fmt: off
FIRST_FATES: tuple[Fate, ...] = ("hang", "restart", "billing_limit", "error", "cancelled", "user_error")
SET_IN: dict[Fate, tuple[Stage, float]] = {"billing_limit": ("download", 1.0), "user_error": ("download", 0.8)}
CHANCES: dict[Fate, int] = {
    "completed": 84, "error": 5, "user_error": 3, "cancelled": 4, "billing_limit": 2, "hang": 0, "restart": 2,
}
MINUTES = {
    "pending": (4, 12), "queued": (8, 35), "download": (3, 12), "compress": (4, 12), "upload": (5, 15),
    "cancel": (5, 25),
}
CHOICES: dict[str, Sequence[Any]] = {
    "batch_size": ("max", 8, 16, 32), "learning_rate": (1e-5, 2e-5, 1e-4), "warmup_ratio": (0.0, 0.03, 0.1),
    "train_on_inputs": ("auto", True, False), "suffix": (None, "support", "extract", "nightly"),
    "wandb_project_name": (None, "tuning"), "fraction_digits": range(10), "legacy_levels": (False, False, True),
    "queue_depth": range(1, 30),
}
# fmt: on


class Plans(Protocol):
    """A fleet: the jobs of an account at a time (unix seconds)."""

    def plans(self, now: float) -> Sequence[Plan]: ...


@dataclass(frozen=True)
class Script:
    """A fleet of plans written by hand; each job exists from its creation on."""

    jobs: Sequence[Plan]

    def plans(self, now: float) -> list[Plan]:
        """The plans created by `now` (unix seconds), in the order of the script."""
        return [plan for plan in self.jobs if plan.created <= now]


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """An endless random account of `jobs` jobs from `start` (unix seconds) on, `speed` times as fast as real time.

    It has that many slots. In each of them a job is created, runs, ends and stays listed for 2 to 8 simulated hours,
    until the slot's next job takes its place. The jobs of the first slots have the `FIRST_FATES`, one each.
    """

    start: float
    jobs: int = 40
    seed: int = 1
    speed: float = 60.0
    _newest: dict[int, tuple[int, Plan]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def plans(self, now: float) -> list[Plan]:
        """The newest job of every slot at `now` (unix seconds)."""
        return [self._plan(slot, now) for slot in range(self.jobs)]

    def _plan(self, slot: int, now: float) -> Plan:
        # Slots of one period, evenly out of phase (as multiples of the golden ratio are), keep the number of active
        # jobs steady, and the newest job can be computed directly.
        period = (8.0 if _large(slot) else 4.2) * 3600 / self.speed
        phase = (slot + 1) * 0.6180339887498949 % 1
        generation = math.floor((now - self.start) / period + phase)
        if slot == 0:
            generation = min(generation, 0)  # it hangs forever
        known, plan = self._newest.get(slot, (None, None))
        if plan is None or known != generation:
            plan = _draw_plan(self, slot, generation, created=self.start + (generation - phase) * period)
            self._newest[slot] = generation, plan
        return plan


def _large(slot: int) -> bool:
    """Whether the jobs of a slot train large models, for hours."""
    return slot % 3 == 0


def _draw_plan(fleet: Fleet, slot: int, generation: int, created: float) -> Plan:
    draw, large = draws(fleet.seed, slot, generation), _large(slot)
    fate = FIRST_FATES[slot] if slot < len(FIRST_FATES) else draw.choices(list(CHANCES), list(CHANCES.values()))[0]
    fate_stage, fate_at = SET_IN.get(fate, ("train", draw.uniform(0.2, 0.6)))
    model, parameters, dollars = draw.choice(MODELS[3:] if large else MODELS[:3])
    minutes = {"train": (170, 270) if large and fate != "restart" else (10, 30)} | MINUTES
    drawn: Json = {stage: draw.uniform(*limits) * 60 / fleet.speed for stage, limits in minutes.items()}
    steps = round(drawn["train"] * fleet.speed / draw.uniform(3, 9))
    drawn |= {name: draw.choice(values) for name, values in CHOICES.items()}
    epochs = draw.randint(1, 5)
    dpo = draw.random() < 0.15
    number = str(uuid.UUID(int=draw.getrandbits(128), version=4))
    # fmt: off
    return Plan(
        id=f"ft-{number if draw.random() < 0.6 else number[:13]}", seed=fleet.seed,
        created=created, estimate=draw.uniform(0.92, 1.08),
        fate=fate, fate_stage=fate_stage, fate_at=fate_at, total_steps=steps, n_epochs=epochs,
        n_evals=draw.choice((0, epochs, 10)), n_checkpoints=draw.randint(1, epochs),
        model=model, param_count=parameters, usd_per_million_tokens=dollars * (2.5 if dpo else 1),
        token_count=round(steps * draw.uniform(4e4, 6e4) / epochs), dpo_beta=0.1 if dpo else None,
        lora_r=None if large and draw.random() < 0.4 else draw.choice((8, 16, 64)), **drawn,
    )
    # fmt: on
