"""A page is made of pieces: whatever changes between two scrapes, they are what prometheus-client would write, and what
did not change is neither written nor compressed again."""

import zlib
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.utils import floatToGoString

from exporter.exposition import Exposition
from exporter.metrics import number
from tests.metrics.test_exposition import OPENMETRICS, by_collector, by_exposition, exposition, show
from tests.support import job, new_store

STATUSES = ("queued", "running", "completed", "error", "made_up")
IDS = [f"ft-{i}" for i in range(30)] + ['ft-"\\\n', "ft-é"]
LISTS = st.lists(
    st.dictionaries(
        st.sampled_from(IDS),
        st.fixed_dictionaries(
            {"status": st.sampled_from(STATUSES)},
            optional={
                "model": st.sampled_from(["a/b", "ü", '"']),
                "total_steps": st.integers(1, 9),
                "steps_completed": st.integers(0, 9),
                "learning_rate": st.floats(0, 1),
                "from_checkpoint": st.sampled_from(["x", "\\"]),
            },
        ),
        max_size=len(IDS),
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    # Of about two jobs, so that few jobs fill many of them.
    monkeypatch.setattr("exporter.exposition.text._BLOCK", 1)


def many(count: int = 3_000, **changed: Any) -> list[dict[str, Any]]:
    """A long list, in which the job in the middle has these fields."""
    jobs = [job(f"ft-{i}", "running" if i % 3 else "completed", total_steps=9, steps_completed=1) for i in range(count)]
    return [*jobs[: count // 2], jobs[count // 2] | changed, *jobs[count // 2 + 1 :]]


def new_parts(scrapes: Exposition, before: list[bytes], **options: Any) -> list[bytes]:
    """The parts of a scrape that are not the very same bytes as in the one before; without those of the process."""
    known = set(map(id, before))
    return [part for part in scrapes.page(**options).parts[:-1] if id(part) not in known]


@pytest.mark.usefixtures("_small_blocks")
@given(LISTS)
def test_jobs_that_come_change_and_go_are_written_as_by_prometheus_client(
    lists: list[Mapping[str, Mapping[str, Any]]],
) -> None:
    store = new_store()
    scrapes = exposition(store)
    for jobs in lists:
        show(store, *(job(job_id, **fields) for job_id, fields in jobs.items()))
        for accept in ("", OPENMETRICS):
            assert by_exposition(scrapes, accept) == by_collector(store, accept)
            page, file = scrapes.page(accept), zlib.decompressobj(wbits=31)
            plain = file.decompress(scrapes.page(accept, gzip=True).body)
            assert (file.eof, file.unused_data) == (True, b"")
            assert plain.startswith(b"".join(page.parts[:-1]))


@given(st.floats() | st.integers(-(10**20), 10**20) | st.integers(10**5, 10**17).map(lambda n: n / 10))
@example(10**16 - 1)  # as a float it is 10**16
def test_a_number_is_written_as_by_prometheus_client(value: float) -> None:
    assert number(value) == floatToGoString(value)  # type: ignore[no-untyped-call]  # it has no annotations


def test_a_change_of_one_job_changes_the_parts_with_what_changed_of_it() -> None:
    store = new_store()
    scrapes = exposition(store)
    show(store, *many())
    before = list(scrapes.page().parts)
    show(store, *many(steps_completed=2))
    changed = new_parts(scrapes, before)
    of_jobs = [part for part in changed if b"job_id=" in part]
    assert {part.partition(b"{")[0].removeprefix(b"together_finetune_") for part in of_jobs} <= {
        b"job_steps_completed",
        b"job_progress_ratio",
        b"job_last_progress_timestamp_seconds",
        b"job_progress_deadline_timestamp_seconds",
    }
    assert b"job_steps_completed" in b"".join(of_jobs)
    assert sum(map(len, changed)) < sum(map(len, before)) / 20


def test_a_job_that_ends_or_begins_leaves_most_parts_as_they_are() -> None:
    store = new_store()
    scrapes = exposition(store)
    show(store, *many())
    before = list(scrapes.page().parts)
    show(store, *many(status="completed"), job("ft-new", "pending"))
    assert sum(map(len, new_parts(scrapes, before))) < sum(map(len, before)) * 0.6


def test_only_parts_that_changed_are_compressed_again() -> None:
    store = new_store()
    scrapes = exposition(store)
    show(store, *many())
    before = list(scrapes.page(gzip=True).parts)
    assert len(zlib.decompress(b"".join(before), wbits=31)) > 2**20
    show(store, *many(steps_completed=2))
    assert sum(map(len, new_parts(scrapes, before, gzip=True))) < sum(map(len, before)) / 10
    plain = zlib.decompress(scrapes.page(gzip=True).body, wbits=31)
    assert plain.startswith(b"".join(scrapes.page().parts[:-1]))


def test_both_formats_share_the_parts_with_samples_plain_and_compressed() -> None:
    store = new_store()
    scrapes = exposition(store)
    show(store, *many())
    for gzip in (False, True):
        before = list(scrapes.page(gzip=gzip).parts)
        new = new_parts(scrapes, before, accept=OPENMETRICS, gzip=gzip)
        assert sum(map(len, new)) < sum(map(len, before)) / 20


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["together_finetune_up"], {"together_finetune_up"}),
        (["together_finetune_up", "process_cpu_seconds_total"], {"together_finetune_up", "process_cpu_seconds_total"}),
        (["together_finetune_job_queue_duration_seconds_sum"], {"together_finetune_job_queue_duration_seconds_sum"}),
        (["together_finetune_job_queue_duration_seconds"], set()),
        (["unknown", ".*"], set()),
    ],
)
def test_samples_can_be_selected_by_name(accept: str, gzip: bool, names: list[str], found: set[str]) -> None:
    store = new_store()
    show(store, job("ft-1", model='together_finetune_up{} 1\ntogether_finetune_jobs{x="'))
    body = exposition(store).page(accept, gzip=gzip, names=names).body
    lines = (zlib.decompress(body, wbits=31) if gzip else body).decode().splitlines()
    assert {line.partition("{")[0].partition(" ")[0] for line in lines if line[0] != "#"} == found
    assert len([line for line in lines if line.startswith("# TYPE ")]) == len(found)
    assert lines[-1:] == ["# EOF"] if accept else lines[-1:] != ["# EOF"]


def test_an_account_can_be_selected_together_with_names() -> None:
    store = new_store("a", "b")
    for account in ("a", "b"):
        show(store, job(), account=account)
    body = exposition(store).page(account="b", names=["together_finetune_up"]).body
    assert body.splitlines()[2:] == [b'together_finetune_up{account="b"} 1.0']
