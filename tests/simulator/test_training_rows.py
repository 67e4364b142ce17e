import math
from dataclasses import replace

from exporter.simulator import training_rows
from tests.simulator.support import DAY, KEY, PLAN, START, simulator


def test_training_rows_grow_with_the_steps_and_never_change() -> None:
    early, late = training_rows(PLAN, START + 650), training_rows(PLAN, START + 900)
    assert late[: len(early)] == early
    assert [row["train/global_step"] for row in early if "train/loss" in row] == list(range(1, 26))
    assert training_rows(PLAN, START + 399) == []


def test_training_rows_have_the_fields_that_together_sends() -> None:
    row = training_rows(PLAN, START + 410)[0]
    assert row.keys() == {
        *("train/global_step", "train/loss", "train/grad_norm", "train/learning_rate", "train/epoch", "timestamp")
    }
    assert row["timestamp"] == int((START + 410) * 1e9)
    assert isinstance(row["timestamp"], int)
    assert row["train/epoch"] == 0.02


def test_evaluations_are_rows_of_their_own_in_time_order() -> None:
    rows = training_rows(PLAN, START + DAY)
    evals = [row for row in rows if "eval/loss" in row]
    assert [row["train/global_step"] for row in evals] == [25, 50, 75, 100]
    assert not any("train/loss" in row for row in evals)
    assert [row["timestamp"] for row in rows] == sorted(row["timestamp"] for row in rows)


def test_the_loss_falls_with_seeded_noise() -> None:
    losses = [row["train/loss"] for row in training_rows(replace(PLAN, n_evals=0), START + DAY)]
    assert sum(losses[-10:]) < sum(losses[:10]) / 1.5
    assert losses != sorted(losses, reverse=True)
    other = [row["train/loss"] for row in training_rows(replace(PLAN, n_evals=0, seed=2), START + DAY)]
    assert other != losses


def test_preference_training_adds_names_to_its_rows() -> None:
    rows = training_rows(replace(PLAN, dpo_beta=0.1), START + DAY)
    assert all("train/accuracies" in row or "eval/accuracies" in row for row in rows)


def test_a_restart_discards_the_rows() -> None:
    plan = replace(PLAN, fate="restart", fate_at=0.6, n_evals=0)
    steps = [row["train/global_step"] for row in training_rows(plan, START + 1100)]
    assert steps == list(range(1, 11))


def test_a_long_training_writes_some_hundreds_of_rows() -> None:
    rows = training_rows(replace(PLAN, total_steps=5000, n_evals=0), START + DAY)
    assert 200 < len(rows) <= 300


def test_a_training_that_diverges_has_a_nan_loss_from_then_on() -> None:
    rows = training_rows(replace(PLAN, diverges_at=0.4), START + DAY)
    losses = {row["train/global_step"]: row["train/loss"] for row in rows if "train/loss" in row}
    assert [step for step, loss in losses.items() if math.isnan(loss)] == list(range(40, 101))


def test_divergence_changes_only_the_loss() -> None:
    sound, diverged = (training_rows(replace(PLAN, diverges_at=share), START + DAY) for share in (None, 0.4))
    assert [row | {"train/loss": 0} for row in diverged] == [row | {"train/loss": 0} for row in sound]


def test_nan_appears_in_the_json_as_nan() -> None:
    path = f"/v1/fine-tunes/{PLAN.id}/metrics?global_step_from=30"
    body = simulator(replace(PLAN, diverges_at=0), at=700).answer(path, f"Bearer {KEY}").body
    assert b'"train/loss": NaN' in body
