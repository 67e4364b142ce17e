"""The types of settings. Each is parsed from text; what it refuses is a `ValueError` that says what it accepts."""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from exporter.statuses import STATUSES

STUCK_AFTER: Mapping[str, float] = {
    name: status.stuck_after for name, status in STATUSES.items() if status.stuck_after is not None
}
"""Seconds without progress after which a job counts as stuck by default, for every status that has a threshold."""

_UNITS = {"y": 31536000.0, "w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION = re.compile("".join(f"(?:(?P<{unit}>[0-9]{{1,15}}){unit})?" for unit in _UNITS))
_WHOLE = re.compile(r"-?[0-9]{1,15}")
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{0,15})?(e-?[0-9]{1,2})?", re.IGNORECASE)
_HOST = re.compile(r"[A-Za-z0-9_.-]+")
_PORT = re.compile(r"[0-9]{1,5}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PAGES = ("/", "/job", "/sd", "/jobs.json", "/job.json", "/common.js", "/jobs.js", "/job.js", "/page.css")
_TRUE, _FALSE = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}


def write_duration(seconds: float) -> str:
    """A duration as Prometheus writes it: `1h30m`, `30d`, `1w`."""
    rest, text = round(seconds * 1000), ""
    for unit, length in _UNITS.items():
        size = round(length * 1000)
        if unit in ("y", "w") and rest % size:
            continue  # as in Prometheus: 30d, not 4w2d
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def _seconds(text: object) -> float:
    """The duration in seconds; 0 if the text is none."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    return sum(int(count) * _UNITS[unit] for unit, count in match.groupdict().items() if count) if match else 0.0


def _duration(longest: str, examples: str) -> BeforeValidator:
    most = _seconds(longest)

    def parse(value: object) -> float:
        seconds = _seconds(value)
        if not 0 < seconds <= most:
            raise ValueError(f"must be a duration such as {examples}, at most {longest}")
        return seconds

    return BeforeValidator(parse)


def whole(least: int, most: int) -> BeforeValidator:
    """A whole number from `least` to `most`."""

    def parse(value: object) -> int:
        text = str(value)
        if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
            raise ValueError(f"must be a whole number from {least:,} to {most:,}")
        return int(text)

    return BeforeValidator(parse)


def number(most: int) -> BeforeValidator:
    """A number above 0, at most `most`."""

    def parse(value: object) -> float:
        text = str(value)
        if not _NUMBER.fullmatch(text) or not 0 < float(text) <= most:
            raise ValueError(f"must be a number above 0, at most {most:,}")
        return float(text)

    return BeforeValidator(parse)


def _switch(value: object) -> bool:
    text = str(value).lower()
    if text not in _TRUE | _FALSE:
        raise ValueError("must be true or false")
    return text in _TRUE


def _check_host(host: str) -> None:
    """Raises `ValueError` if no resolver could know the host: a name, or an address without brackets."""
    if ":" in host:
        ipaddress.IPv6Address(host)
    elif not _HOST.fullmatch(host.encode("idna").decode()):
        raise ValueError("not a host")


def _url(example: str) -> Callable[[str], str]:
    def check(url: str) -> str:
        try:
            parts = urlsplit(url)
            _check_host(parts.hostname or "")
            usable = parts.scheme in ("http", "https") and parts.port != 0 and not parts.query and not parts.fragment
        except ValueError:
            usable = False
        if not usable or not _printable_word(url):
            raise ValueError(f"must be a URL such as {example}")
        if "@" in parts.netloc:
            raise ValueError("must be a URL without a user name or password")
        return url

    return check


def _job_url(example: str) -> Callable[[str], str]:
    check = _url(example)

    def with_id(url: str) -> str:
        if "{id}" not in check(url):
            raise ValueError(f"must be a URL with {{id}} in its path, such as {example}")
        return url

    return with_id


def _address(address: str) -> str:
    host, _, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        _check_host((host[1:-1] if bracketed else host) or "0.0.0.0")  # noqa: S104 - only what an empty host means
        usable = bracketed == (":" in host) and bool(_PORT.fullmatch(port)) and int(port) < 65536
    except ValueError:
        usable = False
    if not usable or ":" not in address or not _printable_word(address):
        raise ValueError("must be an address such as :10124, 127.0.0.1:10124 or [::1]:10124")
    return address


def _printable_word(text: str) -> bool:
    return text.isprintable() and " " not in text


def _url_path(path: str) -> str:
    taken = path in _PAGES or path.startswith("/-/")
    usable = path.startswith("/") and path.isascii() and _printable_word(path) and "?" not in path and "#" not in path
    if taken or not usable:
        raise ValueError("must be a path such as /metrics that no other page of the exporter has")
    return path


def file_path(path: object) -> Path:
    """The path, or `ValueError` if no file can have it."""
    try:
        name = os.fsencode(path) if isinstance(path, str | Path) else b""
    except UnicodeError:
        name = b""
    if not name or b"\0" in name:
        raise ValueError("must be the path of a file")
    return Path(os.fsdecode(name))


def _regex(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"must be a regular expression ({error})") from None
    return pattern


def _combinable(patterns: tuple[str, ...]) -> tuple[str, ...]:
    _regex("|".join(patterns))  # as they are used: `(?i)` must be at the very start
    return patterns


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise ValueError("must be the name of an environment variable")
    return name


def _account_name(name: str) -> str:
    if not 0 < len(name) <= 128 or not name.isprintable():
        raise ValueError("must be 1 to 128 printable characters")
    return name


def _words(value: object) -> object:
    return value.split() if isinstance(value, str) else value  # several in one variable are separated by spaces


def _pairs(value: object) -> object:
    """`queued=3h,running=90m`, one or several of them, as a mapping."""
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        pairs = [pair.partition("=") for text in value for pair in text.split(",")]
        if not all(equals for _, equals, _ in pairs):
            raise ValueError("must be status=duration, such as queued=3h or queued=3h,running=90m")
        value = {status.strip(): duration.strip() for status, _, duration in pairs}
    return {str(status).replace("-", "_"): item for status, item in value.items()} if isinstance(value, dict) else value


def _with_threshold(status: str) -> str:
    if status not in STUCK_AFTER:
        raise ValueError(f"must be one of {', '.join(STUCK_AFTER)}")
    return status


Duration = Annotated[float, _duration("10y", "90s, 1h30m or 7d")]
Timeout = Annotated[float, _duration("1h", "500ms, 10s or 1m30s")]  # the operating system's own limit is some 24 days
Switch = Annotated[bool, BeforeValidator(_switch)]
Url = Annotated[str, AfterValidator(_url("https://api.together.xyz/v1"))]
JobUrl = Annotated[str, AfterValidator(_job_url("https://api.together.ai/fine-tuning/{id}"))]
GrafanaUrl = Annotated[str, AfterValidator(_url("https://grafana.example.com"))]
UrlPath = Annotated[str, AfterValidator(_url_path)]
FilePath = Annotated[Path, BeforeValidator(file_path)]
Address = Annotated[str, AfterValidator(_address)]
Addresses = Annotated[tuple[Address, ...], BeforeValidator(_words), Field(min_length=1)]
Regexes = Annotated[
    tuple[Annotated[str, AfterValidator(_regex)], ...], BeforeValidator(_words), AfterValidator(_combinable)
]
VariableName = Annotated[str, AfterValidator(_variable)]
AccountName = Annotated[str, AfterValidator(_account_name)]
Thresholds = Annotated[dict[Annotated[str, AfterValidator(_with_threshold)], Duration], BeforeValidator(_pairs)]
