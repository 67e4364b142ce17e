"""Calls to Together's API: bytes come back, or one `ApiError`.

What is raised here, and what a user sees of it as `code` of `together_finetune_api_requests_total`:

    ApiError
    ├── timeout      the call did not end in time
    ├── connection   refused, reset, or a host that no resolver knows
    ├── tls          a certificate or a handshake that cannot be trusted
    ├── http         an answer other than 200: the code is its status
    └── body         an answer that cannot be read: over the cap, badly compressed, cut off
"""

import email.utils
import json
import logging
import math
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote, urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import ConnectionPool, HTTPConnectionPool
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

log = logging.getLogger(__name__)

Reason = Literal["timeout", "connection", "tls", "http", "body"]

MAX_BYTES = 64 * 2**20
"""Most bytes of an answer, counted after decompression."""

_MAX_ERROR_BYTES = 64 * 2**10
_LONGEST_PAUSE = 3600.0  # a slip in a `Retry-After` must not blind an account for days


class ApiError(Exception):
    """A call that gave nothing to use; `status` where there was an answer, `retry_after` (seconds) where it asked
    for a pause."""

    def __init__(
        self, reason: Reason, message: str, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.retry_after = retry_after

    @property
    def code(self) -> str:
        """The value of the label `code`: the HTTP status where that is the trouble, else the reason."""
        return str(self.status) if self.reason == "http" else self.reason


class BadKeyError(Exception):
    """Something that is no API key, as a sentence that does not show it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A 200: its decompressed body, and the calls that the rate limit still allows, where the API says so."""

    body: bytes
    rate_limit_remaining: float | None


def clean_key(text: str, source: str) -> str:
    """The API key that `text` holds, without white space around it; `BadKeyError`, naming `source`, where none is."""
    key = text.strip()
    if not key:
        raise BadKeyError(f"{source} is empty")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise BadKeyError(f"{source} holds something other than one word of printable ASCII")
    return key


class KeyFile:
    """A file with an API key, read at every call, so that a rotated key is picked up; while it cannot be read the
    last good key stays. `BadKeyError` where there is none to begin with."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key = self._read()
        self._trouble = ""

    def __call__(self) -> str:
        trouble = ""
        try:
            self._key = self._read()
        except BadKeyError as error:
            trouble = str(error)
        if trouble and trouble != self._trouble:
            log.warning("the API key file cannot be used, the last good key stays", extra={"error": trouble})
        self._trouble = trouble
        return self._key

    def _read(self) -> str:
        try:
            text = self._path.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise BadKeyError(f"{self._path}: {error.strerror}") from None
        return clean_key(text, str(self._path))


class Client:
    """Calls for one account; `connections` are kept open for the next ones.

    `key` is asked for the API key at each call. `timeout` (seconds) bounds connecting and each read, three times that
    a whole call; `max_bytes` an answer. A redirect is never followed: it would take the key to another place.
    """

    def __init__(
        self,
        base_url: str,
        key: Callable[[], str],
        *,
        user_agent: str,
        timeout: float = 10.0,
        connections: int = 5,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._clock = clock
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": user_agent, "Accept": "application/json"})
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(pool_maxsize=connections))

    def jobs(self) -> Answer:
        """`GET /fine-tunes`: the list of all jobs."""
        return self._get("/fine-tunes")

    def job(self, job_id: str) -> Answer:
        """`GET /fine-tunes/{id}`: all that there is of one job."""
        return self._get(f"/fine-tunes/{quote(job_id, safe='')}")

    def events(self, job_id: str) -> Answer:
        """`GET /fine-tunes/{id}/events`."""
        return self._get(f"/fine-tunes/{quote(job_id, safe='')}/events")

    def metrics(self, job_id: str, step: int) -> Answer:
        """`GET /fine-tunes/{id}/metrics`: training rows from the step on, all of them from 0."""
        query = {"global_step_from": step} if step else {}
        return self._get(f"/fine-tunes/{quote(job_id, safe='')}/metrics", **query)

    def close(self) -> None:
        """Closes the connections."""
        self._session.close()

    def _get(self, path: str, **query: str | int) -> Answer:
        key = self._key()

        def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
            request.headers["Authorization"] = f"Bearer {key}"
            return request

        seconds = 3 * self._timeout
        overdue = ApiError("timeout", f"no whole answer within {seconds:g}s")
        try:
            with (
                _Watchdog(seconds) as watchdog,
                self._session.get(
                    self._base_url + path,
                    params=query,
                    auth=authorize,  # not a plain header: a ~/.netrc would replace that
                    timeout=self._timeout,
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                if response.status_code != 200:
                    raise self._refusal(response)
                body = _read(response.raw, self._max_bytes)
        except (ApiError, OSError, HTTPError) as error:  # what requests raises is an OSError
            raise overdue if watchdog.expired else _as_api_error(error, key) from None
        if watchdog.expired:  # to a body without a length, the watchdog's end looks like its own
            raise overdue
        return Answer(body, _number(response.headers.get("x-ratelimit-remaining")))

    def _refusal(self, response: requests.Response) -> ApiError:
        status = response.status_code
        if response.is_redirect:
            target = urlsplit(urljoin(response.url, response.headers["Location"]))
            message = (
                f"redirected to {target.scheme}://{target.netloc}{target.path}, which is not followed as the key"
                " would go along: set --together.base-url"
            )
        else:
            message = _error_message(response)
        return ApiError("http", f"HTTP {status}: {message}", status, _pause(response.headers, self._clock()))


def _read(raw: BaseHTTPResponse, limit: int) -> bytes:
    body = bytearray()
    for chunk in raw.stream(2**16, decode_content=True):
        body += chunk
        if len(body) > limit:
            raise ApiError("body", f"the answer is larger than {limit} bytes")
    return bytes(body)


def _error_message(response: requests.Response) -> str:
    """What the API says of its refusal: `error.message` of its JSON, else the text as it is."""
    try:
        text = _read(response.raw, _MAX_ERROR_BYTES).decode(errors="replace")
    except (ApiError, HTTPError, OSError):
        return response.reason or "no reason given"
    with suppress(ValueError, TypeError, KeyError):
        text = str(json.loads(text)["error"]["message"])
    return " ".join(text.split())[:200] or response.reason or "no reason given"


def _as_api_error(error: Exception, key: str) -> ApiError:
    if not isinstance(error, ApiError):
        error = _told_apart(_innermost(error))
    # An API that quotes the key in its refusal is no reason to have it in a log.
    error.args = (str(error).replace(key, "[API key]"),)
    return error


def _told_apart(error: BaseException) -> ApiError:
    says = str(error) or type(error).__name__
    match error:
        case TimeoutError() | requests.Timeout():
            return ApiError("timeout", says)
        case ssl.SSLError() | requests.exceptions.SSLError():
            return ApiError("tls", says)
        case OSError():
            return ApiError("connection", says)
        case _:
            return ApiError("body", f"the answer cannot be read: {says}")


def _innermost(error: BaseException) -> BaseException:
    """The first cause, which says it best: requests wraps urllib3, and that the system's own words."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return error


def _pause(headers: Mapping[str, str], now: float) -> float | None:
    """The pause that an answer asks for, in seconds: `retry-after-ms`, else `Retry-After` as seconds or as a date."""
    milliseconds = _number(headers.get("retry-after-ms"))
    seconds = _number(headers.get("Retry-After")) if milliseconds is None else milliseconds / 1000
    if seconds is None:
        until = _date(headers.get("Retry-After"))
        # By the API's own clock, where it tells it: ours may be off.
        seconds = None if until is None else until - (_date(headers.get("Date")) or now)
    return None if seconds is None else min(max(seconds, 0.0), _LONGEST_PAUSE)


def _number(text: str | None) -> float | None:
    with suppress(ValueError):
        if text is not None and math.isfinite(number := float(text)):
            return number
    return None


def _date(text: str | None) -> float | None:
    with suppress(ValueError):
        if text is not None:
            return email.utils.parsedate_to_datetime(text).timestamp()
    return None


_calls = threading.local()


class _Watchdog:
    """Shuts the socket of this thread's call when its time is up: the timeouts of requests bound each read, so an
    answer that drips in would go on for ever."""

    def __init__(self, seconds: float) -> None:
        self.expired = False
        self._socket: socket.socket | None = None
        self._timer = threading.Timer(seconds, self._bite)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        _calls.watchdog = self
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        del _calls.watchdog

    def watch(self, sock: socket.socket) -> None:
        """Names the socket that the answer is about to be read from."""
        self._socket = sock
        if self.expired:
            self._bite()

    def _bite(self) -> None:
        self.expired = True
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)


class _WatchedHTTP(HTTPConnection):
    def getresponse(self) -> Any:
        _calls.watchdog.watch(self.sock)
        return super().getresponse()


class _WatchedHTTPS(HTTPSConnection):
    def getresponse(self) -> Any:
        _calls.watchdog.watch(self.sock)
        return super().getresponse()


class _Adapter(HTTPAdapter):
    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> ConnectionPool:
        pool = super().get_connection_with_tls_context(*args, **kwargs)
        if isinstance(pool, HTTPConnectionPool):
            pool.ConnectionCls = _WatchedHTTPS if pool.scheme == "https" else _WatchedHTTP
        return pool
