"""Whatever the API answers, in whatever order: the fold and the exposition raise nothing, and every scrape is valid."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.exposition import Exposition
from exporter.models import BodyError, parse_events, parse_job, parse_jobs, parse_training
from exporter.state import (
    AccountSettings,
    Call,
    DetailsAnswered,
    Event,
    EventsAnswered,
    JobCallFailed,
    ListAnswered,
    ListFailed,
    PollFailed,
    RowsAnswered,
    Store,
)
from exporter.statuses import STATUSES
from tests.metrics.test_exposition import OPENMETRICS, by_collector, by_exposition
from tests.support import ABOUT, NOW

EVENT_TYPES = [name for status in STATUSES.values() for name in status.starts_with] + ["job_restarted", "billing_limit"]

odd: st.SearchStrategy[Any] = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just([]) | st.just({})
)
texts = st.text(max_size=10)
times = st.one_of(
    st.floats(-200_000, 200_000).map(lambda offset: datetime.fromtimestamp(NOW + offset, UTC).isoformat()),
    st.datetimes().map(lambda time: time.isoformat() + "Z"),
    st.sampled_from(
        ["2026-09-21T14:13:20Z", "2026-09-21T13:00:00Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00Z"]
    ),
    odd,
)
counts = st.integers(0, 400) | st.sampled_from([2**63 - 1, 2**63, -1]) | odd
numbers = st.floats() | odd


def fields(**known: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object with any of these fields."""
    return st.fixed_dictionaries({}, optional=known)


events = st.lists(
    fields(type=st.sampled_from(EVENT_TYPES) | texts, level=texts | odd, created_at=times, message=odd), max_size=5
)
job_ids = st.sampled_from(["ft-1", "ft-2", 'ft-"\\\n'])
jobs = st.builds(
    lambda job_id, status, others: {"id": job_id, "status": status, **others},
    job_ids,
    st.sampled_from(list(STATUSES)) | texts,
    fields(
        created_at=times,
        updated_at=times,
        started_at=times,
        progress=fields(estimate_available=st.booleans() | odd, seconds_remaining=numbers) | odd,
        events=events | odd,
        model=texts | odd,
        token_count=counts,
        param_count=counts,
        total_price=numbers,
        refund_amount=numbers,
        queue_depth=counts,
        n_epochs=counts,
        epochs_completed=counts,
        total_steps=counts,
        steps_completed=counts,
        evals_completed=counts,
        learning_rate=numbers,
        train_on_inputs=odd,
        training_type=fields(type=texts | odd, lora_r=numbers) | odd,
    ),
)
rows = st.lists(
    fields(**{"train/global_step": numbers, "timestamp": numbers, "train/loss": numbers, "\ud83d": numbers, "x": odd})
    | odd,
    max_size=4,
)
answers = st.one_of(
    st.tuples(st.just("list"), st.lists(jobs | odd, max_size=4)),
    st.tuples(st.just("retrieve"), jobs),
    st.tuples(st.just("events"), events),
    st.tuples(st.just("metrics"), rows),
    st.tuples(st.just("failed"), st.sampled_from(["list", "retrieve", "events", "metrics"])),
    st.tuples(st.just("overdue"), st.none()),
)
histories = st.lists(st.tuples(st.floats(-60, 20_000), job_ids, answers), max_size=12)
account_settings = st.builds(
    AccountSettings,
    budget_usd=st.none() | st.floats(0, 1e9),
    failure_window=st.floats(1, 1e6),
    details=st.booleans(),
    retention=st.floats(1, 1e6),
    limit=st.integers(0, 3),
)


def event_of(at: float, job_id: str, kind: str, content: Any) -> Event:
    """The event of an answer; that of a failure if the answer cannot be used."""

    def call(endpoint: Any, code: str = "200") -> Call:
        return Call(at, endpoint, code, 0.1, None if endpoint == "list" else job_id)

    try:
        match kind:
            case "list":
                return ListAnswered(call("list"), parse_jobs(json.dumps({"data": content}).encode()), 30.0)
            case "retrieve":
                found = parse_job(json.dumps(content).encode(), job_id)
                return DetailsAnswered(call("retrieve"), found.jobs[0], found.unknown_values)
            case "events":
                return EventsAnswered(call("events"), *parse_events(json.dumps({"data": content}).encode(), job_id))
            case "metrics":
                return RowsAnswered(call("metrics"), parse_training(json.dumps({"metrics": content}).encode()))
            case "failed" if content == "list":
                return ListFailed(call("list", "500"), 60.0)
            case "failed":
                return JobCallFailed(call(content, "timeout"))
    except BodyError:
        return ListFailed(call("list", "body"), 60.0) if kind == "list" else JobCallFailed(call(kind, "body"))
    return PollFailed(at, "overdue")


@given(histories, account_settings)
def test_every_scrape_is_valid_whatever_the_api_answers(
    history: list[tuple[float, str, tuple[str, Any]]], account: AccountSettings
) -> None:
    store = Store(ABOUT, {"default": account})
    publisher, at = store.publisher("default"), NOW
    scrapes = Exposition(store, clock=lambda: at)
    for passed, job_id, (kind, content) in history:
        at += passed
        publisher.apply(event_of(at, job_id, kind, content))
        scrapes.page()
    for accept in ("", OPENMETRICS):
        assert by_exposition(scrapes, accept) == by_collector(store, accept, at)
