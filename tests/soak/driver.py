"""Runs a plan against the real exporter, and checks after each step what must hold whatever happens."""

import os
import random
import shutil
import signal
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.certificates import Authority
from tests.programs import ExporterProcess, Program, wait_for
from tests.soak.faults import FAULTS, UNKNOWN_HOST
from tests.soak.plan import WAYS, Event, Step
from tests.soak.upstream import NO_FAULT, Fault, Job, Jobs, Upstream, context
from tests.support import PREFIX, Samples, parse

DEADLINE = 420.0  # seconds for what should take one or two: a busy machine may cause failures, each with its pause
PAGES = ("/", "/jobs.json", "/sd", "/-/ready", "/-/healthy")

_FLAGS = ("--log.level=debug", "--jobs.limit=300", "--details.requests-per-minute=1200", "--together.timeout=1s")
_INTERVALS = {"interval": "200ms", "idle-interval": "200ms"}
_PROXY_USER = "soak:proxy-password"
_SCHEMES = {"plain": "http:", "tls": "https:"}
_BUGS = (
    "Traceback",
    "level=error",
    "level=critical",
)  # at debug level, the traceback of another library's error is right
_LONG_RUN = 50  # steps, in which every fault that needs much memory happens at least once
_KEPT_MISSING = 600.0  # seconds after which the exporter forgets the jobs of a long list, with a margin


@dataclass(frozen=True)
class Figures:
    """What the process holds."""

    threads: int
    files: int
    mebibytes: int


class Exporter(ExporterProcess):
    """The exporter, with a clock that can be moved."""

    def __init__(self, clock: Path, *flags: str, **env: str) -> None:
        script = str(Path(__file__).with_name("clock.py"))
        address = "--web.listen-address=127.0.0.1:0"
        Program.__init__(self, sys.executable, script, str(clock), address, *flags, env=env)

    def figures(self) -> Figures:
        """What it holds now."""
        of_process = Path(f"/proc/{self.pid}")
        status = dict(line.split(":", 1) for line in (of_process / "status").read_text().splitlines())
        return Figures(
            int(status["Threads"]), len(os.listdir(of_process / "fd")), int(status["VmRSS"].split()[0]) // 1024
        )


def run(folder: Path, seed: int, steps: Sequence[Step]) -> None:
    """Runs a plan, and prints its steps and, if something does not hold, the end of the exporter's log."""
    print(f"seed {seed}, {sum(len(step.events) for step in steps)} events", flush=True)
    with _soaking(folder, seed) as soak:
        try:
            for step in steps:
                began = time.monotonic()
                print(step, end=" ", flush=True)
                soak.step(step)
                print(f"- {time.monotonic() - began:.1f}s, {soak.figures[-1]}", flush=True)
        except Exception:
            soak.exporter.signal(signal.SIGABRT)  # what its threads are doing is the end of the log
            soak.exporter.end()
            lines = soak.exporter.lines
            said = [line for line in lines if "level=debug" not in line]
            print("\n", *said[-200:], "and in full\n", *lines[-50:], sep="", flush=True)
            raise


@contextmanager
def _soaking(folder: Path, seed: int) -> Iterator["Soak"]:
    """An exporter with an account for each way to an API, and these APIs; `folder` has its files."""
    openssl = shutil.which("openssl")
    assert openssl
    ours, stranger = Authority(openssl, folder), Authority(openssl, folder, "stranger")
    hosts = ("DNS:localhost", "DNS:api.example")
    contexts = {
        "good": context(*ours.issue("server", *hosts)),
        "for another host": context(*ours.issue("other", "DNS:other.example")),
        "expired": context(*ours.issue("expired", *hosts, days=0)),
        "self-signed": context(stranger.certificate, folder / "stranger.key"),
        "from a stranger": context(*stranger.issue("strange", *hosts)),
    }
    with ExitStack() as stack:
        upstreams = {}
        for way in WAYS:
            jobs = Jobs(random.Random(f"{seed} {way}"), way)
            jobs.move()
            spoken = contexts if way in ("tls", "tunnel") else {}
            upstreams[way] = stack.enter_context(Upstream(jobs, spoken, tunnel=way == "tunnel"))
        proxies = {
            f"{scheme}_proxy": f"http://{_PROXY_USER}@127.0.0.1:{upstreams[way].port}"
            for scheme, way in (("http", "proxy"), ("https", "tunnel"))
        }
        direct = dict.fromkeys(("no_proxy", "NO_PROXY"), UNKNOWN_HOST)  # it must be looked up here
        config, clock = folder / "exporter.yml", folder / "clock"
        clock.write_text("0")
        soak = Soak(folder, config, clock, upstreams)
        soak.configure({})
        soak.exporter = stack.enter_context(
            Exporter(
                clock,
                f"--config.file={config}",
                *_FLAGS,
                PYTHONFAULTHANDLER="1",
                REQUESTS_CA_BUNDLE=str(ours.certificate),
                **proxies,
                **direct,
            )
        )
        soak.settle()
        yield soak
        soak.finish()


class Soak:
    """A run: `step` by step."""

    exporter: Exporter

    def __init__(self, folder: Path, config: Path, clock: Path, upstreams: dict[str, Upstream]) -> None:
        self.figures: list[Figures] = []
        self._config = config
        self._clock = clock
        self._upstreams = upstreams
        self._ahead = 0.0  # seconds by which the exporter's clock is ahead
        self._forgotten = 0.0  # seconds by which the clock went on to let long lists be forgotten
        self._reloads = 0
        self._read = 0  # lines of the log
        self._urls = {
            "plain": f"http://127.0.0.1:{upstreams['plain'].port}/v1",
            "tls": f"https://localhost:{upstreams['tls'].port}/v1",
            "proxy": "http://api.example/v1",
            "tunnel": "https://api.example/v1",
        }
        self._configured: dict[str, str] = {}
        for way in WAYS:
            (folder / f"{way}.key").write_text(f"soak-key-of-{way}\n")
            (folder / f"{way}.key").chmod(0o600)

    def configure(self, elsewhere: dict[str, str]) -> None:
        """Points the exporter at the APIs, but for those that are elsewhere."""
        urls = self._urls | elsewhere
        if urls == self._configured:
            return
        accounts = [{"name": way, "api_key_file": f"{way}.key", "base_url": urls[way]} for way in WAYS]
        self._config.write_text(yaml.safe_dump({"accounts": accounts, "poll": _INTERVALS}))
        if self._configured:
            self._reloads += 1
            self.exporter.signal(signal.SIGHUP)
            wait_for(lambda: sum("msg=reloaded" in line for line in self.exporter.lines) == self._reloads, DEADLINE)
        self._configured = urls

    def settle(self) -> None:
        """Waits until all is well at first, and notes what the process holds then."""
        self._until(lambda now: [problem for way in WAYS for problem in self._wrong(now, way)])
        self.figures.append(self.exporter.figures())

    def step(self, step: Step) -> None:
        """Everything that happens in a step, and what must be true during and after it."""
        faults = {event.way: FAULTS[event.fault] for event in step.events}
        self._set_clock(step.clock)
        before = self._scrape()
        for event in step.events:
            self._upstreams[event.way].begin(faults[event.way], event.endpoint)
        self.configure({way: _SCHEMES[way] + fault.url for way, fault in faults.items() if fault.url})
        self._end_each_when_seen(before, {event: faults[event.way] for event in step.events})
        self.configure({})
        ended, now = self._now(), self._scrape()
        for way in WAYS:
            self._check_right_within_one_poll(way, ended, now)
        self._until(self._incomplete)
        if any(fault.more > 1000 for fault in faults.values()):
            self._forgotten += _KEPT_MISSING
            self._set_clock(step.clock)
            self._until(lambda now: [f"{way} still has a long list" for way in WAYS if _missing(now, way) > 1000])
        self._check_log()
        self._check_bounds()

    def _end_each_when_seen(self, before: Samples, faults: dict[Event, Fault]) -> None:
        """Ends each fault when the exporter has reported it, since repeated failures make it wait longer."""
        began = self._now()

        def unseen(now: Samples) -> list[str]:
            problems = {event: self._unseen(event, fault, began, before, now) for event, fault in faults.items()}
            for event in [event for event, found in problems.items() if not found]:
                self._check_pages()
                self._upstreams[event.way].end()
                del faults[event], problems[event]
            return [problem for found in problems.values() for problem in found]

        self._until(unseen)

    def finish(self) -> None:
        """Stops the exporter, which must end as usual and must not have grown in the second half of a long run."""
        memory = [figures.mebibytes for figures in self.figures]
        half = len(memory) // 2
        if half >= _LONG_RUN:
            assert max(memory[half:]) < 1.25 * max(memory[:half]) + 64, f"memory grows: {memory}"
        self.exporter.signal(signal.SIGTERM)
        assert self.exporter.end() == 0
        self._check_log()
        for way, upstream in self._upstreams.items():
            assert f"soak-key-of-{way}" in upstream.secrets, f"the API never got its key: {way}"

    # ---------------------------------------------------------------------------------------------------------- checks

    def _wrong(self, now: Samples, way: str, fault: Fault = NO_FAULT) -> list[str]:
        """How the metrics of an account differ from what its API says."""
        jobs: list[Job] = [] if fault.empty else self._upstreams[way].listed_jobs
        listed = _sum(now, "jobs", way) - _missing(now, way)
        problems = [] if now.get_one("up", account=way) == 1 else [f"{way} is not up"]
        if listed != len(jobs) + fault.more:
            problems.append(f"{way} has {listed:.0f} jobs instead of {len(jobs)} and {fault.more}")
        for job in jobs:
            labels = {"account": way, "job_id": job["id"]}
            if now.get_one("job_status", **labels, status=job["status"]) != 1:
                problems.append(f"{job['id']} should be {job['status']}")
            if now.get_one("job_tokens", **labels) != job["token_count"]:
                problems.append(f"{job['id']} should have {job['token_count']} tokens")
        return problems

    def _polled_since(self, now: Samples, way: str, moment: float) -> bool:
        """Whether the newest poll that is shown started after a moment, both by the exporter's clock."""
        return moment <= (now.get_one("last_poll_timestamp_seconds", account=way) or 0.0) <= self._now()

    def _unseen(self, event: Event, fault: Fault, began: float, before: Samples, now: Samples) -> list[str]:
        """What the exporter does not report of a fault that began at that moment."""
        old, new = _calls(before, event.way, event.endpoint), _calls(now, event.way, event.endpoint)
        if not any(new.get(code, 0) > old.get(code, 0) for code in fault.codes):
            return [f"{event.way}: no {' or '.join(fault.codes)} since {event.fault} ({event.endpoint}): {new}"]
        if event.endpoint == "list" and not self._polled_since(now, event.way, began):
            return [f"{event.way}: no poll since {event.fault}"]
        if event.endpoint == "list" and fault.codes == NO_FAULT.codes:
            return self._wrong(now, event.way, fault)
        up = event.endpoint != "list"
        return [] if now.get_one("up", account=event.way) == up else [f"{event.way}: up is not {int(up)}"]

    def _incomplete(self, now: Samples) -> list[str]:
        """Jobs without the number that only their details have."""
        return [
            f"{job['id']} has no parameters"
            for way, upstream in self._upstreams.items()
            for job in upstream.listed_jobs
            if now.get_one("job_parameters", account=way, job_id=job["id"]) is None
        ]

    def _check_right_within_one_poll(self, way: str, ended: float, before: Samples) -> None:
        """The first list after a fault makes the metrics right; only a timeout on a busy machine excuses another."""
        timeouts = _calls(before, way, "list").get("timeout", 0)

        def unpolled(now: Samples) -> list[str]:
            nonlocal ended, timeouts
            if not self._polled_since(now, way, ended):
                return [f"{way}: no poll since its fault ended"]
            problems = self._wrong(now, way)
            count = _calls(now, way, "list").get("timeout", 0)
            assert not problems or count > timeouts, f"wrong after a poll: {problems}"
            ended, timeouts = self._now(), count
            return problems

        self._until(unpolled)

    def _check_pages(self) -> None:
        """All pages during a fault: valid in both formats, healthy, and without secrets."""
        openmetrics = self._fetch("/metrics", "application/openmetrics-text; version=1.0.0")
        assert list(text_string_to_metric_families(openmetrics))  # type: ignore[no-untyped-call]  # of prometheus-client
        job = self._upstreams["plain"].listed_jobs[0]["id"]
        for path in (*PAGES, f"/job.json?account=plain&id={job}"):
            self._check_secrets(self._fetch(path), path)
        self._check_secrets(openmetrics, "/metrics")

    def _check_secrets(self, text: str, where: str) -> None:
        for upstream in self._upstreams.values():
            for secret in upstream.secrets - {""}:
                assert secret not in text, f"a secret is in {where}"

    def _check_log(self) -> None:
        """The log has no bug and no secret."""
        lines = self.exporter.lines[self._read :]
        self._read += len(lines)
        for line in lines:
            assert line.startswith("ts="), f"not a line of the log: {line}"
            assert "level=debug" in line or not any(word in line for word in _BUGS), line
        self._check_secrets("".join(lines), "the log")

    def _check_bounds(self) -> None:
        """What a fault made the process hold is released."""
        first = self.figures[0]
        deadline = time.monotonic() + DEADLINE
        while True:
            now = self.exporter.figures()
            if now.threads <= first.threads + 16 and now.files <= first.files + 32:
                break
            assert time.monotonic() < deadline, f"it holds {now}, at first {first}"
            time.sleep(0.2)
        self.figures.append(now)

    # ------------------------------------------------------------------------------------------------------ the process

    def _now(self) -> float:
        """The time of day by the exporter's clock."""
        return time.time() + self._ahead

    def _set_clock(self, ahead: float) -> None:
        self._ahead = ahead + self._forgotten
        temporary = self._clock.with_suffix(".new")
        temporary.write_text(str(self._ahead))
        temporary.replace(self._clock)

    def _fetch(self, path: str, accept: str = "*/*") -> str:
        request = urllib.request.Request(self.exporter.url + path, headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return str(answer.read().decode())

    def _scrape(self) -> Samples:
        text = self._fetch("/metrics")
        self._check_secrets(text, "/metrics")
        return parse(text)

    def _until(self, problems: Callable[[Samples], list[str]]) -> None:
        """Scrapes until there are no problems, which no bug may cause."""
        deadline = time.monotonic() + DEADLINE
        while found := problems(self._scrape()):
            self._check_log()
            assert time.monotonic() < deadline, f"after {DEADLINE:g}s: {'; '.join(found[:5])}"
            time.sleep(0.2)


def _calls(samples: Samples, way: str, endpoint: str) -> dict[str, float]:
    """How many requests ended with each code."""
    name, wanted = f"{PREFIX}api_requests_total", {("account", way), ("endpoint", endpoint)}
    return {dict(labels)["code"]: value for (n, labels), value in samples.items() if n == name and wanted <= labels}


def _sum(samples: Samples, name: str, way: str) -> float:
    return sum(value for (n, labels), value in samples.items() if n == PREFIX + name and ("account", way) in labels)


def _missing(samples: Samples, way: str) -> float:
    return samples.get_one("missing_jobs", account=way) or 0.0
