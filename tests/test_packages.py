"""Which package may import which: from the API's bytes to the scrape's bytes in one direction."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import exporter

HERE = Path(exporter.__file__).parent

MAY_IMPORT = {
    "config": {"statuses"},
    "statuses": set(),
    "models": {"statuses"},
    "api": set(),
    "state": {"models", "statuses"},
    "poller": {"api", "models", "state"},
    "metrics": {"models", "state", "statuses"},
    "exposition": {"state", "metrics"},
    "web": {"state", "exposition", "statuses"},
    "simulator": set(),
}
WIRING = {"accounts", "log", "packaged", "redaction", "status"}
"""Modules next to `__main__`: like it, they may import everything, and no package imports them."""


def modules(path: Path) -> Iterator[str]:
    """The full names that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def packages() -> dict[str, list[Path]]:
    """The files of each package, whether it is a module or a folder."""
    found: dict[str, list[Path]] = {}
    for path in HERE.rglob("*.py"):
        if path.parent != HERE or path.stem not in ("__init__", "__main__"):
            found.setdefault(path.relative_to(HERE).parts[0].removesuffix(".py"), []).append(path)
    return found


def test_the_packages_are_those_of_the_design() -> None:
    assert packages().keys() == MAY_IMPORT.keys() | WIRING


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_what_it_may(package: str) -> None:
    names = {name for path in packages()[package] for name in modules(path)}
    ours = {name.split(".")[1] for name in names if name.startswith("exporter.")}
    assert ours - {package} <= MAY_IMPORT[package]


@pytest.mark.parametrize("package", ["statuses", "models", "state"])
def test_no_clock_no_network_and_no_randomness_below_the_poller(package: str) -> None:
    outside = {"time", "random", "secrets", "socket", "requests", "urllib", "urllib3", "http"}
    for path in packages()[package]:
        assert not {name.split(".")[0] for name in modules(path)} & outside
