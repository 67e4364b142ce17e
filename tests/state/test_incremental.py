"""What is kept from one event to the next never makes a difference, whatever happened before."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.state import PollFailed
from tests.state.both import SETTINGS, Both
from tests.state.history import WHOLE, job, seconds
from tests.support import jobs_json

IDS = st.sampled_from(["ft-1", "ft-2", "ft-3"])
STATUSES = st.sampled_from(["queued", "running", "uploading", "completed", "error", "cancelled", "dreaming"])
AGES = st.sampled_from([-50_000.0, -9_000.0, -400.0, -70.0, -1.0, 0.0, 5.0])
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "created": AGES,
    "updated": AGES,
    "started": AGES,
    "estimate": st.sampled_from([10.0, 200.0]),
    "steps": st.integers(0, 3),
    "place": st.integers(0, 3),
    "model": st.sampled_from(["a", "b"]),
    "token_count": st.integers(0, 3),
    "total_price": st.sampled_from([0, 0.1, 1.5e9, 3e9]),
    "refund_amount": st.just(7),
    "n_epochs": st.integers(0, 3),
    "events": st.dictionaries(st.sampled_from(["job_start", "epoch_complete", "job_error", "odd"]), AGES, max_size=2),
}
JOBS = st.builds(
    lambda job_id, status, at, whole, fields: (job_id, status, at, {**(WHOLE if whole else {}), **fields}),
    IDS,
    STATUSES,
    st.booleans(),
    st.booleans(),
    st.fixed_dictionaries({}, optional=FIELDS),
)
TIMES = {"created", "updated", "started"}


def sent(now: float, described: tuple[str, str, bool, dict[str, Any]]) -> dict[str, Any]:
    """A job as the API sends it; its times are relative to now."""
    job_id, status, _, fields = described
    moved = {name: now + value if name in TIMES else value for name, value in fields.items()}
    if "events" in moved:
        moved["events"] = {name: now + time for name, time in moved["events"].items()}
    return job(status, job_id, **moved)


Step = Callable[[Both], None]


def wait(both: Both, minutes: float, lists: int) -> None:
    """Time passes, and the list stays the same; it arrives so many times, or a request for it fails."""
    for _ in range(lists):
        both.now += minutes
        both.list(both.bodies[-1])
    if not lists:
        both.now += minutes
        both.about(lambda history: history.list_fails(both.now))


WAITS = st.builds(
    lambda minutes, lists: lambda both: wait(both, minutes, lists),
    st.sampled_from([-90.0, -1.0, 0.5, 4.0, 11.0, 61.0, 360.0, 1_440.0, 10_080.0, 44_640.0]),
    st.integers(0, 3),
)
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.lists(JOBS, max_size=4).map(lambda jobs: lambda both: both.list(jobs_json(*(sent(both.now, j) for j in jobs)))),
    st.integers(1, 3).map(lambda back: lambda both: both.list(both.bodies[-back:][0])),
    WAITS,
    WAITS,
    WAITS,
    JOBS.map(lambda j: lambda both: both.about(lambda history: history.details(both.now, sent(both.now, j)))),
    st.tuples(IDS, AGES).map(
        lambda it: lambda both: both.about(lambda history: history.events(both.now, it[0], job_start=both.now + it[1]))
    ),
    st.tuples(IDS, st.lists(AGES, max_size=2)).map(
        lambda it: (
            lambda both: both.about(
                lambda history: history.rows(both.now, *(both.now + age for age in it[1]), job_id=it[0])
            )
        )
    ),
    IDS.map(lambda job_id: lambda both: both.about(lambda history: history.fails(both.now, "metrics", job_id))),
    st.just(lambda both: both.about(lambda history: history.list_fails(both.now))),
    st.just(lambda both: both.happens(PollFailed(seconds(both.now), "overdue"))),
    st.builds(
        lambda **changes: lambda both: both.configure(replace(SETTINGS, **changes)),
        limit=st.integers(0, 5),
        details=st.booleans(),
        failure_window=st.sampled_from([60.0, 21_600.0, 200_000.0]),
        retention=st.sampled_from([60.0, 7 * 86_400.0]),
    ),
)


@settings(max_examples=400)
@given(st.lists(STEPS, min_size=3, max_size=12))
def test_what_is_kept_makes_no_difference(steps: list[Step]) -> None:
    both = Both()
    for step in steps:
        step(both)
        both.assert_same()
