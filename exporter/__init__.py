"""Prometheus exporter for Together AI fine-tuning jobs."""

__version__ = "0.1.0"
