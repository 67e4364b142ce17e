"""The client of one account."""

import email.utils
import json
import logging
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from ipaddress import ip_address
from typing import AnyStr, Protocol
from urllib.parse import quote, urlsplit

import requests
from requests.adapters import BaseAdapter
from requests.utils import get_environ_proxies
from urllib3.exceptions import HTTPError
from urllib3.response import BaseHTTPResponse

from exporter.api.errors import ApiError, reason_for, root_cause
from exporter.api.transport import Transport, call_limits

log = logging.getLogger(__name__)

MAX_BYTES = 64 * 2**20
"""Most bytes of a body, counted after decompression."""

_MAX_JOB_BYTES = 16 * 2**20  # of an answer about a single job, of which several arrive at a time
_LIST = "/fine-tunes"
_MAX_ERROR_BYTES = 64 * 2**10
_MAX_TEXT = 200
_MAX_PAUSE = 300.0  # a wrong `Retry-After` must not blind an account for days


class Redact(Protocol):
    """Replaces the secrets in a text."""

    def __call__(self, text: AnyStr, /) -> AnyStr: ...


@dataclass(frozen=True, slots=True)
class Reply:
    """A response with status 200: its decompressed body, and the calls that the rate limit still allows, if known."""

    body: bytes
    rate_limit_remaining: float | None


def _unchanged(text: AnyStr, /) -> AnyStr:
    return text


class Client:
    """Calls for one account, over at most `connections` open connections.

    `key` is asked for the API key at each call. `timeout` (seconds) bounds connecting and each read; a whole call ends
    within three times that. `max_bytes` bounds a body. All text that leaves, bodies included, passes through `redact`.
    Requests are sent by `adapter`, by default over the network; redirects are not followed and cookies not kept.
    """

    def __init__(
        self,
        base_url: str,
        key: Callable[[], str],
        *,
        user_agent: str,
        adapter: BaseAdapter | None = None,
        timeout: float = 10.0,
        connections: int = 5,
        max_bytes: int = MAX_BYTES,
        clock: Callable[[], float] = time.time,
        redact: Redact = _unchanged,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._key = key
        self._user_agent = user_agent
        self._adapter = adapter or Transport(pool_maxsize=connections)
        self._timeout = timeout
        self._max_bytes = max_bytes
        self._clock = clock
        self._redact = redact

    @property
    def longest_call(self) -> float:
        """The longest time that a call takes, in seconds."""
        return 3 * self._timeout

    def jobs(self) -> Reply:
        """`GET /fine-tunes`: the list of all jobs."""
        return self._get(_LIST)

    def job(self, job_id: str) -> Reply:
        """`GET /fine-tunes/{id}`: all fields of one job."""
        return self._get(f"{_LIST}/{quote(job_id, safe='')}")

    def events(self, job_id: str) -> Reply:
        """`GET /fine-tunes/{id}/events`."""
        return self._get(f"{_LIST}/{quote(job_id, safe='')}/events")

    def metrics(self, job_id: str, step: int) -> Reply:
        """`GET /fine-tunes/{id}/metrics`: the training rows from `step` on, or all of them if it is 0."""
        query = {"global_step_from": step} if step else {}
        return self._get(f"{_LIST}/{quote(job_id, safe='')}/metrics", **query)

    def close(self) -> None:
        """Closes the connections."""
        self._adapter.close()

    def _get(self, path: str, **query: int) -> Reply:
        limit = self._max_bytes if path == _LIST else min(self._max_bytes, _MAX_JOB_BYTES)
        total = self.longest_call
        began = time.monotonic()
        response = None
        try:
            with call_limits(self._timeout, total), self._send(path, query) as response:
                return self._reply(response, limit)
        except ApiError:
            raise
        except Exception as error:
            if not isinstance(error, OSError | HTTPError | HTTPException):
                log.debug("unexpected error in a call to the API", exc_info=True)
            cause = root_cause(error)
            reason = reason_for(cause, responded=response is not None)
            message = self._quote(str(cause) or type(cause).__name__)
            if reason == "timeout" and time.monotonic() - began >= total:
                message = f"no complete response within {total:g}s"
            elif reason == "body":
                message = f"the response cannot be read: {message}"
            raise ApiError(reason, message) from None

    def _send(self, path: str, query: Mapping[str, int]) -> requests.Response:
        # Without a session there are no cookies, no redirects and no ~/.netrc, which would replace the key.
        request = requests.Request("GET", self._base_url + path, params=query).prepare()
        request.headers.update(
            {
                "Authorization": f"Bearer {self._key()}",
                "User-Agent": self._user_agent,
                "Accept": "application/json",
                "Accept-Encoding": "gzip, deflate",
            }
        )
        return self._adapter.send(
            request,
            stream=True,
            timeout=self._timeout,
            verify=os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True,
            proxies={} if _is_loopback(self._base_url) else get_environ_proxies(self._base_url),
        )

    def _reply(self, response: requests.Response, limit: int) -> Reply:
        if response.status_code != 200:
            raise self._refusal(response)
        body = _read(response.raw, limit)
        return Reply(self._redact(body), _number(response.headers.get("x-ratelimit-remaining")))

    def _refusal(self, response: requests.Response) -> ApiError:
        status = response.status_code
        if response.is_redirect:
            target = self._quote(response.headers["Location"]).partition("?")[0]
            message = f"redirected to {target}, which would receive the API key: set --together.base-url"
        else:
            message = self._quote(_error_text(response)) or self._quote(response.reason or "no reason given")
        return ApiError("http", f"HTTP {status}: {message}", status, _pause(response.headers, self._clock()))

    def _quote(self, text: str) -> str:
        """Foreign text for a message: valid Unicode on one line, without secrets, and only then cut."""
        text = self._redact(text.encode(errors="replace").decode())
        text = " ".join(_USERINFO.sub("//", text).split())
        return text if len(text) <= _MAX_TEXT else f"{text[: _MAX_TEXT - 1]}…"


_USERINFO = re.compile(r"//[^\s\"'<>]*@")


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


def _read(raw: BaseHTTPResponse, limit: int) -> bytes:
    body = bytearray()
    try:
        for chunk in raw.stream(2**16, decode_content=True):
            body += chunk
            if len(body) > limit:
                raise ApiError("body", f"the response is larger than {limit} bytes")
        return bytes(body)
    finally:
        body.clear()  # the traceback of an error keeps this frame until the next garbage collection


def _error_text(response: requests.Response) -> str:
    """What a refusal says: the message of the API's JSON, else the body as it is; empty if it cannot be read."""
    try:
        text = _read(response.raw, _MAX_ERROR_BYTES).decode(errors="replace")
    except (ApiError, HTTPError, HTTPException, OSError):
        return ""
    with suppress(ValueError, RecursionError):
        match json.loads(text):
            case {"error": {"message": str(message)} | str(message)}:
                return message
    return text


def _pause(headers: Mapping[str, str], now: float) -> float | None:
    """The pause a response asks for, in seconds: `retry-after-ms`, else `Retry-After` as seconds or as a date."""
    milliseconds = _number(headers.get("retry-after-ms"))
    seconds = _number(headers.get("Retry-After")) if milliseconds is None else milliseconds / 1000
    if seconds is None:
        until = _date(headers.get("Retry-After"))
        # By the API's own clock where it tells the time: ours may be wrong.
        seconds = None if until is None else until - (_date(headers.get("Date")) or now)
    return None if seconds is None else min(max(seconds, 0.0), _MAX_PAUSE)


def _number(text: str | None) -> float | None:
    with suppress(ValueError):
        if text is not None and math.isfinite(number := float(text)):
            return number
    return None


def _date(text: str | None) -> float | None:
    with suppress(ValueError, OverflowError):
        if text is not None:
            return email.utils.parsedate_to_datetime(text).timestamp()
    return None
