"""The page of all jobs in a real browser, served by the real process."""

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Browser, ids, press, refreshed, resize, serving, showing, since, stuck, text, texts, width_of
from tests.programs import ExporterProcess, wait_for
from tests.support import Wire, http, job, jobs_json

CELLS = """
return [...document.querySelectorAll("#jobs tbody tr")].filter((row) => !row.hidden)
    .map((row) => [...row.cells].map((cell) => cell.innerText.trim()));
"""


def search(browser: Browser, words: str) -> None:
    """Types words into the filter in place of those that it has."""
    browser.run("document.querySelector('#words').select()")
    browser.type(words)


def running(job_id: str = "ft-run", **fields: Any) -> dict[str, Any]:
    """A running job that will end in two hours."""
    estimate = {"estimate_available": True, "seconds_remaining": 3 * 3600}
    times = {"created_at": since(hours=3), "started_at": since(hours=1), "progress": estimate}
    return job(job_id, **{**times, **fields})


def test_jobs_are_shown_with_their_values(browser: Browser, wire: Wire) -> None:
    at_work = running(
        model="Qwen/Qwen2.5-7B-Instruct",
        suffix="support",
        total_steps=200,
        steps_completed=75,
        total_price=1_234_567_000_000,
    )
    queued = job("ft-queued", "queued", model="m", queue_depth=1234, created_at=since(hours=20))
    done = job("ft-done", "completed", created_at=since(days=5), updated_at=since(days=2))
    with showing(browser, wire, done, queued, at_work):
        assert ids(browser) == ["ft-run", "ft-queued", "ft-done"]
        first, second, third = browser.run(CELLS)
        assert first == [
            *("support\nft-run", "running", "Qwen/Qwen2.5-7B-Instruct"),
            *("37%", "in 2 h", "$1,234.57", "3 h"),
        ]
        assert second == ["ft-queued", "queued", "m", "1,234 in queue", "", "", "20 h"]
        assert third == ["ft-done", "completed", "unknown", "", "2 d ago", "", "5 d"]
        assert browser.run("return document.querySelector('#jobs progress').value") == 0.375
        assert text(browser, "#count") == "3 jobs"
        assert text(browser, "#problems") == ""


def test_what_needs_attention_comes_first_and_is_counted_in_tiles_and_title(browser: Browser, wire: Wire) -> None:
    jobs = [
        running("ft-fine"),
        job("ft-queued", "queued", created_at=since(minutes=20)),
        running("ft-late", started_at=since(hours=5)),
        job("ft-failed", "user_error", created_at=since(days=90), updated_at=since(hours=3)),
        stuck(),
    ]
    with showing(browser, wire, *jobs):
        assert ids(browser) == ["ft-stuck", "ft-failed", "ft-late", "ft-fine", "ft-queued"]
        assert texts(browser, ".badge") == ["no progress for 5 d", "failed 3 h ago", "overdue 2 h"]
        counts = ["1\nstuck", "1\nfailed recently", "2\nrunning", "2\nwaiting"]
        assert texts(browser, "#tiles button")[:4] == counts
        assert browser.run("return document.title") == "1 stuck · 1 failed · Together fine-tuning"


def test_tiles_are_filters(browser: Browser, wire: Wire) -> None:
    jobs = [
        running(),
        job("ft-queued", "queued", created_at=since(days=40)),
        job("ft-failed", "error", created_at=since(days=50), updated_at=since(hours=1)),
    ]
    with showing(browser, wire, *jobs):
        for group, expected in {"failed": "ft-failed", "running": "ft-run", "waiting": "ft-queued"}.items():
            press(browser, group)
            assert ids(browser) == [expected]
            assert text(browser, "#count") == "1 of 3 jobs"
            press(browser, group)
        press(browser, "failed")
        press(browser, "waiting")
        assert ids(browser) == ["ft-failed", "ft-queued"]
        press(browser, "failed")
        press(browser, "waiting")
        press(browser, "month")
        assert {"ft-queued", "ft-failed"}.isdisjoint(ids(browser))


def test_the_budget_is_shown_and_crossing_it_is_a_problem(browser: Browser, wire: Wire) -> None:
    def spend(dollars: int) -> None:  # on a job that is always new, and so of this month when the next one begins
        wire.answer = lambda connection: connection.sendall(
            http(jobs_json(job(total_price=dollars * 10**9, created_at=since())))
        )

    with showing(browser, wire, flags=("--alerts.budget-usd-per-month=100",)):
        spend(80)
        expected = "$80.00\nof $100.00 this month"
        refreshed(browser, lambda: text(browser, "[data-group=month]") == expected)
        assert browser.run("return document.querySelector('#meter').value") == 0.8
        spend(1200)
        said = refreshed(browser, lambda: text(browser, "#problems"))
        assert said == "Account default: $1,200.00 of $100.00 spent this month: over budget."


def test_the_filter_finds_words_in_names_models_and_statuses(browser: Browser, wire: Wire) -> None:
    jobs = [
        job("ft-1", model="Qwen/Qwen2.5-7B", suffix="support", created_at=since(minutes=1)),
        job("ft-2", model="meta-llama/Llama-3", suffix="support", created_at=since(minutes=2)),
        job("ft-3", "queued", model="Qwen/Qwen2.5-7B", created_at=since(minutes=3)),
        job("ft-4", "user_error", model="Qwen/Qwen2.5-72B", updated_at=since(days=3)),
    ]
    with showing(browser, wire, *jobs):
        search(browser, "qWeN")
        assert ids(browser) == ["ft-1", "ft-3", "ft-4"]
        assert text(browser, "#count") == "3 of 4 jobs"
        press(browser, "running")
        assert ids(browser) == ["ft-1"]
        press(browser, "running")
        search(browser, "support qwen")
        assert ids(browser) == ["ft-1"]
        search(browser, "user error")
        assert ids(browser) == ["ft-4"]
        search(browser, "nothing")
        assert ids(browser) == []
        assert text(browser, "#empty") == "No job matches the filter."


def test_columns_sort_up_and_down_and_then_by_attention_again(browser: Browser, wire: Wire) -> None:
    jobs = [
        job("ft-1", suffix="b", total_price=3e9, created_at=since(hours=1)),
        job("ft-2", suffix="C", created_at=since(hours=2)),
        job("ft-3", suffix="a", total_price=20e9, created_at=since(hours=3)),
    ]
    with showing(browser, wire, *jobs):
        click = "document.querySelector(`#jobs button[value=${arguments[0]}]`).click()"
        state = "return document.querySelector('#jobs button[value=price]').parentElement.ariaSort"
        browser.run(click, "price")
        assert (ids(browser), browser.run(state)) == (["ft-1", "ft-3", "ft-2"], "ascending")
        browser.run(click, "price")
        assert (ids(browser), browser.run(state)) == (["ft-3", "ft-1", "ft-2"], "descending")
        browser.run(click, "price")
        assert (ids(browser), browser.run(state)) == (["ft-1", "ft-2", "ft-3"], "none")
        browser.run(click, "name")
        assert ids(browser) == ["ft-3", "ft-1", "ft-2"]
        browser.run(click, "age")
        assert ids(browser) == ["ft-1", "ft-2", "ft-3"]


def test_accounts_fold_into_a_line_while_all_is_well(browser: Browser, wire: Wire) -> None:
    with showing(browser, wire, job()):
        assert text(browser, "#fold").startswith("1 account, polled ")
        assert texts(browser, "#accounts") == []
        wire.answer = http("{}", "503 Service Unavailable")
        refreshed(browser, lambda: texts(browser, "#accounts"))
        assert "failed: HTTP 503" in text(browser, "#accounts")
        wire.answer = http(jobs_json(job()))
        refreshed(browser, lambda: not texts(browser, "#accounts"))


def test_the_page_asks_the_exporter_alone_and_the_console_stays_silent(browser: Browser, wire: Wire) -> None:
    with showing(browser, wire, job("ft-1", wandb_url="https://wandb.ai/x")) as exporter:
        resources = "return performance.getEntriesByType('resource').map(entry => entry.name)"
        refreshed(browser, lambda: browser.run(resources).count(f"{exporter.url}/jobs.json") >= 2)
        requested = [url for url in browser.requested() if not url.startswith("data:")]
        files = ("/", "/page.css", "/common.js", "/jobs.js", "/jobs.json")
        assert set(requested) == {exporter.url + path for path in files}
        assert browser.console() == []


@contextmanager
def proxying(url: str, prefix: str) -> Iterator[str]:
    """The address of a proxy that serves `url` under a prefix and nothing else, as an ingress does."""

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(prefix):
                self.send_error(404)
                return
            with urllib.request.urlopen(f"{url}/{self.path.removeprefix(prefix)}", timeout=60) as answer:
                body = answer.read()
                self.send_response(answer.status)
                for name in ("Content-Type", "Content-Length", "Content-Security-Policy"):
                    if value := answer.headers[name]:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}{prefix}"
        finally:
            server.shutdown()


def test_all_of_it_works_behind_the_prefix_of_an_ingress(browser: Browser, wire: Wire) -> None:
    with serving(wire, running(suffix="support")) as exporter, proxying(exporter.url, "/a/b/") as address:
        browser.open(address)
        wait_for(lambda: texts(browser, ".title") == ["support"])
        links = browser.run("return [...document.querySelectorAll('nav a')].map(a => a.href)")
        assert links == [f"{address}{path}" for path in ("metrics", "sd", "-/healthy", "-/ready")]
        browser.run("document.querySelector('#jobs a').click()")
        wait_for(lambda: text(browser, "#title") == "support")
        browser.run("document.querySelector('nav a').click()")
        wait_for(lambda: texts(browser, ".title") == ["support"])
        assert browser.run("return location.href") == address
        assert browser.console() == []


def test_a_refresh_shows_what_changed_and_keeps_filter_focus_and_place(browser: Browser, wire: Wire) -> None:
    some = [job(f"ft-{i:03}", model="m", created_at=since(hours=1, minutes=i)) for i in range(100)]
    ours = job("ft-ours", model="m", n_epochs=4, epochs_completed=1, created_at=since(hours=8))
    with showing(browser, wire, *some, ours, job("ft-else", "queued"), job("ft-gone")):
        press(browser, "running")
        search(browser, "ft")
        browser.run("window.row = document.querySelector('a[href$=ft-ours]').closest('tr')")
        browser.run("row.querySelector('a').focus(); scrollTo(0, 1500)")
        place = browser.run("return scrollY")
        assert place == 1500
        assert {"ft-ours", "ft-gone"} < set(ids(browser))

        # It becomes the newest, and so comes first: its row moves.
        ours |= {"epochs_completed": 2, "created_at": since(minutes=1), "updated_at": since(minutes=1)}
        wire.answer = http(jobs_json(*some, ours, job("ft-else", "queued"), job("ft-new")))
        refreshed(browser, lambda: "ft-new" in ids(browser))
        found = ids(browser)
        assert found[0] == "ft-ours"
        assert "ft-else" not in found
        assert text(browser, ".done") == "50%"
        assert browser.run("return document.querySelector('#words').value") == "ft"
        assert browser.run("return document.activeElement.closest('tr') === row && row.isConnected")
        assert abs(browser.run("return scrollY") - place) < 200  # what is in sight stays in sight, rows above it or not


def test_what_did_not_change_is_not_touched(browser: Browser, wire: Wire) -> None:
    jobs = [job(f"ft-{i}", model="m", created_at=since(days=3, minutes=i)) for i in range(5)]
    with showing(browser, wire, *jobs):
        browser.run(
            """
            window.touched = new Set();
            new MutationObserver((records) => {
                for (const { target } of records) {
                    const row = target.parentElement?.closest("tr") ?? target;
                    touched.add(row.querySelector?.(".title")?.textContent ?? target.nodeName);
                }
            }).observe(document.querySelector("#jobs"), {
                subtree: true, childList: true, characterData: true, attributes: true,
            });
            """
        )
        jobs[2] |= {"total_price": 3, "updated_at": since(minutes=1)}
        wire.answer = http(jobs_json(*jobs))
        assert refreshed(browser, lambda: browser.run("return [...touched]")) == ["ft-2"]


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"'><b>quo\"te's",
    "\u202eright-to-left",
    "\u2069\u202eout of the isolate",
    "\u2067isolate",
    "&lt;not&nbsp;markup&gt;",
    "$version ${metrics} {}",
    "new\nline",
    "模型🦙",
    "__proto__",
    "a/b?c=d&e=f#g%41",
    "x" * 256,
]


def test_hostile_names_are_text_each_on_its_own(browser: Browser, wire: Wire) -> None:
    hostile = [
        job(f"ft-{i}-{name}"[:256], model=name, suffix=name, updated_at=since()) for i, name in enumerate(HOSTILE)
    ]
    with showing(browser, wire, *hostile):
        for part in ("title", "model"):
            names = browser.run(
                "return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", f"bdi.{part}"
            )
            assert set(names) == set(HOSTILE)
        assert set(ids(browser)) == {fields["id"] for fields in hostile}
        assert browser.run("return document.querySelectorAll('#jobs :is(script, img, b)').length") == 0
        # A name in a block of its own cannot change the direction of anything else, whatever controls it has.
        displays = "return [...document.querySelectorAll('#jobs bdi')].map(e => getComputedStyle(e).display)"
        assert set(browser.run(displays)) == {"block"}
        titles = browser.run("return [...document.querySelectorAll('[title]')].map(e => e.title).join('')")
        assert not set("\u202e\u2067\u2069") & set(titles)
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
        assert browser.console() == []


@pytest.mark.parametrize("code", ["401 Unauthorized", "403 Forbidden"])
def test_a_refused_key_is_named(browser: Browser, wire: Wire, code: str) -> None:
    wire.answer = http("{}", code)
    with ExporterProcess(TOGETHER_API_KEY="k", TOGETHER_BASE_URL=wire.url) as exporter:
        browser.open(exporter.url)
        said = f"the last poll failed: the API refuses the key (HTTP {code[:3]}). No poll was successful yet."
        refreshed(browser, lambda: text(browser, "#problems") == f"Account default: {said}")
        assert text(browser, "#empty") == "No jobs are known yet."


def test_stale_jobs_are_marked_as_such_and_stay(browser: Browser, wire: Wire) -> None:
    with showing(browser, wire, job("ft-1", model="m")):
        assert text(browser, "#problems") == ""
        wire.answer = http("{}", "503 Service Unavailable")
        said = refreshed(browser, lambda: text(browser, "#problems"))
        assert said.startswith("Account default: the last poll failed: HTTP 503. Its jobs are shown as of ")
        assert ids(browser) == ["ft-1"]
        wire.answer = http(jobs_json(job("ft-1"), job("ft-2")))
        refreshed(browser, lambda: text(browser, "#problems") == "")
        assert set(ids(browser)) == {"ft-1", "ft-2"}


def test_a_poll_that_does_not_come_is_overdue(browser: Browser, wire: Wire) -> None:
    with showing(browser, wire, job("ft-1")):
        later = "ahead = arguments[0] * 1000; tick(); return document.querySelector('#problems').innerText"
        wait_for(lambda: browser.run(later, 60) == "")
        expected = "Account default: the next poll is overdue. Its jobs are shown as of "
        wait_for(lambda: browser.run(later, 600).startswith(expected))


def test_an_exporter_that_is_gone_is_reported(browser: Browser, wire: Wire) -> None:
    with showing(browser, wire, job("ft-1")):
        pass
    said = refreshed(browser, lambda: text(browser, "#problems"))
    assert said.startswith("The exporter has not answered since ")
    assert ids(browser) == ["ft-1"]


def test_five_thousand_jobs_are_all_there_and_filtered(browser: Browser, wire: Wire) -> None:
    jobs = [job(f"ft-{i:04}", "running" if i % 10 == 0 else "queued", model=f"model-{i % 7}") for i in range(5000)]
    with showing(browser, wire, *jobs):
        assert text(browser, "#count") == "5,000 jobs"
        assert len(ids(browser)) == 5000
        press(browser, "running")
        assert len(ids(browser)) == 500
        search(browser, "ft-0050")
        assert ids(browser) == ["ft-0050"]
        wire.answer = http(jobs_json(*jobs[:50], *jobs[51:], job("ft-0050", "running", model="other")))
        refreshed(browser, lambda: text(browser, "#jobs tbody tr:not([hidden]) .model") == "other")
        assert text(browser, "#count") == "1 of 5,000 jobs"


def test_several_accounts_are_distinguished(browser: Browser, wire: Wire, tmp_path: Path) -> None:
    names = ["<b>one</b>", "two", "x" * 128]
    config = tmp_path / "config.yml"
    entries = (f"  - {{name: {name!r}, api_key_env: TOGETHER_API_KEY}}\n" for name in names)
    config.write_text(f"accounts:\n{''.join(entries)}")
    with showing(browser, wire, job("ft-1"), flags=(f"--config.file={config}",)):
        wait_for(lambda: text(browser, "#count") == "3 jobs")
        assert sorted(texts(browser, "#jobs bdi.account")) == names
        assert browser.run("return [...document.querySelectorAll('#accounts bdi')].map(e => e.textContent)") == names
        search(browser, "two")
        assert text(browser, "#count") == "1 of 3 jobs"
        resize(browser, 320)
        assert width_of(browser) <= 320
