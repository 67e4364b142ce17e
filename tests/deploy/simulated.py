"""A simulator of several accounts whose time stands still: `python -m tests.deploy.simulated PORT NOW`."""

import signal
import sys
from collections.abc import Mapping

from exporter.simulator import Fleet, Simulator

KEYS: Mapping[str, str] = {name: f"key-of-{name}" for name in ("research", "search", "product", "support")}


def simulator(now: float, port: int = 0) -> Simulator:
    """The simulator of all accounts at one moment; each has jobs of its own."""
    fleets = {key: Fleet(start=now - 7200, jobs=20 + seed, seed=seed) for seed, key in enumerate(KEYS.values())}
    return Simulator(fleets, shape="reference", clock=lambda: now, port=port)


if __name__ == "__main__":
    with simulator(float(sys.argv[2]), int(sys.argv[1])):
        print("ready", flush=True)
        signal.pause()
