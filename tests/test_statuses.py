"""The table of statuses: adding a row is all that a new status takes."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exporter.models import Job
from exporter.statuses import STATUSES, UNKNOWN, status_of

ROOT = Path(__file__).parent.parent
RULES = ROOT / "deploy/prometheus/rules.yml"
JOB = '{account="default",job_id="ft-1"'


def stuck_alerts() -> dict[str, int]:
    """The statuses with a threshold, each with the number of alerts about stuck jobs that select it."""
    matchers = re.findall(r'stuck\{status(=|=~|!~)"([^"]+)"', RULES.read_text())
    return {
        name: sum((operator != "!~") == bool(re.fullmatch(regex, name)) for operator, regex in matchers)
        for name, status in STATUSES.items()
        if status.active
    }


@pytest.fixture(scope="module")
def made_up() -> dict[str, Any]:
    """What each surface knows of a made-up status."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.made_up_status"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_new_status_has_a_threshold_in_the_configuration(made_up: dict[str, Any]) -> None:
    assert made_up["default"] == 300
    assert "validating=5m" in made_up["flag"].split(",")


@pytest.mark.parametrize(
    "sample",
    [
        'stuck_after_seconds{account="default",status="validating"} 300.0',
        'jobs{account="default",status="validating"} 1.0',
        'jobs{account="default",status="unknown"} 0.0',
        'stuck_jobs{account="default",status="validating"} 1.0',
        'unjudged_jobs{account="default",status="validating"} 0.0',
        f'job_status{JOB},status="validating"}} 1.0',
        f'job_stuck{JOB},status="validating"}} 1.0',
        f'job_status_since_timestamp_seconds{JOB},status="validating"}} 1.79e+09',
        f"job_queue_depth{JOB}}} 1.0",
    ],
)
def test_a_new_status_is_in_the_metrics(made_up: dict[str, Any], sample: str) -> None:
    assert f"together_finetune_{sample}" in made_up["metrics"].splitlines()


def test_the_event_that_starts_a_new_status_is_known(made_up: dict[str, Any]) -> None:
    assert "unknown_values_total" not in made_up["metrics"]


def test_the_page_receives_the_phase_of_a_new_status(made_up: dict[str, Any]) -> None:
    assert {"name": "validating", "phase": "waiting", "failed": False} in made_up["page"]


def test_a_new_status_has_a_colour_and_a_place_by_its_phase_on_the_dashboards(made_up: dict[str, Any]) -> None:
    colours = made_up["colours"]
    assert list(colours)[:4] == ["pending", "queued", "validating", "running"]
    assert list(colours.values()).count(colours["validating"]) == 1
    for board in ("fleet", "job"):
        assert f'"color": "{colours["validating"]}"' in made_up["dashboards"][board]
    assert '"validating"' in made_up["dashboards"]["fleet"]
    assert 'status=~\\"pending|queued|validating\\"' in made_up["dashboards"]["fleet"]


def test_a_new_status_is_in_the_docs(made_up: dict[str, Any]) -> None:
    assert "| `validating` | waiting | no | `5m` |" in made_up["docs"]["metrics.md"]
    assert "`validating=5m`" in made_up["docs"]["configuration.md"]


def test_a_new_status_has_one_alert_about_stuck_jobs(made_up: dict[str, Any]) -> None:
    assert set(stuck_alerts().values()) == {1}
    assert made_up["stuck alerts"]["validating"] == 1


def test_statuses_are_found_in_any_case_and_others_are_unknown() -> None:
    assert status_of("RUNNING") is STATUSES["running"]
    assert status_of("dreaming") is UNKNOWN
    assert Job({"id": "ft-1", "status": "dreaming"}).status is UNKNOWN


def test_a_status_with_a_threshold_is_not_terminal_and_the_others_are() -> None:
    assert all(status.active is not status.ended for status in STATUSES.values())
    assert not UNKNOWN.active
    assert not UNKNOWN.ended
