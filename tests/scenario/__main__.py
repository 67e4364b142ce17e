"""Plays scenarios from the command line."""

import argparse
import sys
from functools import partial
from itertools import chain
from operator import attrgetter
from pathlib import Path

from tests.scenario import RULES, SCENARIOS, batches, play, players, table


def main() -> int:
    """Plays all scenarios, or those that are named; 1 where anything is not as expected."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenario", description="play scenarios against alert rules")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--rules", type=Path, default=RULES)
    options = parser.parse_args()
    paths = options.files or SCENARIOS.glob("*.yml")
    with players() as pool:
        played = list(pool.map(partial(play, rules=options.rules), batches(paths)))
    verdicts = sorted(chain.from_iterable(played), key=attrgetter("name"))
    sys.stdout.write(table(verdicts) + "\n")
    return int(any(verdict.complaints() for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
