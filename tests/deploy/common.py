"""What the tests of the deployments share."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / ".tools"


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """What a program prints; fails where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def go_tool(name: str) -> str:
    """The path of a program that `make tools` builds; where it is missing the test is skipped, in CI with Go fails."""
    path = shutil.which(name, path=f"{TOOLS}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        message = f"{name} is missing: make tools (needs Go 1.26)"
        if os.environ.get("CI") and TOOLS.exists():
            pytest.fail(message)
        pytest.skip(message)
    return path
