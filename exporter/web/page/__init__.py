"""The page: all jobs, and each job on its own. It is HTML, a style and scripts, which show the JSON behind it."""

from exporter.web.page.detail import Links, describe
from exporter.web.page.document import HEADERS, Document, asset
from exporter.web.page.overview import Jobs, Landing, health, overview

__all__ = ["HEADERS", "Document", "Jobs", "Landing", "Links", "asset", "describe", "health", "overview"]
