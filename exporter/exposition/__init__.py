"""The state as the bytes of a scrape."""

from exporter.exposition.exposition import Exposition, Page

__all__ = ["Exposition", "Page"]
