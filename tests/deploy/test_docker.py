"""The image. No engine builds it here: the tests follow the Dockerfile's own instructions in an empty folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter import __version__
from tests.deploy.common import ROOT, run
from tests.programs import Program, fetch, wait_for

DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
IGNORED = ROOT / "deploy/docker/Dockerfile.dockerignore"
LOCK = ROOT / "deploy/docker/requirements.txt"
REVISION = "0123456789abcdef0123456789abcdef01234567"


Instruction = tuple[str, str]


def stages() -> list[list[Instruction]]:
    """The instructions of each stage: name and arguments."""
    lines = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    instructions = [(name, arguments) for name, _, arguments in (line.partition(" ") for line in lines) if name]
    starts = [number for number, (name, _) in enumerate(instructions) if name == "FROM"]
    ends = [*starts[1:], len(instructions)]
    return [instructions[start:end] for start, end in zip(starts, ends, strict=True)]


def in_context(path: str) -> bool:
    """Whether a file of the repository is sent to the builder: the last pattern for it or a folder of it decides."""
    kept = True
    for line in IGNORED.read_text().splitlines():
        pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
        if not line.startswith("#") and re.fullmatch(f"{pattern}(/.*)?", path):
            kept = line.startswith("!")
    return kept


def repository() -> list[str]:
    """The files of the repository."""
    return run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()


@dataclass(frozen=True)
class Image:
    """A folder in which the first stage ran."""

    root: Path

    def inside(self, text: str) -> str:
        """The same text with the image's paths where they are here."""
        return re.sub(r"(?<![\w.-])/(src|venv|dist)\b", rf"{self.root}/\1", text)

    @property
    def entrypoint(self) -> str:
        """The command of the image."""
        [command] = json.loads(self.inside(dict(stages()[-1])["ENTRYPOINT"]))
        return str(command)


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    python = "/usr/bin/python3" if Path("/usr/bin/python3.11").exists() else sys.executable
    with tempfile.TemporaryDirectory() as folder:  # not pytest's own, which only its owner can enter
        image = Image(Path(folder))
        image.root.chmod(0o755)
        context = image.root / "context"
        for file in filter(in_context, repository()):
            (context / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, context / file)
        run(python, "-m", "venv", image.root / "base")
        env = {"PATH": f"{image.root}/base/bin:/usr/bin:/bin", "HOME": folder, "REVISION": REVISION}
        env |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        workdir = image.root
        for name, arguments in stages()[0]:
            if name == "WORKDIR":
                workdir = Path(image.inside(arguments))
                workdir.mkdir()
            elif name == "COPY":
                source, target = arguments.split()
                shutil.copytree(context / source, workdir / target, dirs_exist_ok=True)
            elif name == "RUN":
                command = ["sh", "-c", image.inside(arguments)]
                done = subprocess.run(command, cwd=workdir, env=env, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stdout + done.stderr
        yield image


def test_a_build_gets_what_it_reads_and_nothing_else() -> None:
    kept = set(filter(in_context, repository()))
    assert {"pyproject.toml", "exporter/__main__.py", "docs/runbooks/TogetherFinetuneJobFailed.md"} <= kept
    secrets = ("research.key", ".env", "deploy/compose/.env", "exporter/__pycache__/x.pyc", ".git/config", "tests/x.py")
    assert [path for path in secrets if in_context(path)] == []


def test_what_the_first_stage_builds_runs_with_its_version_and_revision(image: Image) -> None:
    assert f"version {__version__} (revision {REVISION}," in run(image.entrypoint, "--version")


def test_what_is_copied_to_the_image_has_no_build_tools(image: Image) -> None:
    [packages] = (image.root / "venv/lib").glob("python3*/site-packages")
    found = {folder.name.partition("-")[0] for folder in packages.glob("*.dist-info")}
    assert "together_finetune_exporter" in found
    assert not found & {"build", "hatchling", "packaging", "pip", "setuptools", "wheel"}


def test_it_serves_as_a_user_without_rights_on_a_read_only_file_system(image: Image) -> None:
    drop = "setpriv --reuid=65532 --regid=65532 --clear-groups" if os.geteuid() == 0 else ""
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    read_only = "mount -o remount,bind,ro / && ! touch /read-only"
    if subprocess.run(
        ["unshare", *user, "--mount", "sh", "-c", read_only], check=False, capture_output=True
    ).returncode:
        pytest.skip("mount namespaces are not allowed: run as root (in a container with CAP_SYS_ADMIN)")
    serve = f"{read_only} && exec {drop} {image.entrypoint} --demo --web.listen-address=127.0.0.1:0"
    with Program("unshare", *user, "--mount", "sh", "-c", serve) as exporter:
        port = exporter.logged("msg=listening", "port")
        wait_for(lambda: "\ntogether_finetune_jobs{" in fetch(f"http://127.0.0.1:{port}/metrics"))


def test_the_image_runs_as_a_numbered_user_and_names_where_it_comes_from() -> None:
    final = stages()[-1]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", dict(final)["USER"])
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="([^"]+)"', dict(final)["LABEL"]))
    assert labels.keys() >= {"title", "description", "licenses", "source", "revision", "version"}
    [command] = [arguments for name, arguments in final if name == "RUN"]
    assert command.startswith("pip uninstall --yes pip ")
    assert not re.search(r"(?<!un)install", command)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_locked_dependency_has_a_wheel_for_both_architectures(machine: str, tmp_path: Path) -> None:
    version = re.findall(r"^ARG PYTHON=([\d.]+)", DOCKERFILE.read_text(), re.MULTILINE)[0]
    platforms = [f"--platform=manylinux{glibc}_{machine}" for glibc in ("2014", "_2_28")]
    download = (sys.executable, "-m", "pip", "download", "--quiet", f"--dest={tmp_path}", f"--python-version={version}")
    run(*download, *platforms, "--only-binary=:all:", "--require-hashes", "--no-deps", f"--requirement={LOCK}")
    assert any(machine in wheel.name for wheel in tmp_path.iterdir())
