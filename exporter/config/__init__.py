"""Flags, environment variables and the YAML file as one frozen `Settings`, or a `ConfigError` that says what is wrong.

Flags override the environment, which overrides the file, which overrides the defaults.
"""

from exporter.config.command import PROGRAM
from exporter.config.environment import secrets, unknown_variables
from exporter.config.errors import ConfigError
from exporter.config.load import load
from exporter.config.settings import ENV_PREFIX, Account, AccountEntry, Setting, Settings, settings

__all__ = [
    "ENV_PREFIX",
    "PROGRAM",
    "Account",
    "AccountEntry",
    "ConfigError",
    "Setting",
    "Settings",
    "load",
    "secrets",
    "settings",
    "unknown_variables",
]
