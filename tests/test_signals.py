"""Signals: none is lost, none is handled twice, and an invalid file stops nothing."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import pytest

from exporter.simulator import Fault, Response
from tests.programs import ExporterProcess, fetch, wait_for
from tests.test_accounts import asked, metrics, reloads, simulator_of, up, write_config

UNUSABLE = {
    "a date that is none": "poll: {interval: 2020-13-45}",
    "deep nesting": "poll: " + "[" * 3000 + "]" * 3000,
    "an empty integer": 'poll: {interval: !!int ""}',
    "an odd boolean": "training: {enabled: !!bool x}",
    "an odd timestamp": "poll: {interval: !!timestamp x}",
    "a duration of 400 digits": f"poll: {{interval: {'9' * 400}s}}",
}


@contextmanager
def requested(url: str, clients: int = 2) -> Iterator[None]:
    """Clients that request a page in a loop."""
    over = threading.Event()

    def request() -> None:
        while not over.is_set():
            try:
                fetch(url)
            except (OSError, HTTPException):
                return  # it has stopped

    threads = [threading.Thread(target=request) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("content", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_a_reload_of_an_unusable_file_changes_nothing_and_is_reported(content: str, tmp_path: Path) -> None:
    with simulator_of("a") as simulator:
        config = write_config(tmp_path, simulator.url, "a")
        with ExporterProcess(f"--config.file={config}") as exporter:
            wait_for(lambda: up(exporter) == {"a": 1})
            config.write_text(content)
            exporter.signal(signal.SIGHUP)
            wait_for(lambda: reloads(exporter)[0] == 0)
            assert "Traceback" not in "".join(exporter.lines)
            before = asked(simulator, "a")
            wait_for(lambda: asked(simulator, "a") > before)


def test_sigterm_under_requests_stops_the_exporter_every_time(tmp_path: Path) -> None:
    with simulator_of("a") as simulator:
        config = write_config(tmp_path, simulator.url, "a")
        for _ in range(5):
            with ExporterProcess(f"--config.file={config}") as exporter, requested(f"{exporter.url}/-/healthy"):
                wait_for(lambda: up(exporter) == {"a": 1})
                exporter.signal(signal.SIGTERM)
                assert exporter.end() == 0


def test_the_file_is_read_once_more_after_the_last_of_several_hangups(tmp_path: Path) -> None:
    with simulator_of("a", "b") as simulator:
        config = write_config(tmp_path, simulator.url, "a")
        with ExporterProcess(f"--config.file={config}") as exporter, requested(f"{exporter.url}/-/healthy"):
            wait_for(lambda: up(exporter) == {"a": 1})
            for number in range(6):
                write_config(tmp_path, simulator.url, *(["a"] if number % 2 == 0 else ["a", "b"]))
                exporter.signal(signal.SIGHUP)
            wait_for(lambda: up(exporter) == {"a": 1, "b": 1})


def test_two_hundred_hangups_in_a_second_cause_few_reloads_and_no_requests(tmp_path: Path) -> None:
    with simulator_of("a") as simulator:
        config = write_config(tmp_path, simulator.url, "a", poll={"interval": "10m", "idle-interval": "10m"})
        with ExporterProcess(f"--config.file={config}") as exporter:
            wait_for(lambda: up(exporter) == {"a": 1})
            began = time.monotonic()
            for _ in range(200):
                exporter.signal(signal.SIGHUP)
                time.sleep(0.005)  # the pace of the signals
            exporter.line("msg=reloaded")
            exporter.signal(signal.SIGTERM)
            assert exporter.end() == 0
            quiet = 0.2  # seconds without a signal before each reload: a busy machine may sleep as long between two
            reloads = sum("msg=reloaded" in line for line in exporter.lines)
            assert 1 <= reloads <= 1 + (time.monotonic() - began) / quiet
            assert asked(simulator, "a") == 1


def test_the_answer_of_a_replaced_poller_changes_nothing(tmp_path: Path) -> None:
    with simulator_of("a", "b") as simulator:
        config = write_config(tmp_path, simulator.url, "a")
        release = threading.Event()

        def late(response: Response) -> Response:
            release.wait(60)
            return response

        simulator.faults = [Fault("list", change=late, key="key-of-a")]
        with ExporterProcess(f"--config.file={config}") as exporter:
            wait_for(lambda: asked(simulator, "a"))
            (tmp_path / "other.key").write_text("key-of-b\n")
            entry = {"name": "a", "api_key_file": "other.key"}
            write_config(tmp_path, simulator.url, accounts=[entry], poll={"interval": "10m", "idle-interval": "10m"})
            exporter.signal(signal.SIGHUP)
            exporter.line("msg=reloaded")
            wait_for(lambda: up(exporter) == {"a": 1})
            last = metrics(exporter).get_one("last_poll_timestamp_seconds", account="a")
            release.set()
            exporter.signal(signal.SIGHUP)  # a second reload, to wait for something that follows the late answer
            wait_for(lambda: sum("msg=reloaded" in line for line in exporter.lines) == 2)
            samples = metrics(exporter)
            assert samples.get_one("last_poll_timestamp_seconds", account="a") == last
            assert samples.get_one("api_requests_total", account="a", endpoint="list", code="200") == 1


def test_a_changed_threshold_takes_effect_without_a_request(tmp_path: Path) -> None:
    with simulator_of("a") as simulator:
        slow = {"poll": {"interval": "10m", "idle-interval": "10m"}}
        config = write_config(tmp_path, simulator.url, "a", **slow)
        with ExporterProcess(f"--config.file={config}") as exporter:
            wait_for(lambda: up(exporter) == {"a": 1})
            entry = {"name": "a", "api_key_file": "a.key", "stuck_after": {"queued": "4h"}}
            write_config(tmp_path, simulator.url, accounts=[entry], **slow)
            exporter.signal(signal.SIGHUP)
            exporter.line("msg=reloaded")
            assert metrics(exporter).get_one("stuck_after_seconds", account="a", status="queued") == 14400
            assert asked(simulator, "a") == 1
