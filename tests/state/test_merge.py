"""How several answers about one job become one."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.models import Job, parse_jobs
from exporter.state.merge import merge
from tests.support import NOW, jobs_json


def parsed(**given: Any) -> Job:
    """A job with these fields."""
    return parse_jobs(jobs_json({"id": "ft-1", "status": "running"} | given)).jobs[0]


def merged(known: Job, received: Job) -> Job:
    """What is known after both."""
    return merge(known, received, NOW)


OLD, NEW, FUTURE = "2026-09-21T13:00:00Z", "2026-09-21T13:00:01Z", "2036-01-01T00:00:00Z"
STAGE = ("queue_depth", "started_at", "progress")
UNKNOWN: tuple[object, ...] = (None, "", {}, [])
training_types = st.fixed_dictionaries(
    {}, optional={"type": st.sampled_from([None, "", "Lora"]), "lora_r": st.none() | st.integers(0, 2)}
)
values = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["queued", "running", "completed", "error"]),
        "updated_at": st.sampled_from([OLD, NEW, FUTURE, "", None]),
        "token_count": st.none() | st.integers(0, 2),
        "queue_depth": st.none() | st.integers(0, 2),
        "suffix": st.none() | st.sampled_from(["", "a", "b"]),
        "events": st.sampled_from([None, [], [{"type": "job_start"}]]),
        "training_type": st.none() | training_types,
    },
)


@given(values, values)
def test_unknown_never_overwrites_known(a: dict[str, Any], b: dict[str, Any]) -> None:
    result = merged(parsed(**a), parsed(**b))
    assert result.events if a.get("events") or b.get("events") else result.events is None
    for name in ("token_count", "suffix"):
        said = [side[name] for side in (a, b) if side.get(name) not in UNKNOWN]  # 0 is known
        assert result.fields.get(name) in (said or UNKNOWN)
    for name in ("type", "lora_r"):
        nested = [(side.get("training_type") or {}).get(name) for side in (a, b)]
        said = [value for value in nested if value not in UNKNOWN]
        assert (result.fields.get("training_type") or {}).get(name) in (said or UNKNOWN)


@given(values, values)
def test_an_answer_that_is_received_again_changes_nothing(a: dict[str, Any], b: dict[str, Any]) -> None:
    result = merged(parsed(**a), parsed(**b))
    assert merged(result, parsed(**b)) == result
    assert merged(result, result) == result


def test_an_empty_text_never_overwrites_a_known_one() -> None:
    assert merged(parsed(suffix="a"), parsed(suffix="")).fields["suffix"] == "a"
    assert merged(parsed(token_count=1), parsed(token_count=0)).fields["token_count"] == 0


def test_the_newer_updated_at_describes_the_job_whichever_came_first() -> None:
    old = parsed(status="queued", updated_at=OLD, token_count=1, param_count=7)
    new = parsed(status="running", updated_at=NEW, token_count=2)
    for result in (merged(old, new), merged(new, old)):
        assert (result.status.name, result.fields["token_count"], result.fields["param_count"]) == ("running", 2, 7)


def test_of_answers_without_two_usable_times_the_later_describes_the_job() -> None:
    for known, received in ((OLD, OLD), (OLD, None), (None, OLD), (FUTURE, OLD)):
        result = merged(parsed(updated_at=known, token_count=1), parsed(updated_at=received, token_count=2))
        assert result.fields["token_count"] == 2


def test_nested_objects_are_merged_too() -> None:
    result = merged(parsed(training_type={"type": "Lora", "lora_r": 8}), parsed(training_type={"type": "Lora"}))
    assert result.fields["training_type"] == {"type": "Lora", "lora_r": 8}


def test_what_belongs_to_a_stage_does_not_outlive_it() -> None:
    stage = {"queue_depth": 3, "started_at": OLD, "progress": {"estimate_available": True, "seconds_remaining": 9}}
    result = merged(parsed(status="queued", updated_at=OLD, token_count=1, **stage), parsed(updated_at=NEW))
    assert result.fields.keys().isdisjoint(STAGE)
    assert result.fields["token_count"] == 1


def test_neither_side_is_changed() -> None:
    known, received = parsed(token_count=1, suffix="a"), parsed(token_count=2)
    before = dict(known.fields), dict(received.fields)
    merged(known, received)
    assert (dict(known.fields), dict(received.fields)) == before
