"""The files that come with the exporter: alert rules with their runbooks, dashboards, and the revision it was built
from.

A wheel has them in `files/`, by the same paths as the repository.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

_HERE = Path(__file__).parent
_ROOT = _HERE / "files" if (_HERE / "files").is_dir() else _HERE.parent

SOURCES: Mapping[str, Sequence[str]] = {
    "rules": ("deploy/prometheus/rules.yml", "docs/runbooks"),
    "dashboards": ("grafana/dashboards",),
}
"""What each subcommand writes: files and folders, which keep their last name."""


def write_files(kind: str, folder: Path) -> list[Path]:
    """Writes the files of a key of `SOURCES` into `folder`, over older ones, and returns what it wrote: a path for each
    file or folder. Raises `OSError`."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for source in (_ROOT / path for path in SOURCES[kind]):
        target = folder / source.name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copyfile(source, target)
        written.append(target)
    return written


def revision() -> str:
    """The commit that the installed package was built from; `unknown` in a checkout."""
    file = _HERE / "revision"
    return file.read_text().strip() if file.exists() else "unknown"
