"""Fixtures of all tests."""

import os
import shutil
from collections.abc import Iterator

import hypothesis
import pytest

from tests.browser import Browser, browsing
from tests.support import Harness, Wire

_ON_A_BUSY_MACHINE = [hypothesis.HealthCheck.too_slow]  # examples take long, and nothing is wrong
hypothesis.settings.register_profile(
    "default", derandomize=True, deadline=None, max_examples=60, suppress_health_check=_ON_A_BUSY_MACHINE
)
hypothesis.settings.register_profile(
    "fuzz",
    max_examples=5_000,
    deadline=None,
    suppress_health_check=_ON_A_BUSY_MACHINE,
    print_blob=True,
    database=hypothesis.database.DirectoryBasedExampleDatabase(".hypothesis/examples"),
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


_STARTERS = ("Program", "ExporterProcess", "Prometheus", "Browser", "subprocess", "play", "need", "run")
_LONGEST = (
    "test_scenarios",
    "test_scale",
    "test_dashboards",
    "test_fleets",
    "test_systemd",
    "test_docker",
    "test_helm",
)
"""The modules with the longest tests and fixtures: they come first, so that no worker is left with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests in modules that import what starts a program, and puts the longest first."""
    for item in items:
        module = getattr(item, "module", None)
        if item.get_closest_marker("alone") or any(hasattr(module, name) for name in _STARTERS):
            item.add_marker("program")
    items.sort(key=lambda item: (*_LONGEST, item.path.stem).index(item.path.stem))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TOGETHER_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_connection_left_open() -> Iterator[None]:
    yield
    while Harness.opened:
        Harness.opened.pop().client.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    """An API that answers as the test tells it to."""
    with Wire() as wire:
        yield wire


def need(program: str, package: str) -> str:
    """The path of a program; where it is missing the test is skipped, in CI it fails."""
    path = shutil.which(program)
    if path is None:
        message = f"{program} is missing: apt-get install {package}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture
def prometheus() -> str:
    """The path of Prometheus."""
    return need("prometheus", "prometheus")


@pytest.fixture
def promtool() -> str:
    """The path of promtool."""
    return need("promtool", "prometheus")


@pytest.fixture(scope="session")
def browser_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """The browser of all tests."""
    chromium, chromedriver = need("chromium", "chromium"), need("chromedriver", "chromium-driver")
    with browsing(chromium, chromedriver, tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(browser_session: Browser) -> Iterator[Browser]:
    """The same, as new: after the test it shows nothing and emulates nothing."""
    yield browser_session
    browser_session.devtools("Emulation.clearDeviceMetricsOverride")
    browser_session.devtools("Emulation.setEmulatedMedia")
    browser_session.devtools("Emulation.setScriptExecutionDisabled", value=False)
    browser_session.open("about:blank")
