"""Draws fleets, watches them and prints how the exporter did: `python -m tests.fleets`."""

import argparse
import logging
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from tests.fleets.score import play, table


def main() -> None:
    """Prints the table, and what nothing explains."""
    parser = argparse.ArgumentParser(prog="python -m tests.fleets", description="watch random fleets in virtual time")
    parser.add_argument("--fleets", type=int, default=200)
    parser.add_argument("--days", type=float, default=7.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with ProcessPoolExecutor(mp_context=get_context("spawn"), initializer=logging.disable) as pool:
        found = pool.map(partial(play, seed=options.seed, days=options.days), range(options.fleets))
        results = [outcome for fleet in found for outcome in fleet]
    lines = [table(results)]
    lines += [f"unexplained: {o.what} {o.group}, {o.rhythm}, {o.about}" for o in results if "unexplained" in o.cause]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
