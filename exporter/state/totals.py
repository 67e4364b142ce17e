"""Sums over all jobs of an account, kept up to date from those that change.

They are whole numbers (money in nano-dollars), so they stay exact however often a job is taken out and put back.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import add, sub
from typing import NamedTuple

from exporter.state.entry import Entry

Share = tuple[int, ...]
"""What jobs add to the sums: for each of `Figures` the number of jobs of which it is known, then the sums."""


class Figures(NamedTuple):
    """What is summed up of a job; `None` is unknown, or not so."""

    jobs: float | None
    retained: float | None
    missing: float | None
    stuck: float | None
    failed: float | None
    unjudged: float | None
    tokens: float | None
    price: float | None
    refund: float | None
    epochs: float | None
    epochs_completed: float | None
    month_jobs: float | None
    month_price: float | None

    @classmethod
    def of(cls, entry: Entry) -> "Figures":
        """The figures of a job."""
        state, fields, verdict, month = entry.view.state, entry.view.fields, entry.view.verdict, "month" in entry.groups
        price = fields.get("total_price")
        return cls(
            jobs=1,
            retained=entry.retained or None,
            missing=1 if state.missing_lists else None,
            stuck=verdict.stuck or None,
            failed=verdict.failed or None,
            unjudged=verdict.unjudged or None,
            tokens=fields.get("token_count"),
            price=price,
            refund=fields.get("refund_amount"),
            epochs=fields.get("n_epochs"),
            epochs_completed=state.epochs_completed,
            month_jobs=1 if month else None,
            month_price=price if month else None,
        )

    @property
    def share(self) -> Share:
        """What the job adds to the sums."""
        known = [value is not None for value in self]
        return (*known, *(0 if value is None else round(value) for value in self))


@dataclass(frozen=True, slots=True)
class Totals:
    """The sums by base model and status, and how many waiting jobs report each place in the queue."""

    shares: Mapping[tuple[str, str], Share] = field(default_factory=dict)
    places: Mapping[int, int] = field(default_factory=dict)

    def exchanging(self, old: Iterable[Entry], new: Iterable[Entry]) -> "Totals":
        """With some jobs taken out, and others put in."""
        shares, places = dict(self.shares), dict(self.places)
        nothing = (0,) * (2 * len(Figures._fields))
        for entries, combine in ((old, sub), (new, add)):
            for entry in entries:
                state = entry.view.state
                key = (state.job.model, state.job.status.name)
                shares[key] = tuple(map(combine, shares.get(key, nothing), Figures.of(entry).share))
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
        at = Figures._fields.index(figure)
        return {key: share[at + len(Figures._fields)] for key, share in self.shares.items() if share[at]}

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
