"""A stand-in for Together's fine-tuning API, over real HTTP on loopback.

A job's whole life is data, a `Plan`; what the API says of it at a moment is a pure function of the two. It imports
nothing of this project, so that it is an independent witness of the wire format.
"""

from exporter.simulator.api import Simulator
from exporter.simulator.fleet import Fleet, Plans, Script
from exporter.simulator.objects import job
from exporter.simulator.plan import Fate, Json, Plan, Stage
from exporter.simulator.traffic import Answer, Endpoint, Fault, Request
from exporter.simulator.training import training_rows
from exporter.simulator.wire import Shape, live, reference

__all__ = [
    "Answer",
    "Endpoint",
    "Fate",
    "Fault",
    "Fleet",
    "Json",
    "Plan",
    "Plans",
    "Request",
    "Script",
    "Shape",
    "Simulator",
    "Stage",
    "job",
    "live",
    "reference",
    "training_rows",
]
