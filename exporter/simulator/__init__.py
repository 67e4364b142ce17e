"""A stand-in for Together's fine-tuning API, over real HTTP on loopback.

A job's whole life is data, a `Plan`, and what the API says at a given time is a pure function of the two. The
simulator imports nothing else of this project, so that it is an independent witness of the wire format.
"""

from exporter.simulator.api import Simulator
from exporter.simulator.fleet import Fleet, Plans, Script
from exporter.simulator.objects import job, next_change
from exporter.simulator.plan import Fate, Interruption, Json, Plan, Sign, Stage
from exporter.simulator.traffic import Endpoint, Fault, Request, Response, edit
from exporter.simulator.training import training_rows
from exporter.simulator.wire import Shape, live, reference

__all__ = [
    "Endpoint",
    "Fate",
    "Fault",
    "Fleet",
    "Interruption",
    "Json",
    "Plan",
    "Plans",
    "Request",
    "Response",
    "Script",
    "Shape",
    "Sign",
    "Simulator",
    "Stage",
    "edit",
    "job",
    "live",
    "next_change",
    "reference",
    "training_rows",
]
