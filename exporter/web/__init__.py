"""HTTP: the application, made from the state alone; the server, which knows only WSGI; and the guard between them."""

from wsgiref.types import WSGIApplication as Application

from exporter.web.application import application
from exporter.web.config import WebConfigError, load_web_config
from exporter.web.guard import Guard
from exporter.web.page import Links
from exporter.web.server import SWITCH_SECONDS, Server

__all__ = [
    "SWITCH_SECONDS",
    "Application",
    "Guard",
    "Links",
    "Server",
    "WebConfigError",
    "application",
    "load_web_config",
]
