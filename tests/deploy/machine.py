"""Machines within this one, for programs whose configuration has fixed addresses and paths."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import pytest

from tests.conftest import need
from tests.programs import Program

_AS_ROOT = () if os.geteuid() == 0 else ("--map-root-user",)


class Network:
    """A network of named machines for as long as the `with`: each has an address of its own on a loopback interface of
    their own, and an `/etc` of its own (Linux namespaces; no root needed)."""

    def __init__(self, folder: Path, hosts: Iterable[str]) -> None:
        need("ip", "iproute2")
        self._folder = folder
        addresses = {"localhost": "127.0.0.1"} | {host: f"127.0.0.{2 + n}" for n, host in enumerate(hosts)}
        self._hosts = "".join(f"{address} {host}\n" for host, address in addresses.items())
        overlay = self._etc("probe", {})
        probe = ["unshare", "--mount", "--net", *_AS_ROOT, "sh", "-c", overlay]
        if subprocess.run(probe, capture_output=True, check=False).returncode:
            pytest.skip(
                "namespaces and overlay mounts are not allowed: run as root (in a container with CAP_SYS_ADMIN)"
            )
        up = "ip link set lo up && echo ready && exec sleep infinity"
        self._holder = Program("unshare", "--net", "--fork", "--kill-child", *_AS_ROOT, "sh", "-c", up)
        self._holder.line("ready")
        [child] = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        as_owner = ("--user", "--preserve-credentials") if _AS_ROOT else ()
        self._enter = ("nsenter", f"--target={child}", "--net", *as_owner)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._holder.__exit__()

    def _etc(self, name: str, files: Mapping[str, Path]) -> str:
        """The command that puts copies of `files`, and the network's names, over `/etc`."""
        upper, work = self._folder / name / "etc", self._folder / name / "work"
        work.mkdir(parents=True)
        for place, source in files.items():
            target = upper / Path(place).relative_to("/etc")
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
        upper.mkdir(exist_ok=True)
        (upper / "hosts").write_text(self._hosts)
        return f"mount -t overlay overlay -o lowerdir=/etc,upperdir={upper},workdir={work} /etc"

    def start(self, name: str, *command: str, files: Mapping[str, Path] | None = None, **env: str) -> Program:
        """Starts a program in an empty folder on a machine; `files` are where it looks for them, below `/etc`."""
        folder = self._folder / name
        etc = self._etc(name, files or {})
        script = f"{etc} && cd {folder} && exec {shlex.join(command)}"
        return Program(*self._enter, "unshare", "--mount", "sh", "-c", script, env=env)

    def fetch(self, url: str) -> str:
        """The body of a page there; empty where nobody answers."""
        code = f"import urllib.request; print(urllib.request.urlopen({url!r}, timeout=30).read().decode())"
        etc = f"mount --bind {self._folder}/probe/etc/hosts /etc/hosts"
        script = f"{etc} && exec {shlex.join([sys.executable, '-c', code])}"
        command = [*self._enter, "unshare", "--mount", "sh", "-c", script]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
