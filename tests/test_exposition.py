"""The bytes of a scrape: the same figures as the collector's, in every format, rendered once."""

import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from exporter.exposition import Exposition
from exporter.metrics import ROWS, Collector
from exporter.models import STATUSES
from exporter.snapshot import AccountState, Board, Call, Polls, Terms
from tests.support import NOW, Samples, job, jobs_json, new_board, parse, snapshot

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


def show(board: Board, *jobs: Any, account: str = "default") -> None:
    polls = Polls(up=True, last=NOW, rejected={"id": 1}).counting(Call("list", "200", 0.3))
    before = board.read().accounts[account].snapshot
    board.publish(account, AccountState(polls=polls, snapshot=snapshot(jobs_json(*jobs), before)))


def exposition(board: Board) -> Exposition:
    return Exposition(board, clock=lambda: NOW)


def without_process(samples: Samples) -> Samples:
    return Samples({series: value for series, value in samples.items() if not series[0].startswith("process_")})


def by_collector(board: Board) -> Samples:
    registry = CollectorRegistry()
    registry.register(Collector(board, clock=lambda: NOW))
    return parse(generate_latest(registry).decode())


texts = st.text(max_size=30)
counts = st.integers(0, 2**63 - 1)
numbers = st.floats(allow_nan=False, allow_infinity=False)
maybe_jobs = st.fixed_dictionaries(
    {"status": st.sampled_from(STATUSES) | texts},
    optional={
        "model": texts,
        "suffix": texts,
        "training_file": texts,
        "token_count": counts,
        "total_price": counts,
        "queue_depth": counts,
        "n_epochs": counts,
        "epochs_completed": counts,
        "learning_rate": numbers,
        "weight_decay": numbers,
        "train_on_inputs": st.sampled_from([True, False, "auto", None]),
        "started_at": st.datetimes().map(lambda time: time.isoformat() + "Z"),
        "progress": st.fixed_dictionaries({"estimate_available": st.booleans(), "seconds_remaining": numbers}),
        "events": st.lists(st.fixed_dictionaries({"type": texts, "level": texts})),
    },
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(min_size=1, max_size=30), maybe_jobs, max_size=4))
def test_the_collector_and_the_exposition_agree_in_both_formats(jobs: dict[str, dict[str, Any]]) -> None:
    board = new_board()
    show(board, *({**fields, "id": job_id} for job_id, fields in jobs.items()))
    expected = by_collector(board)
    text = exposition(board).page().body.decode()
    assert without_process(parse(text)) == expected
    text = exposition(board).page(OPENMETRICS).body.decode()
    families = parse_openmetrics(text)  # type: ignore[no-untyped-call]  # it has no annotations
    openmetrics = Samples({(s.name, frozenset(s.labels.items())): s.value for f in families for s in f.samples})
    assert without_process(openmetrics) == expected


def test_formats_are_negotiated() -> None:
    board = new_board()
    show(board, job())
    page = exposition(board).page
    assert page("").content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert page("text/html").content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert page(f"{OPENMETRICS},text/plain;q=0.5").content_type.startswith(
        "application/openmetrics-text; version=1.0.0"
    )
    assert page(OPENMETRICS).body.endswith(b"\n# EOF\n")
    assert b"# TYPE together_finetune_job info\n" in page(OPENMETRICS).body
    assert b"# TYPE together_finetune_job_info gauge\n" in page("").body
    assert b"# UNIT together_finetune_price_usd usd\n" in page(OPENMETRICS).body


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_a_compressed_scrape_is_one_gzip_stream_of_the_same_text(accept: str) -> None:
    board = new_board()
    show(board, *(job(f"ft-{i}") for i in range(50)))
    scrapes = exposition(board)
    for _ in range(2):
        page = scrapes.page(accept, gzip=True)
        assert page.content_encoding == "gzip"
        first_stream = zlib.decompressobj(wbits=31)
        plain = first_stream.decompress(page.body)
        assert (first_stream.eof, first_stream.unused_data) == (True, b"")
        assert plain.count(b"job_status{") == 50
        assert plain.startswith(scrapes.page(accept).body.split(b"process_")[0])


def test_what_did_not_change_is_not_rendered_again() -> None:
    board = new_board()
    show(board, job("ft-same"), job("ft-other", "queued"))
    before = board.read().accounts["default"].snapshot
    show(board, job("ft-same"), job("ft-other", "running"))
    after = board.read().accounts["default"].snapshot
    assert before is not None
    assert after is not None
    assert after.jobs["ft-same"] is before.jobs["ft-same"]
    assert after.jobs["ft-other"] is not before.jobs["ft-other"]


def test_a_scrape_after_a_change_shows_the_change_and_keeps_the_rest() -> None:
    board = new_board()
    scrapes = exposition(board)
    show(board, job("ft-same"), job("ft-other", "queued"), job("ft-gone"))
    scrapes.page()
    show(board, job("ft-same"), job("ft-other", "running"), job("ft-new"))
    assert without_process(parse(scrapes.page().body.decode())) == by_collector(board)


def test_both_formats_follow_the_board_when_scraped_in_turn() -> None:
    board = new_board()
    scrapes = exposition(board)
    for status in ("queued", "running", "completed"):
        show(board, job("ft-1", status))
        for accept in ("", OPENMETRICS):
            assert f'job_status{{account="default",job_id="ft-1",status="{status}"}} 1' in (
                scrapes.page(accept).body.decode()
            )


def test_own_figures_are_fresh_at_every_scrape_while_the_snapshot_stays() -> None:
    board = new_board()
    show(board, job())
    scrapes = exposition(board)
    scrapes.page()
    state = board.read().accounts["default"]
    board.publish("default", AccountState(polls=Polls(up=False), snapshot=state.snapshot))
    samples = parse(scrapes.page().body.decode())
    assert samples.get_one("up", account="default") == 0
    assert samples.get_one("jobs", account="default", status="running") == 1
    assert "process_cpu_seconds_total" in samples.names()


def test_families_of_several_accounts_stand_together() -> None:
    board = new_board("a", "b")
    show(board, job("ft-1"), account="a")
    show(board, job("ft-1"), account="b")
    text = exposition(board).page().body.decode()
    for row in ROWS:
        assert text.count(f"# TYPE {row.name} ") <= 1
    assert without_process(parse(text)) == by_collector(board)


def test_before_the_first_poll_there_are_only_the_exporter_itself_and_the_settings() -> None:
    samples = without_process(parse(exposition(new_board()).page().body.decode()))
    assert samples.names() == {
        "exporter_build_info",
        "exporter_config_last_reload_successful",
        "stuck_after_seconds",
        "failure_window_seconds",
        "failure_limit_ratio",
    }


def test_a_poll_that_ends_after_a_reload_does_not_bring_the_old_terms_back() -> None:
    board = new_board("a")
    polled = board.read().accounts["a"]
    board.arrange({"a": Terms(budget_usd=7)})
    board.publish("a", polled)
    samples = parse(exposition(board).page().body.decode())
    assert samples.get_one("budget_usd", account="a") == 7


def test_a_poll_that_ends_after_its_account_was_removed_does_not_bring_it_back() -> None:
    board = new_board("a", "b")
    polled = board.read().accounts["a"]
    board.arrange({"b": Terms()})
    board.publish("a", polled)
    assert list(board.read().accounts) == ["b"]
