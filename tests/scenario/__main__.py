"""Plays scenarios from the command line."""

import argparse
import sys
from functools import partial
from pathlib import Path

from tests.scenario import RULES, SCENARIOS, play, players, table


def main() -> int:
    """Plays all scenarios, or those that are named; 1 where anything is not as expected."""
    parser = argparse.ArgumentParser(prog="python -m tests.scenario", description="play scenarios against alert rules")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--rules", type=Path, default=RULES)
    options = parser.parse_args()
    with players() as pool:
        paths = options.files or sorted(SCENARIOS.glob("*.yml"))
        verdicts = list(pool.map(partial(play, rules=options.rules), paths))
    sys.stdout.write(table(verdicts) + "\n")
    return int(any(verdict.false or verdict.missed for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
