"""A real browser, Debian's Chromium without a window, driven through chromedriver (W3C WebDriver over HTTP); and the
page in it, served by the real process."""

import base64
import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from tests.programs import ExporterProcess, Program, fetch, wait_for
from tests.support import Wire, http, job, jobs_json

T = TypeVar("T")

_IDS = """
return [...document.querySelectorAll("#jobs tbody tr")].filter((row) => row.checkVisibility())
    .map((row) => new URL(row.querySelector("a").href).searchParams.get("id"));
"""

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1280,800"
).split()


class Browser:
    """A session of chromedriver at `url`."""

    def __init__(self, url: str, chromium: str, profile: Path) -> None:
        options = {
            "browserName": "chrome",
            "goog:chromeOptions": {"binary": chromium, "args": [*_FLAGS, f"--user-data-dir={profile}"]},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        self._session = f"{url}/session"
        session = self._call("POST", "", {"capabilities": {"alwaysMatch": options}})
        self._session += f"/{session['sessionId']}"

    def close(self) -> None:
        """Ends the browser."""
        self._call("DELETE", "")

    def open(self, url: str) -> None:
        """Goes to a page, and forgets what the log had before."""
        self._call("POST", "/url", {"url": "about:blank"})
        self.console()
        self.requested()
        self._call("POST", "/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """What the body of a function, `script`, returns in the page."""
        return self._call("POST", "/execute/sync", {"script": script, "args": arguments})

    def type(self, *keys: str) -> None:
        """Presses keys, wherever the focus is."""
        actions = [{"type": kind, "value": key} for key in "".join(keys) for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def devtools(self, command: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def screenshot(self) -> bytes:
        """What is in sight, as PNG."""
        return base64.b64decode(self._call("GET", "/screenshot"))

    def console(self) -> list[str]:
        """What the console had to say since it was last asked: errors, warnings, violations of the policy."""
        return [entry["message"] for entry in self._log("browser")]

    def requested(self) -> list[str]:
        """The addresses that pages asked for since this was last asked."""
        events = (json.loads(entry["message"])["message"] for entry in self._log("performance"))
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def _log(self, name: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self._call("POST", "/se/log", {"type": name})
        return entries

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            self._session + path, data, {"Content-Type": "application/json"}, method=method
        )
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)["value"]


@contextmanager
def browsing(chromium: str, chromedriver: str, profile: Path) -> Iterator[Browser]:
    """A browser with a profile of its own, ended with the `with`."""
    with Program(chromedriver, "--port=0") as driver:
        line = driver.line("started successfully on port")
        browser = Browser(f"http://127.0.0.1:{line.split()[-1].rstrip('.')}", chromium, profile)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def serving(wire: Wire, *jobs: Any, flags: tuple[str, ...] = ()) -> Iterator[ExporterProcess]:
    """An exporter whose API has these jobs, once it has polled."""
    wire.answer = http(jobs_json(*jobs))
    env = {"TOGETHER_API_KEY": "k", "TOGETHER_BASE_URL": wire.url}
    intervals = ("--poll.interval=1s", "--poll.idle-interval=1s")
    with ExporterProcess(*intervals, "--details.mode=off", *flags, **env) as exporter:
        wait_for(lambda: all(account["up"] is not None for account in fetch_jobs(exporter)["accounts"]))
        yield exporter


@contextmanager
def showing(browser: Browser, wire: Wire, *jobs: Any, flags: tuple[str, ...] = ()) -> Iterator[ExporterProcess]:
    """The page of all jobs, open in the browser."""
    with serving(wire, *jobs, flags=flags) as exporter:
        browser.open(exporter.url)
        wait_for(lambda: text(browser, "#fold") not in ("", "Accounts"))
        yield exporter


@contextmanager
def showing_job(browser: Browser, wire: Wire, fields: Any, flags: tuple[str, ...] = ()) -> Iterator[ExporterProcess]:
    """The page of one job, open in the browser."""
    with serving(wire, fields, flags=flags) as exporter:
        browser.open(f"{exporter.url}/job?{urlencode({'account': 'default', 'id': fields['id']})}")
        wait_for(lambda: text(browser, "#title"))
        yield exporter


def fetch_jobs(exporter: ExporterProcess) -> dict[str, Any]:
    """The JSON behind the page."""
    found: dict[str, Any] = json.loads(fetch(f"{exporter.url}/jobs.json"))
    return found


def text(browser: Browser, selector: str) -> str:
    """The text of an element as it can be seen, empty where it is hidden or not there yet."""
    return str(browser.run("return document.querySelector(arguments[0])?.innerText.trim() ?? ''", selector))


def texts(browser: Browser, selector: str) -> list[str]:
    """The text of each element that can be seen."""
    script = """
        return [...document.querySelectorAll(arguments[0])].filter((e) => e.checkVisibility()).map((e) => e.innerText)
    """
    return list(browser.run(script, selector))


def refreshed(browser: Browser, what: Callable[[], T]) -> T:
    """The first true value of `what` while the page is refreshed again and again."""

    def look() -> T:
        browser.run("refresh()")
        return what()

    return wait_for(look)


def since(**ago: float) -> str:
    """A time as the API writes it, so long ago."""
    return f"{datetime.now(UTC) - timedelta(**ago):%Y-%m-%dT%H:%M:%SZ}"


def ids(browser: Browser) -> list[str]:
    """The jobs that can be seen, in their order."""
    return list(browser.run(_IDS))


def press(browser: Browser, group: str) -> None:
    """Clicks on a tile."""
    browser.run("document.querySelector(`#tiles [data-group=${arguments[0]}]`).click()", group)


def resize(browser: Browser, width: int, height: int = 800) -> None:
    """Makes the screen as large, that of a phone if it is narrow."""
    browser.devtools(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
    )


def stuck() -> dict[str, Any]:
    """A queued job of which the list, which has all fields, said nothing new for long."""
    events = [{"type": "JOB_PENDING", "created_at": since(days=5)}]
    whole = {"events": events, "epochs_completed": 0, "queue_depth": None, "param_count": 1}
    return job("ft-stuck", "pending", created_at=since(days=5), **whole)


def width_of(browser: Browser) -> int:
    """The width of the page, with what sticks out of the screen."""
    return int(browser.run("return document.documentElement.scrollWidth"))
