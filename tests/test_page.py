"""The landing page in a real browser, served by the real process."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.browser import TAB, Browser, browsing
from tests.conftest import need
from tests.programs import ExporterProcess, fetch, wait_for
from tests.support import Wire, http, job, jobs_json

T = TypeVar("T")

CELLS = """
return [...document.querySelectorAll("#jobs tbody tr")].filter((row) => !row.hidden)
    .map((row) => [...row.cells].map((cell) => cell.innerText.trim()));
"""
IDS = """
return [...document.querySelectorAll("#jobs tbody tr")].filter((row) => row.checkVisibility())
    .map((row) => row.querySelector(".id").textContent);
"""


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The browser of all tests here."""
    chromium, chromedriver = need("chromium", "chromium"), need("chromedriver", "chromium-driver")
    with browsing(chromium, chromedriver, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(session: Browser) -> Iterator[Browser]:
    """The same, looking at nothing and without disguise after the test."""
    yield session
    session.devtools("Emulation.clearDeviceMetricsOverride")
    session.devtools("Emulation.setEmulatedMedia")
    session.devtools("Emulation.setScriptExecutionDisabled", value=False)
    session.open("about:blank")


@contextmanager
def showing(browser: Browser, wire: Wire, *jobs: Any, flags: tuple[str, ...] = ()) -> Iterator[ExporterProcess]:
    """The page of an exporter whose API has these jobs, open in the browser."""
    wire.answer = http(jobs_json(*jobs))
    env = {"TOGETHER_API_KEY": "k", "TOGETHER_BASE_URL": wire.url}
    with ExporterProcess(
        "--poll.interval=1s", "--poll.idle-interval=1s", "--details.mode=off", *flags, **env
    ) as exporter:
        wait_until_polled(exporter)
        browser.open(exporter.url)
        if jobs:
            wait_for(lambda: text(browser, "#count"))
        yield exporter


def wait_until_polled(exporter: ExporterProcess) -> None:
    """Waits for the first poll of every account."""
    told = f"{exporter.url}/jobs.json"
    wait_for(lambda: all(account["up"] is not None for account in json.loads(fetch(told))["accounts"]))


def text(browser: Browser, selector: str) -> str:
    """The text of an element as it is to be seen, empty where it is hidden."""
    return str(browser.run("return document.querySelector(arguments[0]).innerText.trim()", selector))


def ids(browser: Browser) -> list[str]:
    """The jobs to be seen, in their order."""
    return list(browser.run(IDS))


def check(browser: Browser, status: str) -> None:
    """Clicks on a status of the filter."""
    browser.run("document.querySelector(`#statuses input[value=${arguments[0]}]`).click()", status)


def refreshed(browser: Browser, what: Callable[[], T]) -> T:
    """What is to be seen once the page was refreshed often enough, without the wait between."""

    def look() -> T:
        browser.run("refresh()")
        return what()

    return wait_for(look)


def since(**ago: float) -> str:
    """A time as the API writes it, so long ago."""
    return f"{datetime.now(UTC) - timedelta(**ago):%Y-%m-%dT%H:%M:%SZ}"


def test_jobs_are_shown_with_their_figures_those_at_work_first(browser: Browser, wire: Wire) -> None:
    running = job(
        "ft-run",
        model="Qwen/Qwen2.5-7B-Instruct",
        suffix="support",
        created_at=since(hours=3),
        started_at=since(hours=1),
        progress={"estimate_available": True, "seconds_remaining": 3 * 3600},
        n_epochs=4,
        epochs_completed=1,
        total_steps=200,
        steps_completed=75,
        total_price=12_345_000_000,
        wandb_url="https://wandb.ai/team/run?a=1&b=2",
    )
    queued = job("ft-queued", "queued", model="m", queue_depth=7, created_at=since(minutes=20))
    done = job("ft-done", "completed", created_at=since(days=5), updated_at=since(days=2))
    with showing(browser, wire, done, queued, running):
        assert ids(browser) == ["ft-run", "ft-queued", "ft-done"]
        first, second, third = browser.run(CELLS)
        assert first == [
            *("running", "Qwen/Qwen2.5-7B-Instruct\nft-run", "support", "37 %"),
            *("1 / 4", "in 2 h", "$12.35", "3 h", "run"),
        ]
        assert second == ["queued", "m\nft-queued", "", "place 7 in queue", "", "", "", "20 min", ""]
        assert third == ["completed", "unknown\nft-done", "", "", "", "2 d ago", "", "5 d", ""]
        assert browser.run("return document.querySelector('#jobs progress').value") == 0.375
        link = browser.run("const a = document.querySelector('.run a'); return [a.href, a.rel, a.target]")
        assert link == ["https://wandb.ai/team/run?a=1&b=2", "noopener noreferrer", "_blank"]
        assert text(browser, "#count") == "3 jobs"
        assert (
            browser.run("return [...document.querySelectorAll('#accounts tbody td')].map(e => e.innerText)[1]")
            == "good"
        )
        links = browser.run("return [...document.querySelectorAll('nav a')].map(a => a.getAttribute('href'))")
        assert links == ["/metrics", "/sd", "/-/healthy", "/-/ready"]
        assert text(browser, "#problems") == ""


def test_the_page_asks_the_exporter_alone_and_the_console_stays_silent(browser: Browser, wire: Wire) -> None:
    with showing(browser, wire, job("ft-1", wandb_url="https://wandb.ai/x")) as exporter:
        resources = "return performance.getEntriesByType('resource').map(entry => entry.name)"
        wait_for(lambda: browser.run(resources).count(f"{exporter.url}/jobs.json") >= 2)
        requested = [url for url in browser.requested() if not url.startswith("data:")]
        assert set(requested) == {exporter.url + path for path in ("/", "/page.css", "/page.js", "/jobs.json")}
        assert browser.console() == []


def test_the_filter_takes_text_and_statuses_together(browser: Browser, wire: Wire) -> None:
    jobs = [
        job("ft-1", model="Qwen/Qwen2.5-7B", suffix="support", created_at=since(minutes=1)),
        job("ft-2", model="meta-llama/Llama-3", suffix="support", created_at=since(minutes=2)),
        job("ft-3", "queued", model="Qwen/Qwen2.5-7B", created_at=since(minutes=3)),
        job("ft-4", "user_error", model="Qwen/Qwen2.5-72B", updated_at=since(hours=1)),
    ]
    with showing(browser, wire, *jobs):
        chips = "return [...document.querySelectorAll('.chip')].filter(e => !e.hidden).map(e => e.textContent)"
        assert browser.run(chips) == ["running 2", "queued 1", "user error 1"]
        browser.run("document.querySelector('#words').focus()")
        browser.type("qWeN")
        assert ids(browser) == ["ft-1", "ft-3", "ft-4"]
        assert text(browser, "#count") == "3 of 4 jobs"
        check(browser, "running")
        assert ids(browser) == ["ft-1"]
        check(browser, "queued")
        assert ids(browser) == ["ft-1", "ft-3"]
        browser.run("document.querySelector('#words').select()")
        browser.type("support qwen")
        assert ids(browser) == ["ft-1"]
        browser.type(" nothing")
        assert ids(browser) == []
        assert text(browser, "#empty") == "No job fits the filter."


def test_a_refresh_shows_what_changed_and_keeps_filter_focus_and_place(browser: Browser, wire: Wire) -> None:
    some = [job(f"ft-{i:03}", model="m", created_at=since(hours=1, minutes=i)) for i in range(100)]
    ours = job("ft-ours", model="m", n_epochs=4, epochs_completed=1, wandb_url="https://wandb.ai/x")
    with showing(browser, wire, *some, ours, job("ft-else", "queued"), job("ft-gone")):
        check(browser, "running")
        browser.run("document.querySelector('#words').focus()")
        browser.type("ft")
        browser.run("document.querySelector('.run a').focus(); scrollTo(0, 1500)")
        browser.run("window.row = document.querySelector('.run a').closest('tr')")
        place = browser.run("return scrollY")
        assert place == 1500
        assert {"ft-ours", "ft-gone"} < set(ids(browser))

        # It becomes the newest, and so comes first: its row moves.
        ours |= {"epochs_completed": 2, "created_at": since(minutes=1), "updated_at": since(minutes=1)}
        wire.answer = http(jobs_json(*some, ours, job("ft-else", "queued"), job("ft-new")))
        wait_for(lambda: "ft-new" in ids(browser))
        found = ids(browser)
        assert found[0] == "ft-ours"
        assert "ft-gone" not in found
        assert "ft-else" not in found
        assert text(browser, ".epochs") == "2 / 4"
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
                    touched.add(row.querySelector?.(".id")?.textContent ?? target.nodeName);
                }
            }).observe(document.querySelector("#jobs"), {
                subtree: true, childList: true, characterData: true, attributes: true,
            });
            """
        )
        jobs[2] |= {"n_epochs": 3, "updated_at": since(minutes=1)}
        wire.answer = http(jobs_json(*jobs))
        assert refreshed(browser, lambda: browser.run("return [...touched]")) == ["ft-2"]


def test_hostile_names_are_text_each_on_its_own(browser: Browser, wire: Wire) -> None:
    names = [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "\"'><b>quo\"te's",
        "\u202eright-to-left",
        "\u2067isolate",
        "&lt;not&nbsp;markup&gt;",
        "$version ${metrics}",
        "new\nline",
        "模型🦙",
        "__proto__",
        "x" * 1024,
    ]
    hostile = [
        job(f"ft-{i}-{name[:200]}", model=name, suffix=name, wandb_url=f"https://x/{name[:9]}")
        for i, name in enumerate(names)
    ]
    with showing(browser, wire, *hostile):
        models = browser.run("return [...document.querySelectorAll('#jobs bdi.model')].map(e => e.textContent)")
        suffixes = browser.run("return [...document.querySelectorAll('#jobs bdi.suffix')].map(e => e.textContent)")
        assert set(models) == set(suffixes) == set(names)
        assert set(ids(browser)) == {fields["id"] for fields in hostile}
        assert browser.run("return document.querySelectorAll('#jobs :is(script, img, b)').length") == 0
        bidi = "return [...document.querySelectorAll('#jobs bdi')].map(e => getComputedStyle(e).unicodeBidi)"
        assert set(browser.run(bidi)) == {"isolate"}
        assert browser.run("return document.documentElement.scrollWidth <= innerWidth")
        assert browser.console() == []


def test_only_an_address_of_the_web_is_a_link(browser: Browser, wire: Wire) -> None:
    bad = [
        "javascript:alert(1)",
        " JaVaScRiPt:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,x",
        "//x.y",
        "x",
        "ftp://x",
    ]
    jobs = [job(f"ft-{i}", wandb_url=url) for i, url in enumerate(bad)]
    with showing(browser, wire, *jobs, job("ft-http", wandb_url="http://x.y/z")):
        hrefs = browser.run("return [...document.querySelectorAll('#jobs a')].map(a => a.href)")
        assert hrefs == ["http://x.y/z"]
        assert browser.console() == []


@pytest.mark.parametrize("code", ["401 Unauthorized", "403 Forbidden"])
def test_a_refused_key_is_said_plainly(browser: Browser, wire: Wire, code: str) -> None:
    wire.answer = http("{}", code)
    with ExporterProcess(TOGETHER_API_KEY="k", TOGETHER_BASE_URL=wire.url) as exporter:
        wait_until_polled(exporter)
        browser.open(exporter.url)
        wait_for(lambda: text(browser, "#problems"))
        said = f"the last poll failed: the API refuses the key (HTTP {code[:3]}). There has been no good poll yet."
        assert text(browser, "#problems") == f"Account default: {said}"
        assert text(browser, "#empty") == "No jobs are known yet."


def test_stale_figures_are_said_to_be_so_and_stay(browser: Browser, wire: Wire) -> None:
    with showing(browser, wire, job("ft-1", model="m")):
        assert text(browser, "#problems") == ""
        wire.answer = http("{}", "503 Service Unavailable")
        said = refreshed(browser, lambda: text(browser, "#problems"))
        assert said.startswith("Account default: the last poll failed: HTTP 503. What is shown of it is from ")
        assert ids(browser) == ["ft-1"]
        wire.answer = http(jobs_json(job("ft-2")))
        refreshed(browser, lambda: text(browser, "#problems") == "")
        assert ids(browser) == ["ft-2"]


def test_a_poll_that_does_not_come_is_said_to_be_overdue(browser: Browser, wire: Wire) -> None:
    with showing(browser, wire, job("ft-1")):
        later = "ahead = arguments[0] * 1000; tick(); return document.querySelector('#problems').innerText"
        assert browser.run(later, 60) == ""
        assert browser.run(later, 600).startswith(
            "Account default: the next poll is overdue. What is shown of it is from "
        )


def test_an_exporter_that_is_gone_is_said_to_be_so(browser: Browser, wire: Wire) -> None:
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
        check(browser, "running")
        assert len(ids(browser)) == 500
        browser.run("document.querySelector('#words').focus()")
        browser.type("ft-0050")
        assert ids(browser) == ["ft-0050"]
        wire.answer = http(jobs_json(*jobs[:50], *jobs[51:], job("ft-0050", "running", model="other")))
        refreshed(browser, lambda: text(browser, "#jobs tbody tr:not([hidden]) .model") == "other")
        assert text(browser, "#count") == "1 of 5,000 jobs"


def test_the_keyboard_reaches_everything(browser: Browser, wire: Wire) -> None:
    with showing(browser, wire, job("ft-1", wandb_url="https://wandb.ai/x"), job("ft-2", "queued")):
        reached = []
        for _ in range(8):
            browser.type(TAB)
            reached.append(browser.run("const e = document.activeElement; return e.id || e.value || e.textContent"))
        links = ["Metrics", "Service discovery", "Health", "Readiness"]
        assert reached == [*links, "words", "running", "queued", "run"]
        browser.run("document.querySelector('#statuses input[value=queued]').focus()")
        browser.type(" ")
        assert ids(browser) == ["ft-2"]
        outline = "return getComputedStyle(document.activeElement.closest('.chip')).outlineStyle"
        assert browser.run(outline) == "solid"


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_sticks_out_of_any_screen(browser: Browser, wire: Wire, width: int) -> None:
    long = job("ft-" + "1" * 200, model="m" * 300, suffix="s" * 300, n_epochs=2**63 - 1, total_price=2**63 - 1)
    browser.devtools(
        "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600
    )
    with showing(browser, wire, long, job("ft-2", wandb_url="https://wandb.ai/x")):
        assert browser.run("return document.documentElement.scrollWidth") <= width


def test_several_accounts_are_told_apart(browser: Browser, wire: Wire, tmp_path: Path) -> None:
    config = tmp_path / "config.yml"
    config.write_text(
        "accounts:\n"
        "  - {name: '<b>one</b>', api_key_env: TOGETHER_API_KEY}\n"
        '  - {name: "\\u202etwo", api_key_env: TOGETHER_API_KEY}\n'
        f"  - {{name: {'x' * 128}, api_key_env: TOGETHER_API_KEY}}\n"
    )
    with showing(browser, wire, job("ft-1"), flags=(f"--config.file={config}",)):
        wait_for(lambda: text(browser, "#count") == "3 jobs")
        names = browser.run("return [...document.querySelectorAll('#jobs bdi.account')].map(e => e.innerText)")
        assert sorted(names) == ["<b>one</b>", "x" * 128, "\u202etwo"]
        rows = browser.run("return [...document.querySelectorAll('#accounts tbody bdi')].map(e => e.textContent)")
        assert rows == ["<b>one</b>", "\u202etwo", "x" * 128]
        browser.run("document.querySelector('#words').focus()")
        browser.type("two")
        assert text(browser, "#count") == "1 of 3 jobs"
        browser.devtools("Emulation.setDeviceMetricsOverride", width=320, height=600, deviceScaleFactor=1, mobile=True)
        assert browser.run("return document.documentElement.scrollWidth") <= 320


def test_accounts_and_links_are_there_without_a_script(browser: Browser, wire: Wire) -> None:
    wire.answer = http(jobs_json(job("ft-1")))
    with ExporterProcess(TOGETHER_API_KEY="k", TOGETHER_BASE_URL=wire.url) as exporter:
        wait_until_polled(exporter)
        browser.devtools("Emulation.setScriptExecutionDisabled", value=True)
        browser.open(exporter.url)
        shown = text(browser, "body")
        assert "The list of jobs needs JavaScript" in shown
        assert "default\tgood" in shown
        assert "Service discovery" in shown


def test_a_screen_reader_finds_tables_and_names(browser: Browser, wire: Wire) -> None:
    with showing(browser, wire, job("ft-1", n_epochs=4, epochs_completed=1)):
        nodes = browser.devtools("Accessibility.getFullAXTree")["nodes"]
        found = {
            (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]
        }
        assert {
            *{("heading", "Accounts"), ("heading", "Jobs"), ("columnheader", "Status"), ("cell", "running")},
            *{("searchbox", "Filter by text"), ("group", "Filter by status"), ("checkbox", "running 1")},
            *{("progressbar", "Progress"), ("link", "Metrics")},
        } <= found
        assert {"table", "row", "search", "navigation", "main", "status"} <= {role for role, _ in found}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(browser: Browser, wire: Wire, scheme: str) -> None:
    browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    with showing(browser, wire, job("ft-1")):
        wire.answer = http("{}", "401 Unauthorized")
        refreshed(browser, lambda: text(browser, "#problems"))
        colours = """
            const style = (selector) => getComputedStyle(document.querySelector(selector));
            const ground = style("body").backgroundColor;
            return [
                ...["body", "a", "th", "small", ".chip b"].map((selector) => [style(selector).color, ground]),
                [style("#problems p").color, style("#problems p").backgroundColor],
            ];
        """
        for ink, ground in browser.run(colours):
            assert contrast(ink, ground) >= 4.5  # what the WCAG ask for


def contrast(one: str, other: str) -> float:
    """The contrast of two colours `rgb(r, g, b)`, as the WCAG define it."""
    darker, lighter = sorted(map(luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def luminance(colour: str) -> float:
    """The relative luminance of a colour `rgb(r, g, b)`."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
