"""Some random fleets: what the exporter says of each job against the truth."""

import pytest

from tests.fleets.fleet import HOUR, START, THRESHOLDS, TROUBLES, draw_fleet
from tests.fleets.score import Outcome, play
from tests.fleets.truth import Truth

SHOWS = ("steps", "rows", "steps and rows")


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """Those of four fleets of two days."""
    return [outcome for number in range(4) for outcome in play(number, seed=1, days=2)]


def test_every_mistake_has_a_cause(outcomes: list[Outcome]) -> None:
    assert [outcome for outcome in outcomes if "unexplained" in outcome.cause] == []


def test_where_steps_or_rows_are_given_and_the_exporter_runs_only_a_failing_api_hides_a_hang(
    outcomes: list[Outcome],
) -> None:
    chosen = [o for o in outcomes if o.group in SHOWS and o.rhythm == "runs through" and not o.long_gaps]
    assert {outcome.what for outcome in chosen if outcome.good} == {"alarm", "hang"}
    causes = {cause for o in chosen if not o.good for cause in o.cause.removeprefix("late: ").split(", ")}
    assert causes <= TROUBLES.keys()


def test_a_seed_gives_the_same_fleet_each_time() -> None:
    one, other = draw_fleet(1, 3, 7), draw_fleet(1, 3, 7)
    assert (one.jobs, one.rhythm, one.lives) == (other.jobs, other.rhythm, other.lives)


def test_the_truth_gives_every_hang_a_deadline_of_at_least_its_threshold() -> None:
    for job in draw_fleet(1, 0, 7).jobs:
        truth = Truth(job)
        for hang in truth.hangs:
            last = truth.at(hang.since)
            assert START - 24 * HOUR < last.last <= hang.since
            assert hang.due >= last.last + THRESHOLDS[last.status]
