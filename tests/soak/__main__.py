"""`make soak`: `python -m tests.soak [--seed N] [--events N]`."""

import argparse
import random
import tempfile
from pathlib import Path

from tests.soak.driver import run
from tests.soak.plan import plan


def main() -> None:
    """Runs a plan and prints its steps; the seed of a failure replays it."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--events", type=int, default=500)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), given.seed, plan(given.seed, given.events))
    print("everything held")


if __name__ == "__main__":
    main()
