"""Prometheus exporter for Together AI fine-tuning jobs."""

from importlib.metadata import version

__version__ = version("together-finetune-exporter")
