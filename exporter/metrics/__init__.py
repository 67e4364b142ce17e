"""The table of all metrics, and the prometheus-client collector that reads it."""

from exporter.metrics.collector import Collector, select
from exporter.metrics.row import PREFIX, SCOPE_LABELS, Labels, Row, Scope, number, place, samples
from exporter.metrics.table import ROWS

__all__ = [
    "PREFIX",
    "ROWS",
    "SCOPE_LABELS",
    "Collector",
    "Labels",
    "Row",
    "Scope",
    "number",
    "place",
    "samples",
    "select",
]
