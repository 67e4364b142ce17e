"""Programs that tests start: the exporter as its own process, Prometheus, Alertmanager."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlencode

T = TypeVar("T")


def wait_for(what: Callable[[], T], seconds: float = 180.0) -> T:
    """The first true value of `what`; fails if there is none for so long, which a busy machine may need."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g}s in vain, last: {found!r}")
        time.sleep(0.05)
    return found


def fetch(url: str, **headers: str) -> str:
    """The body of a page."""
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.read().decode())


def free_port() -> int:
    """A port on loopback that nobody listens on now; another program may take it first, so prefer port 0."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


class Program:
    """A process whose output is kept; ended at the end of the `with`."""

    def __init__(self, *command: str, env: dict[str, str] | None = None, cwd: Path | None = None) -> None:
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(env or {})},
            cwd=cwd,
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)  # what it started itself, too
        self.end()

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    def signal(self, number: int) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def end(self, seconds: float = 180.0) -> int:
        """Waits for the end and returns the exit code."""
        code = self._process.wait(seconds)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code

    def line(self, words: str, seconds: float = 180.0) -> str:
        """The first line of output with these words, once it is there."""

        def find() -> str | None:
            ended = self._process.poll() is not None
            if ended:
                self._reader.join(60)  # what it started itself may still write
            found = next((line for line in self.lines if words in line), None)
            if ended and found is None:
                raise AssertionError(f"it ended with {self._process.poll()}:\n{''.join(self.lines)}")
            return found

        return str(wait_for(find, seconds))

    def logged(self, words: str, name: str, seconds: float = 180.0) -> str:
        """The value of `name=value` in the first line with these words, once it is there."""
        return str(re.findall(rf" {name}=(\S+)", self.line(words, seconds))[0])


class ExporterProcess(Program):
    """The exporter, listening on a free port of loopback."""

    def __init__(self, *flags: str, **env: str) -> None:
        super().__init__(sys.executable, "-m", "exporter", "--web.listen-address=127.0.0.1:0", *flags, env=env)

    @property
    def url(self) -> str:
        """Where it serves, once it does."""
        return f"http://127.0.0.1:{self.logged('msg=listening', 'port')}"


class Prometheus(Program):
    """A real Prometheus with the configuration in `config`, its data in `folder`."""

    def __init__(self, program: str, config: Path, folder: Path, *flags: str) -> None:
        files = (f"--config.file={config}", f"--storage.tsdb.path={folder}")
        super().__init__(program, *files, "--web.listen-address=127.0.0.1:0", *flags)
        self.url = f"http://{self.logged('Listening on', 'address')}"
        self.line("Server is ready to receive web requests")

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The instant vector of an expression: labels and values."""
        answer: dict[str, Any] = json.loads(fetch(f"{self.url}/api/v1/query?{urlencode({'query': expression})}"))
        return [(found["metric"], float(found["value"][1])) for found in answer["data"]["result"]]


class Alertmanager(Program):
    """A real Alertmanager with the configuration in `config`, its data in `folder`."""

    def __init__(self, program: str, config: Path, folder: Path) -> None:
        files = (f"--config.file={config}", f"--storage.path={folder}")
        super().__init__(program, *files, "--web.listen-address=127.0.0.1:0", "--cluster.listen-address=")
        self.address = self.logged("Listening on", "address")
        self.url = f"http://{self.address}/api/v2/alerts"

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that it has."""
        found: list[dict[str, Any]] = json.loads(fetch(self.url))
        return found

    def send(self, *alerts: dict[str, str]) -> None:
        """Sends alerts, given by their labels."""
        body = json.dumps([{"labels": labels} for labels in alerts]).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        urllib.request.urlopen(request, timeout=60).close()
