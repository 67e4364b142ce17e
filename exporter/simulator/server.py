"""Responses over HTTP on loopback: a thread for each connection, which is kept alive."""

import socket
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from threading import Event, Thread
from typing import Any
from weakref import WeakSet

from exporter.simulator.traffic import Response, error

Answer = Callable[[str, str | None], Response]


class Server:
    """Responds to every GET on a loopback port with `answer(target, authorization)`, from its creation on."""

    def __init__(self, port: int, answer: Answer) -> None:
        self._tcp = _Server(port, answer)
        self._thread = Thread(target=self._tcp.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._tcp.server_address[1])

    def close(self) -> None:
        """Close every connection and wait for every thread to end."""
        self._tcp.shutdown()
        self._thread.join()
        for connection in self._tcp.connections:
            with suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_RDWR)
        self._tcp.stopping.set()  # only now, so that no delayed response is sent early
        self._tcp.server_close()


class _Server(ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 1024

    def __init__(self, port: int, answer: Answer) -> None:
        self.answer = answer
        self.stopping = Event()
        self.connections: WeakSet[socket.socket] = WeakSet()
        super().__init__(("127.0.0.1", port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        with suppress(ConnectionError):  # the client may leave at any time
            super().finish_request(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 20  # head and body are sent together, at the end of the request
    server: _Server

    def do_GET(self) -> None:
        response = self.server.answer(self.path, self.headers["Authorization"])
        self.server.stopping.wait(response.delay)
        self._send(response)

    def send_error(self, code: int, message: str | None = None, *_: object, **__: object) -> None:
        self.close_connection = True  # the unread body may follow
        self._send(error(405 if code == 501 else code, message or ""))  # the base class sends 501 for all but GET

    def _send(self, response: Response) -> None:
        headers = {
            "content-type": "application/json",
            "content-length": str(len(response.body)),
            "connection": "close" if self.close_connection else "keep-alive",
            **response.headers,
        }
        self.send_response(response.status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(response.body if self.command != "HEAD" else b"")

    def log_message(self, *_: object, **__: object) -> None:
        pass
