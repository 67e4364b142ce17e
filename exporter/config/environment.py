"""Environment variables: settings, names that look like settings, and secrets."""

import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

from exporter.config.given import Given
from exporter.config.settings import ENV_PREFIX, KEY_VARIABLE, Account, settings

# Kubernetes sets these in every pod if there is a service named `together-exporter`.
_SERVICE_LINK = re.compile(r".*(_SERVICE_(HOST|PORT.*)|_PORT|_PORT_[0-9]+_.*|^PORT.*|^SERVICE_(HOST|PORT.*))")


def read_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    """The settings in the environment, by field. An empty variable is not set."""
    found = {
        setting.field: Given(environ[variable], variable)
        for setting in settings()
        for variable in reversed(setting.variables)  # so that the first one takes precedence
        if environ.get(variable)
    }
    if environ.get(KEY_VARIABLE):
        found["together_api_key"] = Given(environ[KEY_VARIABLE], KEY_VARIABLE)
    return found


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Names of variables that look like settings but are none, in upper or lower case: probably typing errors."""
    known = {variable for setting in settings() for variable in setting.variables} | {KEY_VARIABLE}
    return sorted(
        name
        for name in environ
        if name not in known
        and (name.upper() in known or name.upper().startswith(ENV_PREFIX))
        and not _SERVICE_LINK.match(name.removeprefix(ENV_PREFIX))
    )


def secrets(accounts: Iterable[Account] = (), environ: Mapping[str, str] = os.environ) -> frozenset[str]:
    """The texts that must never be shown: the keys of the environment, and passwords of proxies.

    Keys in files are not among them: whoever reads such a file knows its key.
    """
    keys = [environ.get(KEY_VARIABLE, ""), *(a.api_key.get_secret_value() for a in accounts if a.api_key)]
    proxies = [url for name, url in environ.items() if name.lower().endswith("_proxy") and name.lower() != "no_proxy"]
    found = [key.strip() for key in keys] + [password for url in proxies for password in _passwords(url)]
    return frozenset(found) - {""}


def _passwords(url: str) -> Iterable[str]:
    """What may be the password in a URL, as written and decoded.

    A password may contain `@`, `/` or `#` that should have been escaped, and a path may contain `@`: programs disagree
    about where such a password ends, so each `@` is taken for its end once.
    """
    rest = url.partition("://")[2] or url
    for end, character in enumerate(rest):
        if character == "@":
            user, colon, password = rest[:end].partition(":")
            yield from (password, unquote(password)) if colon else (user, unquote(user))
