"""The page of one job: its JSON, and what a real browser shows of it."""

import json
import math
from itertools import pairwise
from typing import Any

import pytest

from exporter.models import TrainingPoint
from exporter.state import Call, RowsAnswered
from exporter.web import Links, page
from tests.browser import Browser, refreshed, resize, showing_job, since, text, texts, width_of
from tests.programs import wait_for
from tests.support import NOW, Wire, http, job, jobs_json, list_answered, new_store

LINKS = Links("https://console.example/jobs/{id}", "https://grafana.example/base/")
EVENTS = [
    {"type": "JOB_PENDING", "created_at": "2026-09-21T12:00:00Z", "level": "info", "message": "created"},
    {"type": "WARNING", "created_at": "2026-09-21T12:30:00Z", "level": "legacy_iwarning", "message": "odd lines"},
    {"type": "JOB_USER_ERROR", "created_at": "2026-09-21T13:00:00Z", "level": "error", "message": "line 14 is no JSON"},
]


def described(fields: dict[str, Any], *rows: TrainingPoint) -> dict[str, Any]:
    """The JSON of a job with these fields and training rows."""
    store = new_store()
    publisher = store.publisher("default")
    publisher.apply(list_answered(fields))
    if rows:
        publisher.apply(RowsAnswered(Call(NOW, "metrics", "200", 0.1, fields["id"]), rows))
    shown = page.describe(store.read(), "default", fields["id"], LINKS)
    assert shown is not None
    found: dict[str, Any] = json.loads(shown.body)
    return found


def figures(fields: dict[str, Any], title: str) -> dict[str, Any]:
    """The figures of one section, by label."""
    [section] = [section for section in described(fields)["sections"] if section["title"] == title]
    return {label: value for label, _, value in section["figures"]}


def test_a_failed_job_says_why_and_shows_its_events_newest_first() -> None:
    found = described(job("ft-1", "user_error", events=EVENTS))
    assert found["failure"] == "line 14 is no JSON"
    assert [event["message"] for event in found["events"]] == ["line 14 is no JSON", "odd lines", "created"]
    assert found["events"][1] | {"time": 0} == {
        "type": "warning",
        "level": "warning",
        "time": 0,
        "message": "odd lines",
    }


def test_the_end_explains_a_failure_where_no_event_is_an_error() -> None:
    events = [{"type": "JOB_ERROR", "message": "out of memory"}, {"type": "REFUND", "message": "refunded"}]
    assert described(job("ft-1", "error", events=events))["failure"] == "out of memory"


def test_a_job_that_did_not_fail_has_no_reason() -> None:
    assert described(job("ft-1", "completed", events=EVENTS))["failure"] is None


def test_the_sections_say_whose_the_job_is_what_it_costs_and_from_which_files() -> None:
    fields = job(
        user_id="user-7",
        total_price=2_500_000_000,
        training_file="file-1",
        trainingfile_size=1234,
        validation_file="",
        epochs_completed=1,
        n_epochs=4,
        total_steps=300,
    )
    assert figures(fields, "Job") == {"Account": "default", "User": "user-7", "Price": 2.5}
    assert figures(fields, "Files") == {"Training file": "file-1", "Size": 1234}
    assert figures(fields, "Progress") == {"Epochs": [1, 4], "Steps": 300}
    assert figures(fields, "Times")["Created"] == NOW - 2 * 3600 - 800


def test_hyperparameters_are_those_of_nested_objects_too() -> None:
    fields = job(
        batch_size="max",
        learning_rate=1e-5,
        train_on_inputs=False,
        training_type={"type": "Lora", "lora_r": 16},
        training_method={"method": "dpo", "dpo_beta": 0.1},
        lr_scheduler={"lr_scheduler_type": "cosine", "lr_scheduler_args": {"num_cycles": 0.5}},
    )
    assert figures(fields, "Hyperparameters") == {
        "training_type": "Lora",
        "lora_r": 16,
        "training_method": "dpo",
        "dpo_beta": 0.1,
        "batch_size": "max",
        "learning_rate": 1e-5,
        "lr_scheduler_type": "cosine",
        "num_cycles": 0.5,
        "train_on_inputs": "false",
    }


def test_links_are_encoded() -> None:
    links = described(job("ft-1/2?&%", wandb_url="https://wandb.ai/run"))["links"]
    assert {link["name"]: link["url"] for link in links} == {
        "Together": "https://console.example/jobs/ft-1%2F2%3F%26%25",
        "Weights & Biases": "https://wandb.ai/run",
        "Grafana": "https://grafana.example/base/d/together-finetune-job?var-account=default&var-job_id=ft-1%2F2%3F%26%25",
    }


def row(step: int, **values: float) -> TrainingPoint:
    """A training row; `train_loss` is `train/loss`."""
    return TrainingPoint(step, NOW, {name.replace("_", "/"): value for name, value in values.items()})


def test_curves_are_those_of_the_training_and_the_evaluation_loss() -> None:
    rows = [row(1, train_loss=2.0, train_epoch=0.1), row(2, train_loss=math.nan), row(2, eval_loss=1.5)]
    assert described(job(), *rows)["curves"] == {"train/loss": [[1, 2.0], [2, None]], "eval/loss": [[2, 1.5]]}


def test_a_curve_keeps_a_bounded_number_of_points_spread_evenly_and_the_newest() -> None:
    curve = described(job(), *(row(step, train_loss=step) for step in range(1, 5001)))["curves"]["train/loss"]
    assert len(curve) == 200
    assert curve[-1] == [5000, 5000]
    assert {later[0] - earlier[0] for earlier, later in pairwise(curve)} == {25}


def test_a_curve_that_grows_row_by_row_is_as_even() -> None:
    store = new_store()
    publisher = store.publisher("default")
    publisher.apply(list_answered(job()))
    for step in range(1, 1201):
        publisher.apply(RowsAnswered(Call(NOW, "metrics", "200", 0.1, "ft-1"), [row(step, train_loss=step)]))
    training = publisher.read().state.jobs["ft-1"].training
    assert training is not None
    steps = [step for step, _ in training.curves["train/loss"]]
    assert (len(steps) <= 200, steps[-1]) == (True, 1200)
    assert max(later - earlier for earlier, later in pairwise(steps)) <= 2 * 1200 / 100


def test_after_a_restart_a_curve_continues_from_the_step_that_it_went_back_to() -> None:
    store = new_store()
    publisher = store.publisher("default")
    publisher.apply(list_answered(job()))
    for steps, loss in ((range(1, 6), 2.0), (range(3, 5), 1.0)):
        rows = [row(step, train_loss=loss) for step in steps]
        publisher.apply(RowsAnswered(Call(NOW, "metrics", "200", 0.1, "ft-1"), rows))
    training = publisher.read().state.jobs["ft-1"].training
    assert training is not None
    assert training.curves["train/loss"] == ((1, 2.0), (2, 2.0), (3, 1.0), (4, 1.0))


def test_a_job_is_shown_with_its_times_reason_and_events(browser: Browser, wire: Wire) -> None:
    fields = job(
        "ft-1",
        "error",
        suffix="support",
        user_id="user-7",
        total_price=1_234_567_000_000,
        trainingfile_size=12_345_678,
        created_at=since(hours=5),
        updated_at=since(hours=3),
        events=[{"type": "JOB_ERROR", "created_at": since(hours=3), "level": "error", "message": "<b>no</b> memory"}],
    )
    with showing_job(browser, wire, fields, flags=("--web.grafana-url=https://grafana.example",)):
        assert text(browser, "#title") == "support"
        assert text(browser, "#state") == "error\nfailed 3 h ago\nft-1"
        assert text(browser, "#failure") == "Why it failed: <b>no</b> memory"
        shown = dict(zip(texts(browser, "dt"), texts(browser, "dd"), strict=True))
        assert (shown["User"], shown["Price"], shown["Size"]) == ("user-7", "$1,234.57", "12.35 MB")
        assert shown["Created"].endswith("(5\N{NO-BREAK SPACE}h\N{NO-BREAK SPACE}ago)")
        assert texts(browser, "#events li > *") == ["3 h ago", "job error", "<b>no</b> memory"]
        assert texts(browser, "#links a") == ["Together", "Grafana"]
        assert browser.run("return document.title") == "support · error · Together fine-tuning"
        assert texts(browser, "#plot") == []
        assert browser.console() == []


def test_what_is_shown_of_a_job_follows_it(browser: Browser, wire: Wire) -> None:
    with showing_job(browser, wire, job("ft-1", suffix="s")):
        wire.answer = http(jobs_json(job("ft-1", "completed", updated_at=since())))
        refreshed(browser, lambda: text(browser, "#status") == "completed")
        assert text(browser, "#title") == "s"


def test_a_job_that_does_not_exist_is_reported(browser: Browser, wire: Wire) -> None:
    with showing_job(browser, wire, job("ft-1")) as exporter:
        browser.open(f"{exporter.url}/job?account=default&id=ft-2")
        said = wait_for(lambda: text(browser, "#problems"))
        assert said == "The exporter does not know this job: it may have been deleted."


def test_only_an_address_of_the_web_is_a_link(browser: Browser, wire: Wire) -> None:
    bad = [
        "javascript:alert(1)",
        " JaVaScRiPt:alert(1)",
        "java\nscript:alert(1)",
        "data:text/html,x",
        "//x.y",
        "ftp://x",
    ]
    with showing_job(browser, wire, job("ft-1", wandb_url="http://x.y/z")):
        links = "return [...document.querySelectorAll('#links a')].map(a => [a.href, a.rel, a.target])"
        elsewhere = ["noopener noreferrer", "_blank"]
        console = ["https://api.together.ai/fine-tuning/ft-1", *elsewhere]
        assert browser.run(links) == [console, ["http://x.y/z", *elsewhere]]
        assert [browser.run("return linkTo(arguments[0], 'x')", address) for address in bad] == [None] * len(bad)


def test_hostile_names_are_text_on_the_page_of_a_job_too(browser: Browser, wire: Wire) -> None:
    name = "<img src=x onerror=alert(1)>\u2069\u202eevil"
    event = {"type": name, "created_at": since(), "message": name, "level": "error"}
    hostile = job(f"ft-{name}&#/?", "error", suffix=name, model=name, user_id=name, training_file=name, events=[event])
    with showing_job(browser, wire, hostile):
        assert browser.run("return document.querySelector('#title').textContent") == name
        assert browser.run("return document.querySelectorAll('img').length") == 0
        displays = "return [...document.querySelectorAll('bdi')].map(e => getComputedStyle(e).display)"
        assert set(browser.run(displays)) <= {"inline-block", "block"}
        assert "\u202e" not in browser.run("return document.title")
        assert browser.console() == []


def test_the_loss_is_a_plot_with_a_gap_where_it_is_no_number(browser: Browser, wire: Wire) -> None:
    with showing_job(browser, wire, job()):
        draw = """
            plot({ "train/loss": [[10, 2], [20, 1], [30, null], [40, 1.5]], "eval/loss": [[20, 1.25]] });
            return [...document.querySelectorAll("#plot path")].map((path) => path.getAttribute("d"));
        """
        assert browser.run(draw) == ["M0.00 4.00L33.33 96.00M100.00 50.00", "M33.33 73.00"]
        assert texts(browser, "#plot figcaption span") == ["train/loss 1.5", "eval/loss 1.25"]
        assert (text(browser, "#top"), text(browser, "#bottom")) == ("2", "1")
        assert text(browser, "#steps") == "steps 10 to 40"


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_of_a_job_sticks_out_of_any_screen(browser: Browser, wire: Wire, width: int) -> None:
    long = job("ft-" + "1" * 200, "error", model="m" * 256, suffix="s" * 256, total_price=2**63 - 1)
    events = [{"type": "JOB_ERROR", "level": "error", "message": "m" * 500, "created_at": since()}]
    resize(browser, width)
    with showing_job(browser, wire, long | {"events": events}):
        assert width_of(browser) <= width
