"""How several answers about one job become one."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.models import JobFields, parse_jobs
from exporter.snapshot import merge
from tests.support import job, jobs_json


def fields(**given: Any) -> JobFields:
    return parse_jobs(jobs_json({"id": "ft-1", "status": "running"} | given)).jobs[0].fields


OLD, NEW = "2026-09-21T13:00:00Z", "2026-09-21T13:00:01Z"
training_types = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from([None, "", "Lora"]), "lora_r": st.none() | st.just(8)}
)
values = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["queued", "running", "completed"]),
        "updated_at": st.sampled_from([OLD, NEW, "", None]),
        "token_count": st.none() | st.integers(0, 9),
        "queue_depth": st.none() | st.integers(0, 9),
        "suffix": st.none() | st.sampled_from(["", "a", "b"]),
        "events": st.sampled_from([None, [], [{"type": "job_start"}]]),
        "training_type": st.none() | training_types,
    },
)


@given(values, values)
def test_unknown_never_overwrites_known(a: dict[str, Any], b: dict[str, Any]) -> None:
    merged: dict[str, Any] = dict(merge(fields(**a), fields(**b)))
    for side in (a, b):
        for name in ("token_count", "suffix", "events", "training_type"):
            if side.get(name):
                assert merged.get(name)


@given(values, values)
def test_what_is_merged_again_stays_the_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    merged = merge(fields(**a), fields(**b))
    assert merge(merged, fields(**b)) == merged
    assert merge(merged, merged) == merged


def test_the_newer_updated_at_wins_whichever_came_first() -> None:
    old = fields(status="queued", updated_at=OLD, token_count=1, param_count=7)
    new = fields(status="running", updated_at=NEW, token_count=2)
    for merged in (merge(old, new), merge(new, old)):
        assert (merged["status"], merged["token_count"], merged["param_count"]) == ("running", 2, 7)


def test_of_answers_with_one_time_or_none_the_later_wins() -> None:
    assert merge(fields(updated_at=OLD, token_count=1), fields(updated_at=OLD, token_count=2))["token_count"] == 2
    assert merge(fields(updated_at=OLD, token_count=1), fields(token_count=2))["token_count"] == 2


def test_nested_objects_are_merged_too() -> None:
    merged = merge(fields(training_type={"type": "Lora", "lora_r": 8}), fields(training_type={"type": "Lora"}))
    assert merged["training_type"] == {"type": "Lora", "lora_r": 8}


def test_what_belongs_to_a_stage_does_not_outlive_it() -> None:
    known = fields(status="queued", queue_depth=3, started_at=OLD, updated_at=OLD, token_count=1)
    merged = merge(known, fields(status="running", updated_at=NEW))
    assert "queue_depth" not in merged
    assert "started_at" not in merged
    assert merged["token_count"] == 1


def test_neither_side_is_changed() -> None:
    known, received = fields(**job(token_count=1)), fields(**job(token_count=2))
    before = dict(known), dict(received)
    merge(known, received)
    assert (dict(known), dict(received)) == before
