"""The example of docs/library.md, run as it is written."""

import os
import subprocess
import sys
from pathlib import Path

from exporter.simulator import Fleet, Simulator
from tests.programs import fetch, free_port, wait_for
from tests.support import KEY, NOW, parse

PAGE = Path(__file__).parent.parent / "docs/library.md"


def test_the_example_serves_the_metrics_of_the_jobs() -> None:
    code = PAGE.read_text().partition("```python\n")[2].partition("```")[0]
    port = free_port()
    with Simulator(Fleet(jobs=5, start=NOW), key=KEY, clock=lambda: NOW) as simulator:
        env = {**os.environ, "TOGETHER_API_KEY": KEY, "TOGETHER_BASE_URL": simulator.url, "PORT": str(port)}
        program = subprocess.Popen([sys.executable, "-c", code + "\nthreading.Event().wait()"], env=env)
        try:

            def jobs() -> float:
                try:
                    samples = parse(fetch(f"http://127.0.0.1:{port}/metrics"))
                except OSError:
                    return 0
                return sum(value for (name, _), value in samples.items() if name == "together_finetune_jobs")

            wait_for(lambda: jobs() == 5)
        finally:
            program.kill()
            program.wait()
