"""One connection: the blocking calls on its socket, whose turn it is, and how another thread ends them."""

import errno
import re
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice

from exporter.web import wsgi

_DRAIN_SECONDS = 1.0
_MAX_DRAINED_BYTES = 2**16
_MAX_JOINED_BYTES = 2**20
_MAX_VIEWS = 1024  # Linux takes no more in one sendmsg
_PEEK = socket.MSG_PEEK | socket.MSG_DONTWAIT
_TLS_HANDSHAKE = b"\x16"
_NO_LINGER = struct.pack("ii", 1, 0)
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")


@dataclass(eq=False, slots=True)
class Connection:
    """A connection and its deadline. One thread reads and writes; another may look at it and cut it."""

    socket: socket.socket
    client: str
    deadline: float = 0.0  # by the monotonic clock, like `heard`
    heard: float = 0.0  # when the client last did something
    our_turn: bool = False  # to read or to answer; otherwise the client is silent
    new: bool = True
    cut: bool = False
    received: bytes = b""  # not used yet

    def expect(self, seconds: float) -> None:
        """Gives the client this long for its next part."""
        self.heard = time.monotonic()
        self.deadline = self.heard + seconds

    def open(self, context: ssl.SSLContext | None) -> None:
        """Prepares the socket, with a handshake if there is a TLS context."""
        self.new = False
        if context and self.received:
            raise ConnectionAbortedError(errno.ECONNABORTED, "no TLS handshake")
        self.socket.setblocking(True)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            # The handshake waits for the client, so it must be possible to cut it: not within wrap_socket.
            wrapped = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
            self.socket = wrapped
            if self.cut:
                raise ConnectionAbortedError(errno.ECONNABORTED, "cut before the handshake")
            self.our_turn = False
            wrapped.do_handshake()

    def needs_worker(self) -> bool:
        """Reads what has arrived, without waiting, and returns whether a thread could go on; with the head of a request
        that has only begun, it would do nothing but wait."""
        if isinstance(self.socket, ssl.SSLSocket):
            return True
        try:
            if self.new and self.socket.recv(1, _PEEK) == _TLS_HANDSHAKE:
                return True
            chunk = self.socket.recv(wsgi.MAX_HEAD_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:  # the thread meets it again, and closes the socket
            return True
        self.received += chunk
        self.heard = time.monotonic()
        too_long = len(self.received) > wsgi.MAX_HEAD_BYTES
        return not chunk or too_long or _END_OF_HEAD.search(self.received.lstrip(b"\r\n")) is not None

    @property
    def scheme(self) -> str:
        """`http` or `https`."""
        return "https" if isinstance(self.socket, ssl.SSLSocket) else "http"

    def read_head(self) -> bytes:
        """The next head, too much of one that is too long, or nothing if the client ends the connection before it is
        complete."""
        searched = 0
        self.received = self.received.lstrip(b"\r\n")
        while not (end := _END_OF_HEAD.search(self.received, max(searched - 3, 0))):
            searched = len(self.received)
            if searched > wsgi.MAX_HEAD_BYTES:
                return self.received
            chunk = self.socket.recv(wsgi.MAX_HEAD_BYTES)
            if not chunk:
                return b""
            self.heard = time.monotonic()
            self.received = self.received + chunk if searched else chunk.lstrip(b"\r\n")
            self.our_turn = False
        head, self.received = self.received[: end.start()], self.received[end.end() :]
        self.our_turn = True
        return head

    def has_more(self) -> bool:
        """Whether something of another request is here already, where no poll would see it."""
        return bool(self.received) or (isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0)

    def send(self, parts: Iterable[bytes]) -> None:
        """Sends the parts, without joining or copying them unless they are encrypted."""
        if isinstance(self.socket, ssl.SSLSocket):
            for joined in _joined(parts):  # many calls would take back the interpreter many times
                self.socket.sendall(joined)
            return
        views = deque(memoryview(part) for part in parts if part)
        while views:
            sent = self.socket.sendmsg(islice(views, _MAX_VIEWS))
            while views and sent >= len(views[0]):
                sent -= len(views.popleft())
            if sent:
                views[0] = views[0][sent:]

    def drain(self) -> None:
        """Reads what the client still sends: closing with unread bytes would destroy the answer on its way."""
        self.our_turn = False
        self.expect(_DRAIN_SECONDS)
        self._shut_down(socket.SHUT_WR)
        drained = 0
        while drained < _MAX_DRAINED_BYTES and (chunk := self.socket.recv(wsgi.MAX_HEAD_BYTES)):
            drained += len(chunk)

    def abort(self) -> None:
        """Makes the thread that reads or writes fail at once, from another one. That thread closes the socket."""
        self.cut = True
        with suppress(OSError):  # it may be closing the socket at this moment
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self._shut_down(socket.SHUT_RDWR)

    def _shut_down(self, how: int) -> None:
        # SSLSocket's own shutdown also drops the encryption: another thread could then write in plain text.
        socket.socket.shutdown(self.socket, how)


def _joined(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The parts, joined to no more than `_MAX_JOINED_BYTES` unless one of them has more."""
    group: list[bytes] = []
    size = 0
    for part in parts:
        if group and size + len(part) > _MAX_JOINED_BYTES:
            yield b"".join(group)
            group, size = [], 0
        group.append(part)
        size += len(part)
    yield b"".join(group)
