"""HTTP: the application, made from the state alone; the server, which knows only WSGI; and, in `guard`, what stands
between them where there is a web configuration.
"""

from wsgiref.types import WSGIApplication as Application

from exporter.web.application import application
from exporter.web.errors import WebConfigError
from exporter.web.page import Links
from exporter.web.server import SWITCH_SECONDS, Server

__all__ = ["SWITCH_SECONDS", "Application", "Links", "Server", "WebConfigError", "application"]
