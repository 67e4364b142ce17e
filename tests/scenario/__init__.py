"""Scripted lives of a fleet, played in simulated time, and what Prometheus's own engine makes of them.

A scenario is a file: jobs, what goes wrong and when, and which alerts are to fire from when to when. The simulator's
answers go through the real poller, models, state and table of metrics; only clock and transport are passed in. What
each simulated scrape finds becomes an input series of `promtool test rules`, which evaluates the rules and is asked at
every minute what fires. Whatever is not expected must be silent; what is expected must fire in time, once, and end.

    python -m tests.scenario [--rules FILE] [SCENARIO.yml ...]
"""

from tests.scenario.file import Scenario, load
from tests.scenario.runner import RULES, SCENARIOS, Batch, batches, play, players
from tests.scenario.verdict import Verdict, judge, table
from tests.scenario.world import notation

__all__ = [
    "RULES",
    "SCENARIOS",
    "Batch",
    "Scenario",
    "Verdict",
    "batches",
    "judge",
    "load",
    "notation",
    "play",
    "players",
    "table",
]
