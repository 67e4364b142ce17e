"""Takes docs/screenshot.png, the page of the demo: `python -m docs.screenshot`, with Debian's packages chromium
and chromium-driver."""

import shutil
import sys
import tempfile
from pathlib import Path

from tests.browser import browsing, text
from tests.programs import ExporterProcess, fetch, wait_for

TARGET = Path(__file__).with_name("screenshot.png")


def main() -> int:
    """Starts the demo, looks at it, writes the picture; `--dark`, `--width=` and `--height=` show it otherwise."""
    options = dict(argument.removeprefix("--").partition("=")[::2] for argument in sys.argv[1:])
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or chromedriver is None:
        print("chromium or chromedriver is missing: apt-get install chromium chromium-driver", file=sys.stderr)
        return 1
    with (
        tempfile.TemporaryDirectory() as folder,
        ExporterProcess("--demo", "--simulator.speed=1", "--alerts.budget-usd-per-month=5000") as exporter,
        browsing(chromium, chromedriver, Path(folder)) as browser,
    ):
        wait_for(lambda: fetch(f"{exporter.url}/jobs.json").count('"progress"') > 20)  # the details have arrived
        width, height = int(options.get("width", 1280)), int(options.get("height", 800))
        scheme = {"name": "prefers-color-scheme", "value": "dark" if "dark" in options else "light"}
        browser.devtools("Emulation.setEmulatedMedia", features=[scheme])
        browser.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        browser.open(exporter.url)
        wait_for(lambda: text(browser, "#count"))
        Path(options.get("to", TARGET)).write_bytes(browser.screenshot())
    return 0


if __name__ == "__main__":
    sys.exit(main())
