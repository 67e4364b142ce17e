"""The one error of a call, and its reasons.

ApiError     `code` of `together_finetune_api_requests_total`
├── http         any status but 200; the code is that status
├── timeout      no complete response in time
├── connection   unknown host, refused, reset, a proxy that fails
├── tls          a certificate or a handshake that cannot be trusted
└── body         a response that cannot be read: too large, badly compressed, cut off, not HTTP
"""

import ssl
from http.client import HTTPException
from typing import Literal

import requests
import urllib3

Reason = Literal["timeout", "connection", "tls", "http", "body"]


class ApiError(Exception):
    """A call that failed.

    `status` is the HTTP status of a response other than 200, `retry_after` the pause it asks for, in seconds.
    """

    def __init__(
        self, reason: Reason, message: str, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.status = status
        self.retry_after = retry_after

    @property
    def code(self) -> str:
        """The value of the label `code`: the HTTP status, or the reason where there is none to blame."""
        return str(self.status) if self.reason == "http" else self.reason


def root_cause(error: BaseException) -> BaseException:
    """The first exception of a chain: requests wraps those of urllib3, which wrap those of the system."""
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    return error


def reason_for(cause: BaseException, *, responded: bool) -> Reason:
    """The reason that a root cause stands for; `responded` says whether the head of a response had arrived."""
    match cause:
        case TimeoutError() | requests.Timeout():
            return "timeout"
        case ssl.SSLError() | urllib3.exceptions.SSLError() | requests.exceptions.SSLError():
            return "tls"
        case OSError():
            return "connection"
        case HTTPException():
            return "body"
        case _:
            return "body" if responded else "connection"
