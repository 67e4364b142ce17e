"""The bytes of a scrape: the samples of the collector, in every format, rendered once."""

import re
import subprocess
import zlib
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from exporter.exposition import Exposition
from exporter.metrics import PREFIX, ROWS, Collector
from exporter.state import Call, ListFailed, Store
from tests.support import NOW, job, list_answered, new_store, parse

OPENMETRICS = "application/openmetrics-text;version=1.0.0"
STALE = 601.0
VERDICTS = {"job_stuck", "job_failed"}


def show(store: Store, *jobs: Any, account: str = "default", at: float = NOW) -> None:
    """Publishes a list of these jobs."""
    store.publisher(account).apply(list_answered(*jobs, at=at))


def exposition(store: Store, at: float = NOW, exclude: str = "") -> Exposition:
    """An exposition whose clock stands still."""
    return Exposition(store, exclude=exclude, clock=lambda: at)


def families(text: str) -> dict[str, str]:
    """The lines of each family but those of the process, by its name."""
    blocks = re.split(r"^(?=# HELP )", text.removesuffix("# EOF\n"), flags=re.MULTILINE)
    return {block.split()[2]: block for block in blocks if block and not block.split()[2].startswith("process_")}


def by_collector(store: Store, accept: str = "", at: float = NOW) -> dict[str, str]:
    """The families as prometheus-client renders those of the collector."""
    registry = CollectorRegistry()
    registry.register(Collector(store, clock=lambda: at))
    text: bytes = (generate_openmetrics if accept else generate_latest)(registry)
    return families(text.decode())


def by_exposition(scrapes: Exposition, accept: str = "") -> dict[str, str]:
    """The families as the exposition renders them; they must be valid."""
    text = scrapes.page(accept).body.decode()
    if accept:
        list(parse_openmetrics(text))  # type: ignore[no-untyped-call]  # it has no annotations
    else:
        parse(text)
    return families(text)


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_the_exposition_is_what_prometheus_client_makes_of_the_collector(accept: str) -> None:
    store = new_store("a", "b")
    show(store, job("ft-1", model='"\\\n'), job("ft-2", "error"), job("ft-3", "queued", queue_depth=3), account="a")
    show(store, job("ft-1", total_price=1), account="b")
    assert by_exposition(exposition(store), accept) == by_collector(store, accept)


def test_formats_are_negotiated() -> None:
    store = new_store()
    show(store, job())
    page = exposition(store).page
    assert page("").content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert page("text/html").content_type == "text/plain; version=0.0.4; charset=utf-8"
    both = page(f"{OPENMETRICS},text/plain;q=0.5")
    assert both.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert page(OPENMETRICS).body.endswith(b"\n# EOF\n")
    assert b"# TYPE together_finetune_job info\n" in page(OPENMETRICS).body
    assert b"# TYPE together_finetune_job_info gauge\n" in page("").body
    assert b"# UNIT together_finetune_price_usd usd\n" in page(OPENMETRICS).body


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_a_compressed_scrape_is_one_gzip_stream_of_the_same_text(accept: str) -> None:
    store = new_store()
    show(store, *(job(f"ft-{i}") for i in range(50)))
    scrapes = exposition(store)
    for _ in range(2):
        page = scrapes.page(accept, gzip=True)
        assert page.content_encoding == "gzip"
        first_stream = zlib.decompressobj(wbits=31)
        plain = first_stream.decompress(page.body)
        assert (first_stream.eof, first_stream.unused_data) == (True, b"")
        assert plain.count(b"job_status{") == 50
        assert plain.startswith(scrapes.page(accept).body.split(b"process_")[0])


def test_a_scrape_after_a_change_shows_the_change_and_keeps_the_rest() -> None:
    store = new_store()
    scrapes = exposition(store)
    show(store, job("ft-same"), job("ft-other", "queued"), job("ft-gone"))
    scrapes.page()
    show(store, job("ft-same"), job("ft-other", "running"), job("ft-new"), at=NOW + 30)
    assert by_exposition(scrapes) == by_collector(store)


def test_a_verdict_that_changes_with_time_alone_is_shown() -> None:
    store = new_store()
    scrapes = exposition(store)
    for minutes, stuck in ((0, 0), (61, 1)):
        show(store, job("ft-1", "uploading", started_at="2026-09-21T14:13:20Z"), at=NOW + 60 * minutes)
        samples = parse(scrapes.page().body.decode())
        assert samples.get_one("job_stuck", account="default", job_id="ft-1", status="uploading") == stuck


def test_both_formats_follow_the_store_when_scraped_in_turn() -> None:
    store = new_store()
    scrapes = exposition(store)
    for status in ("queued", "running", "completed"):
        show(store, job("ft-1", status))
        for accept in ("", OPENMETRICS):
            assert by_exposition(scrapes, accept) == by_collector(store, accept)


def test_figures_of_polls_are_fresh_while_jobs_stay() -> None:
    store = new_store()
    show(store, job())
    store.publisher("default").apply(ListFailed(Call(NOW + 30, "list", "500", 0.1), 30.0))
    samples = parse(exposition(store).page().body.decode())
    assert samples.get_one("up", account="default") == 0
    assert samples.get_one("jobs", account="default", status="running") == 1
    assert "process_cpu_seconds_total" in samples.names()


def test_families_of_several_accounts_are_together() -> None:
    store = new_store("a", "b")
    for account in ("a", "b"):
        show(store, job("ft-1"), account=account)
    text = exposition(store).page().body.decode()
    for row in ROWS:
        assert text.count(f"# TYPE {row.name} ") <= 1


def test_one_account_can_be_scraped_alone() -> None:
    store = new_store("a", "b")
    for account in ("a", "b"):
        show(store, job("ft-1"), account=account)
    samples = parse(exposition(store).page(account="b").body.decode())
    assert {dict(labels).get("account") for _, labels in samples} == {"b"}
    with pytest.raises(KeyError):
        exposition(store).page(account="c")


def test_before_the_first_poll_there_are_only_the_exporter_itself_and_the_settings() -> None:
    assert set(by_exposition(exposition(new_store()))) == {
        PREFIX + "exporter_build_info",
        PREFIX + "exporter_config_last_reload_successful",
        PREFIX + "stuck_after_seconds",
        PREFIX + "failure_window_seconds",
        PREFIX + "failure_limit_ratio",
    }


def test_jobs_of_an_account_disappear_when_they_are_stale_and_verdicts_and_polls_do_not() -> None:
    store = new_store("stale", "fresh")
    jobs = [job("ft-1", "uploading"), job("ft-2", "error"), job("ft-3")]
    show(store, *jobs, account="stale")
    show(store, *jobs, account="fresh", at=NOW + STALE)
    scrapes = exposition(store, at=NOW + STALE)
    samples = parse(scrapes.page().body.decode())
    present = {
        account: {name.removeprefix(PREFIX) for name, labels in samples if dict(labels).get("account") == account}
        for account in ("stale", "fresh")
    }
    assert present["stale"] < present["fresh"]
    assert {name for name in present["stale"] if name.startswith("job_") and "duration" not in name} == VERDICTS
    assert {"up", "stuck_jobs", "failed_jobs", "unjudged_jobs", "jobs_finished_total"} <= present["stale"]
    assert present["stale"].isdisjoint({"jobs", "price_usd", "missing_jobs"})
    assert by_exposition(scrapes) == by_collector(store, at=NOW + STALE)


@pytest.mark.parametrize(
    ("exclude", "gone", "present"),
    [
        ("together_finetune_job_hyperparameter", "job_hyperparameter", "job_status"),
        ("together_finetune_job_.*", "job_status", "jobs"),
        ("together_finetune_tokens|together_finetune_up", "up", "jobs"),
        ("together_finetune_job", "nothing", "job_status"),
    ],
)
def test_excluded_metrics_are_not_served(exclude: str, gone: str, present: str) -> None:
    store = new_store()
    show(store, job(learning_rate=0.1, token_count=3))
    names = parse(exposition(store, exclude=exclude).page().body.decode()).names()
    assert gone not in names
    assert present in names


def test_the_collector_describes_every_family_so_that_a_registry_sees_duplicates() -> None:
    registry = CollectorRegistry()
    registry.register(Collector(new_store()))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(Collector(new_store()))


def test_promtool_has_no_complaint(promtool: str) -> None:
    store = new_store()
    show(store, job("ft-1", events=[{"type": "job_start"}]), job("ft-2", "error"), job("ft-3", "queued", queue_depth=3))
    page = exposition(store).page().body
    check = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, check=False)
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")
