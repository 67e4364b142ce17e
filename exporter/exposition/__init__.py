"""The state as the bytes of a scrape."""

from exporter.exposition.exposition import Exposition, Page
from exporter.exposition.renderer import Renderer

__all__ = ["Exposition", "Page", "Renderer"]
