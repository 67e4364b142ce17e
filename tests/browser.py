"""A real browser: Debian's Chromium without a window, told by chromedriver what to do (W3C WebDriver over HTTP)."""

import base64
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.programs import Program

TAB = "\ue004"
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
        with urllib.request.urlopen(request, timeout=60) as answer:
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
