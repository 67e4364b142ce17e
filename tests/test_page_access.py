"""The page of all jobs for everyone: small screens, keyboards, screen readers, no script, contrast."""

import pytest

from tests.browser import Browser, ids, refreshed, resize, serving, showing, since, stuck, text, width_of
from tests.support import Wire, http, job

TAB = "\ue004"


def test_the_keyboard_reaches_everything(browser: Browser, wire: Wire) -> None:
    with showing(browser, wire, job("ft-1"), job("ft-2", "queued")):
        reached = []
        for _ in range(20):
            browser.type(TAB)
            reached.append(
                browser.run(
                    "const e = document.activeElement; return e.dataset.group || e.id || e.value || e.textContent"
                )
            )
        columns = ["name", "status", "model", "progress", "end", "price", "age"]
        links = ["Metrics", "Service discovery", "Health", "Readiness"]
        tiles = ["stuck", "failed", "running", "waiting", "month"]
        assert reached[:19] == [*tiles, "fold", "words", *columns, "ft-1", "ft-2", *links][:19]
        browser.run("document.querySelector('[data-group=waiting]').focus()")
        browser.type(" ")
        assert ids(browser) == ["ft-2"]
        assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_sticks_out_of_any_screen(browser: Browser, wire: Wire, width: int) -> None:
    long = job("ft-" + "1" * 200, model="m" * 256, suffix="s" * 256, n_epochs=2**63 - 1, total_price=2**63 - 1)
    resize(browser, width)
    with showing(browser, wire, long, stuck()):
        assert width_of(browser) <= width


def test_on_a_phone_the_first_job_is_in_sight(browser: Browser, wire: Wire) -> None:
    resize(browser, 390, 660)  # what a browser's own bars leave of a small phone
    with showing(browser, wire, stuck(), flags=("--alerts.budget-usd-per-month=100",)):
        assert browser.run("return document.querySelector('#jobs tbody tr').getBoundingClientRect().bottom") < 660


def test_on_a_phone_no_word_of_an_account_is_broken(browser: Browser, wire: Wire) -> None:
    resize(browser, 390)
    costly = job("ft-1", total_price=1_234_567_890_000_000, created_at=since())
    with showing(browser, wire, costly, flags=("--alerts.budget-usd-per-month=100",)):
        lines = """
            const range = document.createRange();
            return [...document.querySelectorAll("#accounts td")].map((cell) => {
                range.selectNodeContents(cell.querySelector("bdi") ?? cell);
                return new Set([...range.getClientRects()].map((line) => line.top)).size;
            });
        """
        found = browser.run(lines)
        assert found[:4] == [1, 1, 1, 1]
        assert found[4] <= 2  # "$1,234,567.89 of $100.00"


def test_accounts_and_links_are_there_without_a_script(browser: Browser, wire: Wire) -> None:
    with serving(wire, job("ft-1")) as exporter:
        browser.devtools("Emulation.setScriptExecutionDisabled", value=True)
        browser.open(exporter.url)
        shown = text(browser, "body")
        assert "The list of jobs needs JavaScript" in shown
        assert "default\tsuccessful" in shown
        assert "Service discovery" in shown


def test_a_screen_reader_finds_tables_and_names(browser: Browser, wire: Wire) -> None:
    with showing(browser, wire, job("ft-1", n_epochs=4, epochs_completed=1)):
        nodes = browser.devtools("Accessibility.getFullAXTree")["nodes"]
        found = {
            (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]
        }
        assert {
            *{
                ("heading", "Together fine-tuning jobs"),
                ("table", "Jobs"),
                ("columnheader", "Status"),
                ("link", "ft-1"),
            },
            *{("searchbox", "Filter by text"), ("group", "Filter by what matters"), ("button", "1 running")},
            *{("progressbar", "Progress"), ("link", "Metrics")},
        } <= found
        assert {"table", "row", "search", "navigation", "main", "status"} <= {role for role, _ in found}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_background(browser: Browser, wire: Wire, scheme: str) -> None:
    browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    with showing(browser, wire, stuck()):
        wire.answer = http("{}", "401 Unauthorized")
        refreshed(browser, lambda: text(browser, "#problems"))
        colours = """
            const style = (selector) => getComputedStyle(document.querySelector(selector));
            const ground = style("body").backgroundColor;
            return [
                ...["body", "a", "th", "small", "#tiles .none span"].map((selector) => [style(selector).color, ground]),
                ...["#problems p", ".badge", "[data-group=stuck]"].map(
                    (selector) => [style(selector).color, style(selector).backgroundColor]),
                [style("[data-group=stuck] b").color, style("[data-group=stuck]").backgroundColor],
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
