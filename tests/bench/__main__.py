"""Measures lists of several sizes and prints a table: `python -m tests.bench [--write] [JOBS ...]`."""

import argparse
import sys
import time
from contextlib import suppress

from exporter.simulator import Shape
from tests.bench.measure import Figures, measure
from tests.bench.table import about, table, targets, write

_SIZES = (100, 1_000, 10_000, 100_000)
_LONGEST = {"live": 100_000, "reference": 10_000}
_MINUTES = 15.0


def main() -> None:
    """Prints the tables, and with `--write` puts them into docs/performance.md."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="speed and size of the exporter")
    parser.add_argument("jobs", nargs="*", type=int, default=_SIZES, help="lengths of the lists")
    parser.add_argument("--write", action="store_true", help="also write docs/performance.md")
    parser.add_argument("--minutes", type=float, default=_MINUTES, help="begin no further list after so long")
    options = parser.parse_args()
    lists: dict[tuple[str, int], Figures] = {}
    end = time.monotonic() + options.minutes * 60
    shapes: tuple[Shape, ...] = ("live", "reference")
    with suppress(KeyboardInterrupt):  # what was measured until then is shown all the same
        for shape in shapes:
            for count in options.jobs:
                if count > _LONGEST[shape]:
                    continue
                if time.monotonic() > end:
                    print(f"no time for {count:,} {shape} jobs", file=sys.stderr)
                    continue
                print(f"{count:,} {shape} jobs ...", file=sys.stderr)
                lists[shape, count] = measure(shape, count)
    command = f"python -m tests.bench {' '.join(map(str, options.jobs))}" if options.jobs != _SIZES else "make bench"
    print(about(command), table(lists), targets(lists), sep="\n")
    if options.write:
        write(lists, command)


if __name__ == "__main__":
    main()
