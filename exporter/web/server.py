"""An HTTP/1.1 server for any WSGI application, built for clients that are slow, silent or hostile.

A thread answers each request with ordinary blocking calls, as in prometheus-client's server. One loop does the rest: it
accepts, waits for the head of each request, and cuts connections that are past their deadline, whatever their
thread is doing. `docs/server.md` has the reasons and the figures.
"""

import errno
import logging
import queue
import select
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from wsgiref.types import WSGIApplication

from exporter.web import wsgi
from exporter.web.connection import Connection

log = logging.getLogger(__name__)

REQUEST_SECONDS = 10.0
"""How long a client may take to send the head of a request, including the TLS handshake before the first."""

ANSWER_SECONDS = 60.0
"""How long it may take to read the answer."""

IDLE_SECONDS = 300.0
"""How long a connection may stay open between two requests."""

MAX_CONNECTIONS = 256
"""At this limit a new connection takes the place of the one that has been silent longest."""

SWITCH_SECONDS = 0.0005
"""What the program should give to `sys.setswitchinterval`: a scrape takes back the interpreter some ten times, and with
Python's own 5 ms it waits as long each time while another thread computes."""

ROOM = 64
"""How many connections are accepted at a time; room is made for them first."""

_BACKLOG = 4096  # the kernel lowers it to its own limit
_BUFFER_BYTES = 2**17  # in the kernel, for each direction of a connection; it would take megabytes
_SILENT_SECONDS = 1.0
_ANSWER_LEAD_SECONDS = 0.25
_TICK_SECONDS = 0.1
_SPARE_WORKERS = 8


class Server:
    """Serves `app` on an address like `:10124`, `127.0.0.1:0` or `[::1]:10124`, from threads of its own.

    `tls` returns the TLS context for a new connection, or nothing for plain HTTP. Raises `OSError` if the address
    cannot be used.
    """

    def __init__(
        self, address: str, app: WSGIApplication, tls: Callable[[], ssl.SSLContext | None] = lambda: None
    ) -> None:
        self._app = app
        self._tls = tls
        self._listener = _listen(address)
        self._host, self._port = self._listener.getsockname()[:2]
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._listener, select.POLLIN)
        self._poll.register(self._woken, select.POLLIN)
        self._connections: set[Connection] = set()
        self._silent: dict[int, Connection] = {}  # by descriptor: those whose next request the loop waits for
        self._answered: deque[Connection] = deque()  # to become silent
        self._ready: queue.SimpleQueue[Connection | None] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards the two below
        self._workers: set[threading.Thread] = set()
        self._spare = 0  # workers without a connection
        self._stopping = False
        self._loop = threading.Thread(target=self._run, name=f"web {address}", daemon=True)
        try:
            self._loop.start()
        except RuntimeError as error:
            self._release()
            raise OSError(errno.EAGAIN, str(error)) from None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self._port)

    def stop(self) -> None:
        """Stops listening and cuts all connections, including those being answered."""
        self._stopping = True
        self._wake()
        self._loop.join()
        for connection in list(self._connections):
            self._cut(connection)
        workers = list(self._workers)
        for _ in workers:
            self._ready.put(None)
        deadline = time.monotonic() + 1.0
        for worker in workers:
            worker.join(max(deadline - time.monotonic(), 0.0))
        while self._answered:
            self._answered.popleft().socket.close()
        self._release()

    def _release(self) -> None:
        for opened in (self._listener, self._woken, self._waker):
            opened.close()

    # The loop, in which nothing waits for a client.

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._step()
            except Exception:
                log.exception("server loop failed")
                time.sleep(_TICK_SECONDS)

    def _wake(self) -> None:
        with suppress(OSError):  # if it is full, the loop is about to wake anyway
            self._waker.send(b"\0")

    def _step(self) -> None:
        arrivals = False
        events = self._poll.poll(_TICK_SECONDS * 1000)
        for descriptor, _ in events:
            if descriptor == self._listener.fileno():
                arrivals = True
            elif descriptor == self._woken.fileno():
                self._woken.recv(4096)
            else:
                self._receive(descriptor)
        while self._answered:
            self._await_request(self._answered.popleft())
        if arrivals:
            self._accept()
        self._add_workers()
        if not events:
            self._end_workers()
        now = time.monotonic()
        for connection in list(self._connections):
            if connection.deadline < now:
                self._cut(connection)

    def _accept(self) -> None:
        # Not until empty: whoever has sent something since the last poll must not count as silent.
        while len(self._connections) > MAX_CONNECTIONS - ROOM:
            self._cut(_longest_silent(self._connections))
        for _ in range(ROOM):
            try:
                accepted, address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # out of descriptors or memory
                self._free_something(self._connections, error)
                return
            connection = Connection(accepted, address[0])
            connection.expect(REQUEST_SECONDS)
            self._connections.add(connection)
            self._await_request(connection)

    def _await_request(self, connection: Connection) -> None:
        self._silent[connection.socket.fileno()] = connection
        self._poll.register(connection.socket, select.POLLIN)

    def _receive(self, descriptor: int) -> None:
        """Takes what a silent client has sent. Its connection goes to a worker once that can do something with it."""
        connection = self._silent.get(descriptor)
        if connection is None:  # cut since the poll
            return
        if not connection.received:
            connection.expect(REQUEST_SECONDS)
        if connection.needs_worker():
            del self._silent[descriptor]
            self._poll.unregister(descriptor)
            connection.our_turn = True
            self._ready.put(connection)

    def _add_workers(self) -> None:
        """Keeps a few workers ready beyond those that are about to take a connection."""
        while self._ready.qsize() + _SPARE_WORKERS > self._spare and len(self._workers) < MAX_CONNECTIONS:
            worker = threading.Thread(target=self._work, name=f"web {self.port} worker", daemon=True)
            with self._lock:
                self._workers.add(worker)
                self._spare += 1
            try:
                worker.start()
            except (RuntimeError, MemoryError) as error:
                with self._lock:
                    self._workers.discard(worker)
                    self._spare -= 1
                if self._ready.qsize() > self._spare:
                    self._free_something(self._connections.difference(self._silent.values()), error)
                return

    def _end_workers(self) -> None:
        """Ends the workers that a burst of requests left behind."""
        with self._lock:
            surplus = max(self._spare - _SPARE_WORKERS, 0)
            self._spare -= surplus
        for _ in range(surplus):
            self._ready.put(None)

    def _free_something(self, connections: Iterable[Connection], error: Exception) -> None:
        log.debug("out of resources", extra={"error": str(error)})
        self._cut(_longest_silent(connections))
        time.sleep(_TICK_SECONDS / 2)  # it takes a moment, and the loop must not spin until then

    def _cut(self, connection: Connection | None) -> None:
        """Closes a silent connection; one that a worker has is closed by that worker, which this wakes."""
        if connection is None:
            return
        self._connections.discard(connection)
        descriptor = connection.socket.fileno()
        if self._silent.get(descriptor) is connection:
            del self._silent[descriptor]
            self._poll.unregister(descriptor)
            connection.socket.close()
            return
        connection.abort()

    # The workers: each has one connection at a time, and waits for its client with blocking calls.

    def _work(self) -> None:
        while connection := self._ready.get():
            with self._lock:
                self._spare -= 1
            self._serve(connection)
            with self._lock:
                self._spare += 1
        with self._lock:
            self._workers.discard(threading.current_thread())

    def _serve(self, connection: Connection) -> None:
        try:
            if self._answer_all(connection):
                connection.our_turn = False
                connection.expect(IDLE_SECONDS)
                self._answered.append(connection)
                self._wake()
                return
        except OSError as error:  # including TLS errors
            log.debug("connection failed", extra={"client": connection.client, "error": str(error)})
        except Exception:
            log.exception("connection failed", extra={"client": connection.client})
        self._connections.discard(connection)
        connection.socket.close()

    def _answer_all(self, connection: Connection) -> bool:
        """Answers the requests that have arrived. Returns whether to wait for another one."""
        if connection.new:
            connection.open(self._tls())
        while head := connection.read_head():
            connection.expect(ANSWER_SECONDS)
            if not self._answer(connection, head):
                return False
            if not connection.has_more():
                return True
            connection.expect(REQUEST_SECONDS)
        return False

    def _answer(self, connection: Connection, head: bytes) -> bool:
        """Answers one request. Returns whether the connection may stay open."""
        try:
            environ = wsgi.environ(head)
        except wsgi.BadRequestError as error:
            text = f"{error}\n".encode()
            connection.send(wsgi.response(str(error), [("Content-Type", "text/plain")], [text], last=True))
            connection.drain()
            return False
        environ["SERVER_NAME"], environ["SERVER_PORT"] = str(self._host), str(self._port)
        environ["REMOTE_ADDR"] = connection.client
        environ["wsgi.url_scheme"] = connection.scheme
        status, headers, body = wsgi.call(self._app, environ)
        last = wsgi.is_last(environ, headers)
        connection.send(wsgi.response(status, headers, body, last=last))
        if wsgi.has_body(environ):
            connection.drain()
        return not last


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) < 2**16):
        raise OSError(errno.EINVAL, "invalid port")
    name, family, dual = ("", int(port)), socket.AF_INET6, not host and socket.has_dualstack_ipv6()
    if not dual:
        try:
            found = socket.getaddrinfo(host.strip("[]") or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        except ValueError:  # a name that cannot be encoded, such as `a..b`
            raise OSError(errno.EINVAL, "invalid host name") from None
        name, family = (str(found[0][4][0]), int(port)), found[0][0]
    listener = socket.create_server(name, family=family, backlog=_BACKLOG, dualstack_ipv6=dual)
    listener.setblocking(False)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        listener.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
    if hasattr(socket, "TCP_DEFER_ACCEPT"):  # Linux: clients that send nothing stay in the kernel for so long
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, int(REQUEST_SECONDS))
    return listener


def _longest_silent(connections: Iterable[Connection]) -> Connection | None:
    now = time.monotonic()

    def rank(connection: Connection) -> tuple[bool, float]:
        # A client counts as silent after a moment: before, it gives way only to answers that have just begun. Otherwise
        # slow readers, which are being answered, would keep out everyone else.
        silent = not connection.our_turn and connection.heard < now - _SILENT_SECONDS
        return not silent, connection.heard + (_ANSWER_LEAD_SECONDS if connection.our_turn else 0.0)

    return min(list(connections), key=rank, default=None)
