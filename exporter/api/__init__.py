"""Calls to Together's API: a call returns bytes, or raises one `ApiError`."""

from exporter.api.client import MAX_BYTES, Client, Redact, Reply
from exporter.api.errors import ApiError, Reason
from exporter.api.key import BadKeyError, KeyFile, clean_key

__all__ = ["MAX_BYTES", "ApiError", "BadKeyError", "Client", "KeyFile", "Reason", "Redact", "Reply", "clean_key"]
