"""Build hook: puts the commit that a package is built from into the package, as `exporter/revision`."""

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILE = "exporter/revision"


class RevisionHook(BuildHookInterface[Any]):
    """Takes the revision from SOURCE_REVISION, where a build has no repository (the image), else from git. A source
    distribution brings the file along."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable" or Path(self.root, FILE).exists():
            return
        self._folder = tempfile.TemporaryDirectory()
        file = Path(self._folder.name, "revision")
        file.write_text(f"{os.environ.get('SOURCE_REVISION') or _commit(self.root)}\n")
        build_data["force_include"][str(file)] = FILE


def _commit(folder: str) -> str:
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(describe, cwd=folder, check=True, capture_output=True, text=True)  # noqa: S603 - fixed
        return done.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
