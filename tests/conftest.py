"""Fixtures of all tests."""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.support import Wire, World


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("TOGETHER_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_connection_left_open() -> Iterator[None]:
    yield
    while World.opened:
        World.opened.pop().client.close()


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
