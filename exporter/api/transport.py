"""HTTP with a deadline for each call.

The timeouts of requests bound one attempt to connect or one read each, so a host with many silent addresses, or a peer
that sends a byte now and then, could keep a call going without end. Here every wait ends by the deadline of its call:
for the resolver, the connection, the handshakes with a proxy and of TLS, the head and the body.
"""

import socket
import ssl
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_ import create_urllib3_context

_MAX_ADDRESSES = 8


@dataclass(frozen=True)
class _Limits:
    timeout: float
    deadline: float
    """By the monotonic clock."""


_limits: ContextVar[_Limits] = ContextVar("limits")


@contextmanager
def call_limits(timeout: float, total: float) -> Iterator[None]:
    """Limits each wait of a call in this thread to `timeout`, and the call to `total` (seconds)."""
    token = _limits.set(_Limits(timeout, time.monotonic() + total))
    try:
        yield
    finally:
        _limits.reset(token)


def _next_wait() -> float:
    """The most seconds that the next wait may take; `TimeoutError` once the deadline has passed."""
    limits = _limits.get()
    left = limits.deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return min(left, limits.timeout)


class Transport(HTTPAdapter):
    """The `requests` adapter whose connections keep to `call_limits`."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """The pool of connections for a request, to the host itself or to a proxy."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _CONNECTIONS.get(pool.ConnectionCls, pool.ConnectionCls)
        return pool


class _Connection(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        return _connect(_look_up(self._dns_host, self.port), self.socket_options or ())


class _TLSConnection(_Connection, HTTPSConnection):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ssl_context = _tls_context()
        if self.proxy_config and (self.ca_certs or self.ca_cert_dir):
            context = _tls_context()
            context.load_verify_locations(self.ca_certs, self.ca_cert_dir)
            self.proxy_config = self.proxy_config._replace(ssl_context=context)


_CONNECTIONS: dict[Any, Any] = {HTTPConnection: _Connection, HTTPSConnection: _TLSConnection}


class _Socket(socket.socket):
    def recv_into(self, *args: Any) -> int:
        self.settimeout(_next_wait())
        return super().recv_into(*args)


class _TLSSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        self.settimeout(_next_wait())
        super().do_handshake(block)

    def read(self, *args: Any) -> Any:  # what all methods that receive call
        self.settimeout(_next_wait())
        return super().read(*args)


def _tls_context() -> ssl.SSLContext:
    context = create_urllib3_context()
    context.sslsocket_class = _TLSSocket
    return context


_Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]
"""As `getaddrinfo` returns it."""


def _look_up(host: str, port: int) -> Sequence[_Address]:
    """The addresses of a host, asked for in a thread of its own: a resolver cannot be interrupted, only left behind."""
    answer: Future[Sequence[_Address]] = Future()

    def ask() -> None:
        try:
            answer.set_result(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=ask, name="resolver", daemon=True).start()
    try:
        return answer.result(_next_wait())
    except TimeoutError:
        raise TimeoutError("the name of the host was not resolved in time") from None


def _connect(addresses: Sequence[_Address], options: Any) -> socket.socket:
    """A connection to the first address that accepts one; all together get the time of one wait, in equal shares."""
    end = time.monotonic() + _next_wait()
    addresses = addresses[:_MAX_ADDRESSES]
    failure = OSError("the name of the host has no address")
    for position, (family, kind, protocol, _, address) in enumerate(addresses):
        share = (end - time.monotonic()) / (len(addresses) - position)
        try:
            return _connect_to(_Socket(family, kind, protocol), address, max(share, 0.001), options)
        except OSError as error:
            failure = error
    raise failure


def _connect_to(connection: _Socket, address: Any, timeout: float, options: Any) -> socket.socket:
    try:
        for option in options:
            connection.setsockopt(*option)
        connection.settimeout(timeout)
        connection.connect(address)
        connection.settimeout(_next_wait())
    except BaseException:
        connection.close()
        raise
    return connection
