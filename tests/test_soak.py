"""A short soak: random faults of the API, of proxies and of the network, against the real exporter."""

from pathlib import Path

import pytest

from tests.conftest import need
from tests.soak.driver import run
from tests.soak.faults import FAULTS
from tests.soak.plan import WAYS, plan

SEED = 1


@pytest.mark.alone
def test_fifty_faults_leave_the_exporter_as_it_was(tmp_path: Path) -> None:
    need("openssl", "openssl")
    run(tmp_path, SEED, plan(SEED, 50, heavy=False))


def test_a_seed_gives_the_same_plan_and_a_long_one_has_every_fault() -> None:
    steps = plan(7, 1000)
    assert steps == plan(7, 1000) != plan(8, 1000)
    events = [event for step in steps for event in step.events]
    assert len(events) == 1000
    assert {event.fault for event in events} == set(FAULTS)
    assert {event.way for event in events} == set(WAYS)
