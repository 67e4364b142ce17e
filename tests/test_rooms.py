"""Who may import whom: the way from the API's bytes to the scrape's bytes goes in one direction."""

import ast
from pathlib import Path

import pytest

import exporter

HERE = Path(exporter.__file__).parent

MAY_IMPORT = {
    "config": {"statuses"},
    "statuses": set(),
    "models": {"statuses"},
    "api": set(),
    "snapshot": {"models", "statuses"},
    "poller": {"api", "models", "snapshot"},
    "metrics": {"models", "snapshot", "statuses"},
    "exposition": {"snapshot", "metrics"},
    "web": {"snapshot", "exposition", "statuses"},
    "simulator": set(),
}


def imports(path: Path) -> set[str]:
    """The modules of ours that a file imports, without the package's name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [f"{'exporter.' if node.level else ''}{node.module or ''}"]
        found |= {name.split(".")[1] for name in names if name.startswith("exporter.")}
        if "exporter" in names and isinstance(node, ast.ImportFrom):
            found |= {alias.name for alias in node.names}
    return found


def rooms() -> dict[str, list[Path]]:
    """The files of each room, be it a module or a folder."""
    found: dict[str, list[Path]] = {}
    for path in HERE.rglob("*.py"):
        if path.parent != HERE or path.stem not in ("__init__", "__main__"):
            found.setdefault(path.relative_to(HERE).parts[0].removesuffix(".py"), []).append(path)
    return found


def test_the_rooms_are_those_of_the_design() -> None:
    assert rooms().keys() == MAY_IMPORT.keys()


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_it_may(room: str) -> None:
    assert set().union(*map(imports, rooms()[room])) - {room} <= MAY_IMPORT[room]


@pytest.mark.parametrize("room", ["statuses", "models", "snapshot"])
def test_no_clock_no_network_no_chance_below_the_poller(room: str) -> None:
    outside = {"time", "random", "secrets", "socket", "requests", "urllib", "urllib3", "http"}
    for path in rooms()[room]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not {name.split(".")[0] for name in names} & outside
