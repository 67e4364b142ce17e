"""Several accounts in one process: each for itself, and Prometheus finds and spreads them."""

import json
import signal
import time
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.simulator import Fault, Fleet, Plan, Script, Simulator
from tests.programs import ExporterProcess, Prometheus, fetch, wait_for
from tests.support import Samples, parse

FAST = {"poll": {"interval": "200ms", "idle-interval": "200ms"}, "details": {"mode": "off"}}


def write_config(folder: Path, url: str, *accounts: str, **more: Any) -> Path:
    """A configuration of these accounts, each with a key of its own name in a file."""
    for account in accounts:
        (folder / f"{account}.key").write_text(f"key-of-{account}\n")
    entries = [{"name": account, "api_key_file": f"{account}.key"} for account in accounts]
    config = folder / "exporter.yml"
    config.write_text(yaml.safe_dump({**FAST, "together": {"base-url": url}, "accounts": entries, **more}))
    return config


def simulator_of(*accounts: str, jobs: int = 5) -> Simulator:
    now = time.time()
    fleets = {f"key-of-{account}": Fleet(jobs=jobs, seed=seed, start=now) for seed, account in enumerate(accounts)}
    return Simulator(fleets, clock=lambda: now)


def metrics(exporter: ExporterProcess, query: str = "") -> Samples:
    """What is served, but for the series of single jobs, which are many."""
    text = fetch(f"{exporter.url}/metrics{query}")
    return parse("".join(line for line in text.splitlines(keepends=True) if 'job_id="' not in line))


def up(exporter: ExporterProcess) -> dict[str, float]:
    """`together_finetune_up` by account."""
    found = metrics(exporter).items()
    return {dict(labels)["account"]: value for (name, labels), value in found if name == "together_finetune_up"}


def jobs_of(samples: Samples, account: str) -> float:
    """How many jobs an account has, by the metric `jobs`."""
    return sum(
        value
        for (name, labels), value in samples.items()
        if name == "together_finetune_jobs" and ("account", account) in labels
    )


def asked(simulator: Simulator, account: str) -> int:
    """How many requests came for an account."""
    return sum(request.key == f"key-of-{account}" for request in simulator.requests)


def accounts_in(samples: Samples) -> set[str]:
    return {dict(labels)["account"] for _, labels in samples if "account" in dict(labels)}


def test_each_account_has_its_own_metrics(tmp_path: Path) -> None:
    with (
        simulator_of("a", "b") as simulator,
        ExporterProcess(f"--config.file={write_config(tmp_path, simulator.url, 'a', 'b')}") as exporter,
    ):
        wait_for(lambda: up(exporter) == {"a": 1, "b": 1})
        samples = parse(fetch(f"{exporter.url}/metrics"))
        shown = {
            (dict(labels)["account"], dict(labels)["job_id"])
            for name, labels in samples
            if name == "together_finetune_job_status"
        }
        assert shown == {(name, job["id"]) for name in ("a", "b") for job in simulator.jobs(f"key-of-{name}")}


def test_an_account_that_is_slow_refused_or_broken_changes_nothing_for_the_others(tmp_path: Path) -> None:
    with simulator_of("good", "slow", "broken") as simulator:
        simulator.faults = [
            Fault("list", latency=3600, key="key-of-slow"),
            Fault("list", status=200, body=b"<html>", key="key-of-broken"),
        ]
        config = write_config(tmp_path, simulator.url, "slow", "broken", "refused", "good")
        with ExporterProcess(f"--config.file={config}", "--together.timeout=1h") as exporter:
            wait_for(lambda: up(exporter) == {"good": 1, "broken": 0, "refused": 0})
            before = asked(simulator, "good")
            wait_for(lambda: asked(simulator, "good") > before + 3)
            samples = metrics(exporter)
            refused = samples.get_one("api_requests_total", account="refused", endpoint="list", code="401")
            assert refused is not None
            assert refused >= 1
            assert (
                sum(v for (n, ls), v in samples.items() if n == "together_finetune_jobs" and ("account", "good") in ls)
                == 5
            )


def test_metrics_of_one_account_alone(tmp_path: Path) -> None:
    with (
        simulator_of("a", "b") as simulator,
        ExporterProcess(f"--config.file={write_config(tmp_path, simulator.url, 'a', 'b')}") as exporter,
    ):
        wait_for(lambda: up(exporter) == {"a": 1, "b": 1})
        samples = metrics(exporter, "?account=a")
        assert accounts_in(samples) == {"a"}
        assert {name for name, labels in samples if not labels} == set()
        everything = metrics(exporter)
        assert set(samples) <= set(everything)
        with pytest.raises(urllib.error.HTTPError) as error:
            fetch(f"{exporter.url}/metrics?account=nobody")
        assert error.value.code == 404
        assert error.value.read() == b"no account of that name, see /sd\n"


def test_service_discovery_lists_a_target_for_each_account(tmp_path: Path) -> None:
    with (
        simulator_of("a", "b") as simulator,
        ExporterProcess(
            f"--config.file={write_config(tmp_path, simulator.url, 'a', 'b')}", "--web.telemetry-path=/figures"
        ) as exporter,
    ):
        here = exporter.url.removeprefix("http://")
        assert json.loads(fetch(f"{exporter.url}/sd")) == [
            {
                "targets": [here],
                "labels": {"__metrics_path__": "/figures", "__param_account": account, "account": account},
            }
            for account in ("a", "b")
        ]


def test_prometheus_spreads_the_accounts_over_scrapers_as_documented(prometheus: str, tmp_path: Path) -> None:
    names = [f"team-{number}" for number in range(8)]
    documented = Path(__file__).parent.parent / "deploy/prometheus/accounts.yml"
    with (
        simulator_of(*names, jobs=3) as simulator,
        ExporterProcess(f"--config.file={write_config(tmp_path, simulator.url, *names)}") as exporter,
    ):
        configs = []
        for shard in ("0", "1"):
            text = documented.read_text().replace("localhost:10124", exporter.url.removeprefix("http://"))
            text = text.replace("scrape_interval: 15s", "scrape_interval: 1s").replace(
                'regex: "0"', f'regex: "{shard}"'
            )
            configs.append(tmp_path / f"shard-{shard}.yml")
            configs[-1].write_text(text)
        with (
            Prometheus(prometheus, configs[0], tmp_path / "data-0") as first,
            Prometheus(prometheus, configs[1], tmp_path / "data-1") as second,
        ):
            scraped: list[set[str]] = [set(), set()]

            def all_are_scraped() -> bool:
                for server, accounts in zip((first, second), scraped, strict=True):
                    assert server.query('{exported_account!=""}') == []
                    ups = server.query("together_finetune_up")
                    accounts.update(labels["account"] for labels, value in ups if value == 1)
                return set().union(*scraped) == set(names)

            wait_for(all_are_scraped)
            assert scraped[0] & scraped[1] == set()
            assert all(scraped)


def test_200_accounts_of_100_jobs_run_in_one_process(tmp_path: Path) -> None:
    names = [f"team-{number:03}" for number in range(200)]
    now = time.time()
    plans = Script([Plan(id=f"ft-{number}", created=now - 60 * number, total_steps=10) for number in range(100)])
    with Simulator({f"key-of-{name}": plans for name in names}, clock=lambda: now) as simulator:
        config = write_config(tmp_path, simulator.url, *names, poll={"interval": "10m", "idle-interval": "10m"})
        with ExporterProcess(f"--config.file={config}") as exporter:
            wait_for(lambda: sum("msg=poll " in line for line in exporter.lines) == len(names))
            assert up(exporter) == dict.fromkeys(names, 1)
            everything = metrics(exporter)
            assert {jobs_of(everything, name) for name in names} == {100}
            assert jobs_of(metrics(exporter, "?account=team-007"), "team-007") == 100


# --------------------------------------------------------------------------------------------------------------- reload


def reloads(exporter: ExporterProcess) -> tuple[float | None, float | None]:
    samples = metrics(exporter)
    return (
        samples.get_one("exporter_config_last_reload_successful"),
        samples.get_one("exporter_config_last_reload_success_timestamp_seconds"),
    )


def test_a_reload_adds_removes_and_changes_accounts_and_the_others_keep_their_state(tmp_path: Path) -> None:
    with simulator_of("a", "b", "c") as simulator:
        config = write_config(tmp_path, simulator.url, "a", "b")
        with ExporterProcess(f"--config.file={config}") as exporter:
            wait_for(lambda: up(exporter) == {"a": 1, "b": 1})
            started = reloads(exporter)[1]
            polls = metrics(exporter).get_one("api_requests_total", account="a", endpoint="list", code="200")
            write_config(tmp_path, simulator.url, "a", "c")
            exporter.signal(signal.SIGHUP)
            exporter.line("msg=reloaded")
            wait_for(lambda: up(exporter) == {"a": 1, "c": 1})
            assert accounts_in(metrics(exporter)) == {"a", "c"}
            later = metrics(exporter).get_one("api_requests_total", account="a", endpoint="list", code="200")
            assert polls is not None
            assert later is not None
            assert later >= polls
            good, when = reloads(exporter)
            assert good == 1
            assert started is not None
            assert when is not None
            assert when > started
            before = asked(simulator, "b")
            wait_for(lambda: asked(simulator, "c") > 3)
            assert asked(simulator, "b") <= before + 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "exporter.yml").write_text("poll: {intervall: 3s}"),
        lambda folder: (folder / "exporter.yml").unlink(),
        lambda folder: (folder / "a.key").unlink(),
    ],
    ids=["an unknown key", "no file", "no key file"],
)
def test_a_bad_file_at_a_reload_keeps_all_as_it_was_and_says_so(spoil: Any, tmp_path: Path) -> None:
    with simulator_of("a", "b") as simulator:
        config = write_config(tmp_path, simulator.url, "a")
        with ExporterProcess(f"--config.file={config}") as exporter:
            wait_for(lambda: up(exporter) == {"a": 1})
            _, before = reloads(exporter)
            write_config(tmp_path, simulator.url, "a", "b", together={"base-url": f"{simulator.url}/"})
            spoil(tmp_path)
            exporter.signal(signal.SIGHUP)
            exporter.line("reload failed, the old configuration remains")
            wait_for(lambda: reloads(exporter) == (0, before))
            assert up(exporter) == {"a": 1}
            write_config(tmp_path, simulator.url, "a", "b")
            exporter.signal(signal.SIGHUP)
            wait_for(lambda: up(exporter) == {"a": 1, "b": 1})
            wait_for(lambda: reloads(exporter)[0] == 1)


def test_changed_terms_are_in_force_after_a_reload(tmp_path: Path) -> None:
    with simulator_of("a") as simulator:
        config = write_config(tmp_path, simulator.url, "a")
        with ExporterProcess(f"--config.file={config}") as exporter:
            wait_for(lambda: up(exporter) == {"a": 1})
            assert metrics(exporter).get_one("stuck_after_seconds", account="a", status="queued") == 7200
            entry = {"name": "a", "api_key_file": "a.key", "budget_usd_per_month": 500, "stuck_after": {"queued": "4h"}}
            write_config(tmp_path, simulator.url, accounts=[entry])
            exporter.signal(signal.SIGHUP)
            exporter.line("msg=reloaded")
            samples = metrics(exporter)
            assert samples.get_one("stuck_after_seconds", account="a", status="queued") == 14400
            assert samples.get_one("stuck_after_seconds", account="a", status="running") == 3600
            assert samples.get_one("budget_usd", account="a") == 500


def test_settings_that_need_a_restart_are_named(tmp_path: Path) -> None:
    with simulator_of("a") as simulator:
        config = write_config(tmp_path, simulator.url, "a")
        with ExporterProcess(f"--config.file={config}") as exporter:
            exporter.line("msg=poll ")
            write_config(tmp_path, simulator.url, "a", log={"level": "debug"})
            exporter.signal(signal.SIGHUP)
            assert "settings=log_level" in exporter.line("take effect only after a restart")
