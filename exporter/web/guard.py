"""What stands before the application with `--web.config.file`: a rate limit, passwords and headers."""

import atexit
import base64
import binascii
import hmac
import logging
import os
import secrets
import ssl
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import bcrypt
from pydantic import SecretStr

from exporter.web.config import RateLimit, load_web_config
from exporter.web.errors import WebConfigError
from exporter.web.tls import tls_context

log = logging.getLogger(__name__)

_CHECK_SECONDS = 1.0  # from one look at the files to the next
_MAX_PASSWORD_BYTES = 72  # bcrypt ignores what follows, so a longer one could match by its beginning
_MAX_KNOWN = 1000
_MAX_CHECKS_PER_CLIENT = 4

_bcrypt = threading.Lock()  # one at a time: more would take all processors
_exiting = threading.Event()


@atexit.register
def _finish_bcrypt() -> None:
    """Lets no thread be in bcrypt when the interpreter ends: before Python 3.14 that aborts the process."""
    _exiting.set()
    _bcrypt.acquire()


class Guard:
    """The file at `path` in force: for each connection its TLS context, before each request its limits and passwords.

    The file, and those that it names, are read again when they change; if they cannot be used, what was stays in force.
    Raises `WebConfigError` if they cannot be used at first.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._checked = clock()
        self._read = _Read(path)
        self._stamp = self._read.stamp
        self._passwords = _Passwords()
        self._bucket = _Bucket(clock)

    def context(self) -> ssl.SSLContext | None:
        """The TLS context for a new connection; none if the file asks for plain HTTP."""
        self._refresh()
        return self._read.context

    def protect(self, app: WSGIApplication) -> WSGIApplication:
        """`app` behind the limits and passwords of the file, with its headers."""

        def guarded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            self._refresh()
            config = self._read.config
            extra = config.http_server_config.headers

            def start(status: str, headers: list[tuple[str, str]], *exc_info: object) -> Callable[[bytes], object]:
                replaced = {name.lower() for name in extra}
                kept = [(name, value) for name, value in headers if name.lower() not in replaced]
                return start_response(status, [*kept, *extra.items()], *exc_info)  # type: ignore[arg-type]

            if not self._bucket.take(config.rate_limit):
                return _refuse(start, "429 Too Many Requests")
            if config.basic_auth_users:
                refusal = self._passwords.refusal(config.basic_auth_users, environ)
                if refusal:
                    return _refuse(start, refusal)
                environ.pop("HTTP_AUTHORIZATION")
            return app(environ, start)

        return guarded

    def _refresh(self) -> None:
        """Reads the files again if they have changed."""
        with self._lock:
            if self._clock() - self._checked < _CHECK_SECONDS:
                return
            self._checked = self._clock()
            stamp = _stamp(self._read.files)
            if stamp == self._stamp:
                return
            self._stamp = stamp
            try:
                self._read = _Read(self._path)
            except WebConfigError as error:
                log.error("web configuration not reloaded, the old one stays", extra={"error": str(error)})  # noqa: TRY400 - says it all
                return
            self._stamp = self._read.stamp
            log.info("web configuration reloaded", extra={"file": str(self._path)})


class _Read:
    """What the files said when they were read; `WebConfigError` if that cannot be used."""

    def __init__(self, path: Path) -> None:
        stamp = _stamp([path])  # before reading: what changes meanwhile is read once more
        self.config = load_web_config(path)
        tls = self.config.tls_server_config
        files = tls.files if tls else ()
        self.files = (path, *files)
        self.stamp = stamp + _stamp(files)
        try:
            self.context = tls_context(tls) if tls else None
        except WebConfigError as error:
            raise WebConfigError(f"{path}:{self.config.tls_line}: {error}") from None


def _stamp(files: Iterable[Path]) -> list[tuple[int, ...]]:
    """What changes when one of the files does."""
    return [_stat(file) for file in files]


def _stat(path: Path) -> tuple[int, ...]:
    try:
        found = os.stat(path)
    except (OSError, ValueError):  # ValueError: no file can have that name
        return ()
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _refuse(start_response: StartResponse, status: str) -> list[bytes]:
    body = f"{status.partition(' ')[2]}\n".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    if status.startswith("401"):
        headers.append(("WWW-Authenticate", 'Basic realm="together-finetune-exporter"'))
    if status.startswith("429"):
        headers.append(("Retry-After", "1"))
    start_response(status, headers)
    return [body]


class _Passwords:
    """Checks passwords, which takes bcrypt some 50 ms on purpose, so that those who know theirs need not wait."""

    def __init__(self) -> None:
        self._secret = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, None] = OrderedDict()  # what was right, as a keyed hash
        self._lock = threading.Lock()  # guards `_known` and `_waiting`
        self._waiting: Counter[str] = Counter()

    def refusal(self, users: Mapping[str, SecretStr], environ: WSGIEnvironment) -> str | None:
        """The status of a refusal; none if the request has the password of one of the users."""
        found = _credentials(environ.get("HTTP_AUTHORIZATION", ""))
        if not found:
            return "401 Unauthorized"
        user, password = found
        if len(password) > _MAX_PASSWORD_BYTES:
            return "401 Unauthorized"
        hashed = users[user].get_secret_value() if user in users else _nobody(users)
        known = hmac.digest(self._secret, repr((user, hashed, password)).encode(), "sha256")
        with self._lock:
            if known in self._known:
                self._known.move_to_end(known)
                return None
            client = environ.get("REMOTE_ADDR", "")
            if self._waiting[client] >= _MAX_CHECKS_PER_CLIENT:
                return "429 Too Many Requests"
            self._waiting[client] += 1
        try:
            with _bcrypt:
                right = not _exiting.is_set() and bcrypt.checkpw(password, hashed.encode()) and user in users
        finally:
            with self._lock:
                self._waiting[client] -= 1
                self._waiting += Counter()  # forgets those at zero
        if not right:
            return "401 Unauthorized"
        with self._lock:
            self._known[known] = None
            while len(self._known) > _MAX_KNOWN:
                self._known.popitem(last=False)
        return None


def _credentials(header: str) -> tuple[str, bytes] | None:
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None
    user, colon, password = decoded.partition(b":")
    return (user.decode("utf-8", "surrogateescape"), password) if colon else None


def _nobody(users: Mapping[str, SecretStr]) -> str:
    """A hash that no password has, as slow to check as that of a user: unknown users must not be faster."""
    any_hash = next(iter(users.values())).get_secret_value()
    return any_hash[:7] + "." * 53


class _Bucket:
    """A token bucket, as `rate_limit` describes it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._limit = RateLimit()
        self._tokens = 0.0
        self._filled = clock()

    def take(self, limit: RateLimit) -> bool:
        """Whether a request may pass now."""
        if not limit.interval:
            return True
        with self._lock:
            now = self._clock()
            if limit != self._limit:
                self._limit, self._tokens = limit, float(limit.burst)
            self._tokens = min(self._tokens + (now - self._filled) / limit.interval, float(limit.burst))
            self._filled = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
