"""The table of all metrics, and the prometheus-client collector that reads it."""

from exporter.metrics.collector import Collector, select
from exporter.metrics.row import PREFIX, Row, Scope, number, samples
from exporter.metrics.table import ROWS

__all__ = ["PREFIX", "ROWS", "Collector", "Row", "Scope", "number", "samples", "select"]
