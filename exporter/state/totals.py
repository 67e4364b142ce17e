"""Sums over all jobs of an account, kept up to date from those that change.

They are whole numbers (money in nano-dollars), so they stay exact however often a job is taken out and put back.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from operator import add, sub

from exporter.state.entry import Entry
from exporter.statuses import UNKNOWN

Share = tuple[int, ...]
"""What jobs add to the sums: for each of `FIGURES` the number of jobs of which it is known, then their sum."""

FIGURES: Mapping[str, Callable[[Entry], float | None]] = {
    "jobs": lambda _: 1,
    "retained": lambda entry: entry.retained or None,
    "missing": lambda entry: 1 if entry.view.state.missing_lists else None,
    "stuck": lambda entry: entry.view.verdict.stuck or None,
    "failed": lambda entry: entry.view.verdict.failed or None,
    "unjudged": lambda entry: entry.view.verdict.unjudged or None,
    "tokens": lambda entry: entry.view.fields.get("token_count"),
    "price": lambda entry: entry.view.fields.get("total_price"),
    "refund": lambda entry: entry.view.fields.get("refund_amount"),
    "epochs": lambda entry: entry.view.fields.get("n_epochs"),
    "epochs_completed": lambda entry: entry.view.state.epochs_completed,
    "month_jobs": lambda entry: 1 if "month" in entry.groups else None,
    "month_price": lambda entry: entry.view.fields.get("total_price") if "month" in entry.groups else None,
}
"""What is summed up, of jobs of which it is known."""

_COLUMN = {name: 2 * number for number, name in enumerate(FIGURES)}


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums by base model and status, and how many waiting jobs report each place in the queue."""

    shares: Mapping[tuple[str, str], Share] = field(default_factory=dict)
    places: Mapping[int, int] = field(default_factory=dict)

    def exchanging(self, old: Iterable[Entry], new: Iterable[Entry]) -> "Totals":
        """With some jobs taken out, and others put in."""
        shares, places = dict(self.shares), dict(self.places)
        nothing = (0,) * (2 * len(FIGURES))
        for entries, combine in ((old, sub), (new, add)):
            for entry in entries:
                state = entry.view.state
                key = (state.fields.get("model") or UNKNOWN.name, state.job.status.name)
                shares[key] = tuple(map(combine, shares.get(key, nothing), _share(entry)))
                if (place := state.queue_place) is not None:
                    places[place] = combine(places.get(place, 0), 1)
        return Totals(
            {key: share for key, share in shares.items() if share[0]},
            {place: jobs for place, jobs in places.items() if jobs},
        )

    @property
    def largest_place(self) -> int | None:
        """The largest place in the queue that any waiting job reports."""
        return max(self.places, default=None)

    def by_model(self, figure: str) -> dict[tuple[str, str], int]:
        """The sums of a figure by base model and status, where it is known of any job."""
        at = _COLUMN[figure]
        return {key: share[at + 1] for key, share in self.shares.items() if share[at]}

    def by_status(self, figure: str) -> dict[str, int]:
        """The sums of a figure by status, where it is known of any job."""
        sums: dict[str, int] = {}
        for (_, status), value in self.by_model(figure).items():
            sums[status] = sums.get(status, 0) + value
        return sums

    def sum(self, figure: str, of: str = "jobs") -> int | None:
        """The sum of a figure; `None` if it is unknown of all jobs that the figure `of` counts, and there are some."""
        known = self.by_model(figure).values()
        return sum(known) if known or not self.by_model(of) else None

    def count(self, figure: str) -> int:
        """The sum of a figure that is 1 or unknown."""
        return sum(self.by_model(figure).values())


def _share(entry: Entry) -> Share:
    share: list[int] = []
    for figure in FIGURES.values():
        value = figure(entry)
        share += (0, 0) if value is None else (1, round(value))
    return tuple(share)
