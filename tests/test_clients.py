"""Real clients read a compressed scrape to its end: those that stop after the first member of a gzip file, too."""

import subprocess
from collections.abc import Iterator

import pytest

from exporter import web
from exporter.exposition import Exposition
from exporter.state import Store
from tests.browser import Browser
from tests.conftest import need
from tests.support import NOW, job, list_answered, new_store

JOBS = 3_000


@pytest.fixture
def url() -> Iterator[str]:
    """Where a page of several megabytes is served."""
    store: Store = new_store()
    store.publisher("default").apply(list_answered(*(job(f"ft-{i}", model=f"m/{i}") for i in range(JOBS))))
    links = web.Links("https://console.example/{id}", "")
    server = web.Server(
        "127.0.0.1:0", web.application(store, Exposition(store, clock=lambda: NOW), "/metrics", links=links)
    )
    yield f"http://127.0.0.1:{server.port}"
    server.stop()


def check(text: str) -> None:
    """The page has every job, and its end."""
    assert text.count("\ntogether_finetune_job_info{") == JOBS
    assert text.splitlines()[-1].startswith("process_")


def test_curl_reads_a_compressed_scrape(url: str) -> None:
    curl = need("curl", "curl")
    for flags in ((), ("--compressed",)):
        page = subprocess.run([curl, "--silent", "--fail", *flags, f"{url}/metrics"], capture_output=True, check=True)
        check(page.stdout.decode())


def test_chromium_reads_a_compressed_scrape(browser: Browser, url: str) -> None:
    browser.open(f"{url}/metrics")
    check(browser.run("return document.body.textContent"))
