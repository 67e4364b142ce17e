"""Signs of life: what counts as one, what starts the count again, and the gaps between them."""

import pytest

from tests.state.history import WHOLE, History, job, minutes


def started() -> History:
    """A job that is seen to start at 0."""
    return History().list(-1, job("queued", place=1)).list(0, job(started=0))


# ------------------------------------------------------------------------------------------------------ signs of life


def test_an_event_is_a_sign_of_life() -> None:
    assert started().details(10, job(started=0, events={"checkpoint_save": 8})).progress() == 8


def test_the_start_of_a_stage_is_a_sign_of_life() -> None:
    assert History().list(0, job(started=-20)).progress() == -20


def test_a_training_row_is_a_sign_of_life() -> None:
    assert started().rows(10, 3, 7).progress() == 7


@pytest.mark.parametrize("again", [12, 15])
def test_a_time_in_the_future_counts_as_the_moment_at_which_it_was_first_received(again: float) -> None:
    future = job(started=0, events={"checkpoint_save": 30})
    assert started().details(10, future).details(again, future).progress() == 10


def test_a_row_in_the_future_counts_as_the_moment_at_which_it_was_first_received() -> None:
    assert started().rows(10, 30).rows(12, 30).progress() == 10


def test_a_time_years_ahead_is_no_sign_of_life() -> None:
    years = 3 * 365 * 24 * 60
    history = started().details(10, job(started=0, events={"checkpoint_save": years})).rows(11, years)
    assert history.progress() == 0
    assert history.rows(20, 19).progress() == 19


@pytest.mark.parametrize("status", ["compressing", "uploading", "cancel_requested"])
def test_an_observed_change_of_status_is_a_sign_of_life(status: str) -> None:
    assert started().list(50, job(status, updated=-60)).progress() == 50


@pytest.mark.parametrize("counter", ["steps", "epochs", "evals_completed"])
def test_a_higher_counter_is_a_sign_of_life_and_the_same_one_is_not(counter: str) -> None:
    history = started().details(10, job(started=0, **{counter: 5}))
    assert history.details(20, job(started=0, **{counter: 5})).progress() == 10
    assert history.details(30, job(started=0, **{counter: 6})).progress() == 30


@pytest.mark.parametrize("status", ["pending", "queued"])
def test_a_lower_place_in_the_queue_is_a_sign_of_life_and_a_higher_one_is_not(status: str) -> None:
    history = History().list(0, job(status, place=6)).list(10, job(status, place=5))
    assert history.progress() == 10
    assert history.list(20, job(status, place=6)).list(30, job(status, place=5)).progress() == 10
    assert history.list(40, job(status, place=4)).progress() == 40


def test_a_counter_of_another_stage_is_no_sign_of_life() -> None:
    history = started().list(10, job("uploading", started=9)).details(20, job("uploading", started=9, steps=5))
    assert history.details(30, job("uploading", started=9, steps=6)).progress() == 10


def test_updated_at_is_no_sign_of_life() -> None:
    assert started().list(10, job(started=0, updated=10)).progress() == 0


def test_a_field_that_keeps_changing_is_no_sign_of_life() -> None:
    history = started()
    for at in range(10, 60, 10):
        history.list(at, job(started=0, updated=at, token_count=at, total_price=at))
    assert history.progress() == 0


def test_the_first_value_of_a_counter_is_a_sign_of_life_where_nothing_tells_its_age() -> None:
    assert History().list(0, job(started=-600)).details(1, job(started=-600, steps=300)).progress() == 1


def test_the_first_value_of_a_counter_is_none_where_rows_tell_the_age() -> None:
    history = History().list(0, job(started=-600)).details(1, job(started=-600, steps=300))
    assert history.rows(2, -120, -110).progress() == -110


def test_counters_after_failing_details_are_no_sign_of_life_where_the_row_of_their_step_is_known() -> None:
    history = started().fails(5, "retrieve").rows(10, 3, 6, 9)
    assert history.details(300, job(started=0, steps=3, epochs=1)).progress() == 9
    assert history.details(310, job(started=0, steps=4, epochs=1)).progress() == 310


def test_steps_that_are_behind_those_of_the_rows_are_signs_of_life_all_the_same() -> None:
    history = started().rows(10, 3, 6, 9).details(11, job(started=0, steps=1))
    assert history.details(12, job(started=0, steps=2)).progress() == 12


def test_rows_from_before_a_job_went_back_hide_no_step_of_it() -> None:
    history = started().rows(10, 3, 6, 9).details(11, job(started=0, steps=3)).details(20, job(started=0, steps=1))
    assert history.details(30, job(started=0, steps=2)).progress() == 30


def test_the_first_value_of_a_counter_is_none_where_the_start_was_observed() -> None:
    assert started().details(10, job(started=0, epochs=0)).progress() == 0


def test_first_sight_counts_where_the_api_has_no_start_of_the_status() -> None:
    assert History().list(0, job("queued")).progress() == 0


def test_creation_is_the_start_of_a_pending_job() -> None:
    assert History().list(0, job("pending", created=-90)).progress() == -90


def test_rows_without_usable_times_are_a_sign_of_life_if_they_bring_a_new_step() -> None:
    history = started().rows(10, None, None).rows(20, None, step=2)
    assert history.progress() == 0
    assert history.rows(30, None, step=3).progress() == 30
    assert history.rows(40, minutes(0.0), step=4).progress() == 40


# -------------------------------------------------------------------------------------------------------- fresh count


def test_a_restart_event_starts_the_count_again_and_is_a_sign_of_life() -> None:
    history = started().details(10, job(started=0, steps=100, events={"job_start": 0}))
    history.details(200, job(started=0, steps=100, events={"job_start": 0}))
    history.details(200, job(started=0, steps=101, events={"job_start": 0}))
    assert minutes_of_gap(history) == 190
    history.details(210, job(started=0, steps=101, events={"job_start": 0, "job_restarted": 1}))
    assert history.progress() == 210
    assert minutes_of_gap(history) == 0
    assert history.job().life.moves == 0


def test_restarts_that_happened_before_the_exporter_started_start_nothing_again() -> None:
    history = History().list(0, job(started=-600)).details(1, job(started=-600, events={"job_restarted": -300}))
    assert not history.job().life.observed


@pytest.mark.parametrize(
    ("status", "before", "after"),
    [("running", {"steps": 300}, {"steps": 200}), ("queued", {"place": 3}, {"place": 40})],
)
def test_a_job_that_goes_back_starts_the_count_again_and_shows_life(
    status: str, before: dict[str, int], after: dict[str, int]
) -> None:
    history = History().list(0, job(status)).details(10, job(status, **before)).details(20, job(status, **after))
    assert history.progress() == 20
    [(name, value)] = after.items()
    forward = {name: value + (1 if name == "steps" else -1)}
    assert history.details(30, job(status, **forward)).progress() == 30


@pytest.mark.parametrize(
    ("status", "one", "other"), [("running", {"steps": 300}, {"steps": 299}), ("queued", {"place": 5}, {"place": 6})]
)
def test_caches_that_disagree_by_one_change_nothing(status: str, one: dict[str, int], other: dict[str, int]) -> None:
    history = History().list(0, job(status)).details(10, job(status, **one))
    for at in (20, 30, 40):
        history.details(at, job(status, **(other if at % 20 == 0 else one)))
    assert history.progress() == 10


def test_rows_from_before_a_restart_do_not_count_after_it() -> None:
    history = started().rows(10, 5, 10).details(11, job(started=0, events={"job_start": 0}))
    history.details(190, job(started=0, events={"job_start": 0, "job_restarted": 189}))
    history.rows(200, 5, 10, 191, 192)
    assert history.progress() == 192
    assert history.job().life.longest_gap == 60
    assert history.job().life.moves == 2


# --------------------------------------------------------------------------------------------------- gaps and moves


def minutes_of_gap(history: History) -> float:
    """The longest gap in minutes."""
    return round(history.job().life.longest_gap / 60, 3)


def test_the_first_gap_runs_from_the_start_of_the_stage() -> None:
    history = started().details(45, job(started=0)).details(45, job(started=0, steps=1))
    assert minutes_of_gap(history) == 45


def test_the_longest_gap_is_the_longest_time_between_signs_of_life() -> None:
    history = started()
    for step, at in enumerate((10, 40, 50), start=1):
        history.details(at, job(started=0, steps=step - 1)).details(at, job(started=0, steps=step))
    assert minutes_of_gap(history) == 30


def test_a_gap_lasts_until_the_last_answer_that_lacked_the_next_sign() -> None:
    history = started().details(10, job(started=0, steps=1)).details(25, job(started=0, steps=1))
    assert minutes_of_gap(history.fails(50, "retrieve").details(300, job(started=0, steps=2))) == 15


def test_an_event_after_an_outage_ends_no_gap_of_that_length() -> None:
    events = {"job_start": 0}
    history = started().details(10, job(started=0, events=events)).fails(50, "retrieve")
    assert minutes_of_gap(history.details(300, job(started=0, events=events | {"checkpoint_save": 290}))) == 10


def test_gaps_of_rows_are_those_between_their_own_times() -> None:
    history = started().rows(200, 100, 105, 112)
    assert minutes_of_gap(history) == 7
    assert minutes_of_gap(history.rows(300, 130, step=4)) == 18


def test_rows_that_are_sent_again_are_no_moves() -> None:
    history = started().rows(10, 5, 6, 7)
    assert history.rows(20, 5, 6, 7).job().life.moves == 3
    assert history.rows(30, 5, 6, 7, 25).job().life.moves == 4


def test_the_first_row_is_no_move_where_the_start_was_not_observed() -> None:
    assert History().list(0, job(started=-600)).rows(1, -600).job().life.moves == 0


def test_steps_are_moves_and_epochs_are_not() -> None:
    history = started().details(10, job(started=0, steps=3, epochs=1)).details(20, job(started=0, steps=3, epochs=2))
    assert history.job().life.moves == 1
    assert history.details(30, job(started=0, steps=4, epochs=2)).job().life.moves == 2


def test_a_step_after_an_outage_is_no_move_since_nobody_knows_when_it_was() -> None:
    history = started().details(10, job(started=0, steps=1)).fails(50, "retrieve")
    assert history.details(100, job(started=0, steps=2)).job().life.moves == 1


def test_a_first_value_is_no_move_where_the_start_was_not_observed() -> None:
    history = History().list(0, job(started=-600)).details(1, job(started=-600, steps=300))
    assert history.job().life.moves == 0


def test_a_job_of_a_whole_list_needs_no_details_for_its_signs_of_life() -> None:
    fields = {**WHOLE, "started": 0, "events": {"job_start": 0}}
    history = History().list(0, job(**fields)).list(30, job(**fields | {"epochs_completed": 1}))
    assert history.progress() == 30
