"""Scripted lives of a fleet, played in simulated time, and what Prometheus's own engine makes of them.

A scenario is a file: jobs, what goes wrong and when, and which alerts are to fire from when to when. The simulator's
answers go through the real poller, models, metrics and exposition; only clock and transport are passed in. What each
simulated scrape finds becomes an input series of `promtool test rules`, which evaluates the rules and is asked at
every minute what fires. Whatever is not expected must be silent.

    python -m tests.scenario [--rules FILE] [SCENARIO.yml ...]
"""

from tests.scenario.file import Scenario, load
from tests.scenario.verdict import RULES, SCENARIOS, Verdict, judge, play, players, table
from tests.scenario.world import notation

__all__ = ["RULES", "SCENARIOS", "Scenario", "Verdict", "judge", "load", "notation", "play", "players", "table"]
