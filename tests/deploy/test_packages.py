"""Wheel and source distribution, as users install them; the version, the revision and the locked dependencies."""

import email
import os
import re
import shutil
import sys
import tarfile
import tomllib
import zipfile
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from exporter import __version__
from exporter.packaged import SOURCES, revision, write_files
from tests.deploy.common import ROOT, run

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNTIME_LOCK = ROOT / "deploy/docker/requirements.txt"
CI_LOCK = ROOT / ".ci/requirements.txt"


def pythons() -> dict[str, str]:
    """The installed Pythons that are supported, those of pyenv too: name and path."""
    names = [f"python3.{minor}" for minor in range(11, 20)]
    pyenv = sorted(str(folder) for folder in Path.home().glob(".pyenv/versions/*/bin"))
    path = os.pathsep.join([*pyenv, os.environ["PATH"]])
    return {name: found for name in names if (found := shutil.which(name, path=path))}


@dataclass(frozen=True)
class Built:
    """What `python -m build` made."""

    wheel: Path
    sdist: Path

    def wheel_files(self) -> set[str]:
        """The paths in the wheel."""
        return set(zipfile.ZipFile(self.wheel).namelist())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT)  # the wheel is made from the source distribution
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist)


def test_the_wheel_has_rules_runbooks_and_dashboards(built: Built) -> None:
    sources = [ROOT / path for paths in SOURCES.values() for path in paths]
    files = [file for path in sources for file in (path.rglob("*.*") if path.is_dir() else [path])]
    assert {f"exporter/files/{file.relative_to(ROOT)}" for file in files} <= built.wheel_files()


def test_the_source_distribution_has_what_its_own_tests_need(built: Built) -> None:
    with tarfile.open(built.sdist) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "tests/conftest.py", "deploy/packages/revision.py", "LICENSE", "docs/metrics.md"} <= found


def test_every_link_of_the_long_description_is_absolute(built: Built) -> None:
    [name] = [name for name in built.wheel_files() if name.endswith("METADATA")]
    metadata = email.message_from_bytes(zipfile.ZipFile(built.wheel).read(name))
    description = str(metadata.get_payload())
    links = re.findall(r"\]\(([^)]+)\)", description)
    assert len(links) > 20
    assert [link for link in links if not link.startswith(("https://", "http://", "#"))] == []
    assert {url.split(",")[0] for url in metadata.get_all("Project-URL", [])} >= {"Homepage", "Issues", "Changelog"}


@pytest.mark.parametrize("python", pythons())
def test_the_package_installs_and_runs_in_a_clean_environment(python: str, built: Built, tmp_path: Path) -> None:
    package = built.sdist if python == "python3.11" else built.wheel
    run(pythons()[python], "-m", "venv", tmp_path / "venv")
    pip = (tmp_path / "venv/bin/python", "-m", "pip", "install", "--quiet", "--no-compile")
    run(*pip, "--require-hashes", "--requirement", RUNTIME_LOCK)
    run(*pip, "--no-deps", package)
    run(tmp_path / "venv/bin/python", "-m", "pip", "check")
    command = tmp_path / "venv/bin/together-finetune-exporter"
    commit = run("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*").strip()
    assert f"version {__version__} (revision {commit}," in run(command, "--version", cwd=tmp_path)
    assert "\ntogether_finetune_up" in run(command, "--demo", "--once", cwd=tmp_path)
    for kind in SOURCES:
        run(command, kind, "out", cwd=tmp_path)
    assert (tmp_path / "out/rules.yml").read_text() == (ROOT / "deploy/prometheus/rules.yml").read_text()
    assert names(tmp_path / "out/runbooks") == names(ROOT / "docs/runbooks")
    assert names(tmp_path / "out/dashboards") == names(ROOT / "grafana/dashboards")


def names(folder: Path) -> set[str]:
    """The names of the files in a folder."""
    return {file.name for file in folder.iterdir()}


def test_packaged_files_are_written_over_older_ones(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text("old")
    (tmp_path / "mine.yml").write_text("mine")
    assert write_files("rules", tmp_path) == [tmp_path / "rules.yml", tmp_path / "runbooks"]
    assert yaml.safe_load((tmp_path / "rules.yml").read_text())["groups"]
    assert (tmp_path / "mine.yml").read_text() == "mine"


def test_a_checkout_has_no_revision() -> None:
    assert revision() == "unknown"


@pytest.mark.parametrize("lock", [RUNTIME_LOCK, CI_LOCK], ids=["runtime", "ci"])
def test_the_locked_dependencies_are_those_of_the_project(lock: Path) -> None:
    extras = PROJECT["optional-dependencies"] if lock is CI_LOCK else {}
    wanted = [Requirement(line) for line in chain(PROJECT["dependencies"], *extras.values())]
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", lock.read_text(), re.MULTILINE))
    for requirement in wanted:
        assert requirement.name.lower() in pinned, f"{requirement} is not locked: make lock"
        assert requirement.specifier.contains(pinned[requirement.name.lower()]), f"{requirement}: make lock"


def test_image_and_ci_use_the_same_versions() -> None:
    runtime = set(re.findall(r"^[\w.-]+==\S+", RUNTIME_LOCK.read_text(), re.MULTILINE))
    assert runtime <= set(re.findall(r"^[\w.-]+==\S+", CI_LOCK.read_text(), re.MULTILINE))
