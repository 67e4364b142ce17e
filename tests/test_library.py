"""The exporter as a library: the example of docs/library.md, run as it is written, and the defaults."""

import sys
from inspect import signature
from pathlib import Path

from exporter.accounts import account_configs
from exporter.api import Client
from exporter.config import load
from exporter.exposition import Exposition
from exporter.metrics import Collector
from exporter.poller import Schedule
from exporter.simulator import Fleet, Simulator
from exporter.state import AccountSettings
from tests.programs import Program, fetch, wait_for
from tests.support import KEY, NOW, parse

PAGE = Path(__file__).parent.parent / "docs/library.md"


def test_the_example_serves_the_metrics_of_the_jobs() -> None:
    code = PAGE.read_text().partition("```python\n")[2].partition("```")[0]
    code += '\nprint("msg=listening", f"port={server.server_port}", flush=True)\nthreading.Event().wait()'
    with Simulator(Fleet(jobs=5, start=NOW), key=KEY, clock=lambda: NOW) as simulator:
        env = {"TOGETHER_API_KEY": KEY, "TOGETHER_BASE_URL": simulator.url, "PORT": "0"}
        with Program(sys.executable, "-c", code, env=env) as program:
            url = f"http://127.0.0.1:{program.logged('msg=listening', 'port')}/metrics"

            def jobs() -> float:
                samples = parse(fetch(url))
                return sum(value for (name, _), value in samples.items() if name == "together_finetune_jobs")

            wait_for(lambda: jobs() == 5)


def test_the_defaults_are_those_of_the_command() -> None:
    settings = load([], "", {"TOGETHER_API_KEY": KEY})
    [account] = account_configs(settings).values()
    assert account.settings == AccountSettings()
    assert account.schedule == Schedule()
    assert account.timeout == signature(Client).parameters["timeout"].default
    for part in (Collector, Exposition):
        assert settings.poll_max_staleness == signature(part).parameters["max_staleness"].default
