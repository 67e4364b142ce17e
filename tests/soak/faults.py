"""The table of faults: what the API, a proxy or the network does, and what the exporter should report."""

import gzip
import socket
import time
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from tests.soak.upstream import Answer, Call, Fault, Job, listed
from tests.support import http

UNKNOWN_HOST = "nowhere.invalid"
ELSEWHERE = "http://elsewhere.invalid/v1"
MEBIBYTE = 2**20

_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
_RESET = b"\1\0\0\0\0\0\0\0"  # for SO_LINGER: close with a reset


# ------------------------------------------------------------------------------------------------------ what is sent


def _sends(data: bytes) -> Answer:
    return lambda call: call.send(data)


def _status(status: str, body: str = "", /, **headers: str) -> Answer:
    """That status; after a refused key a 500, as a second refusal in a row would slow the polls down for minutes."""
    code = status.partition(" ")[0]
    return lambda call: call.send(
        http("later", "500 Internal Server Error")
        if code in ("401", "403") and call.number > 1
        else http(body, status, **headers)
    )


def _echo(status: str) -> Answer:
    """An answer that repeats the key in all forms that a server might."""

    def answer(call: Call) -> None:
        escaped = "".join(f"\\u{ord(character):04x}" for character in call.key)
        split = f"{call.key[:7]}\n {call.key[7:]}"
        call.send(http(f'{{"error": {{"message": "{call.key} {escaped}"}}, "split": "{split}"}}', status))

    return answer


def _drips(start: bytes) -> Answer:
    def answer(call: Call) -> None:
        call.send(start)
        for _ in range(500):
            time.sleep(0.02)
            call.send(b"x")

    return answer


def _floods(start: bytes, piece: bytes) -> Answer:
    def answer(call: Call) -> None:
        call.send(start)
        while True:
            call.send(piece)

    return answer


def _silence(call: Call) -> None:
    while call.connection.recv(65536):
        pass


def _resets(start: bytes) -> Answer:
    def answer(call: Call) -> None:
        call.send(start)
        call.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    return answer


def _cut(call: Call) -> None:
    """Half of the answer."""
    whole = http(call.body)
    call.send(whole[: len(whole) // 2 + 50])


def _reset_in_body(call: Call) -> None:
    _resets(http(call.body, Content_Length=str(len(call.body) + 9)))(call)


def _packed(encoding: str, pack: Callable[[bytes], bytes]) -> Answer:
    return lambda call: call.send(http(pack(call.body), Content_Encoding=encoding))


def _typed(kind: str) -> Answer:
    return lambda call: call.send(http(call.body, Content_Type=kind))


def _until_closed(call: Call) -> None:
    call.send(b"HTTP/1.0 200 OK\r\n\r\n" + call.body)


def _in_chunks(call: Call) -> None:
    chunks = (call.body[start : start + 99] for start in range(0, len(call.body), 99))
    call.send(_CHUNKED + b"".join(b"%x;x=y\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\nX: y\r\n\r\n")


def _slowly(call: Call) -> None:
    """The whole answer in a few pieces, in good time."""
    data = http(call.body)
    size = len(data) // 5 + 1
    for start in range(0, len(data), size):
        call.send(data[start : start + size])
        time.sleep(0.02)


def _after_continue(call: Call) -> None:
    call.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + http(call.body))


# ----------------------------------------------------------------------------------------------------- what lists have


def _old_jobs(number: int, **fields: Callable[[int], Any]) -> list[Job]:
    """Jobs that ended long ago."""
    times = {"created_at": "2025-01-01T00:00:00Z", "updated_at": "2025-01-02T00:00:00Z"}
    ended = {"status": "completed", **times, "model": "old", "events": []}
    return [{"id": f"ft-old-{n}", **ended, **{name: make(n) for name, make in fields.items()}} for n in range(number)]


def _grown(number: int, **fields: Callable[[int], Any]) -> Fault:
    return Fault(codes=_OK, edit=lambda jobs: listed(jobs + _old_jobs(number, **fields)), more=number)


def _with(*more: Any, jobs: int = 0) -> Fault:
    """Other entries in the list, of which so many are jobs."""
    return Fault(codes=_OK, edit=lambda shown: listed([*shown, *more]), more=jobs)


def _with_field(text: bytes) -> Fault:
    """A job of which one field is this JSON."""
    old = _old_jobs(1)[0]
    return Fault(codes=_OK, edit=lambda jobs: listed([*jobs, {**old, "odd": 0}]).replace(b'"odd": 0', text), more=1)


def _written(write: Callable[[bytes], bytes]) -> Fault:
    return Fault(codes=_OK, edit=lambda jobs: write(listed(jobs)))


def _changed(**fields: Any) -> Fault:
    """All jobs with other fields."""
    return Fault(codes=_OK, edit=lambda jobs: listed([{**job, **fields} for job in jobs]))


def _code(*codes: str) -> frozenset[str]:
    return frozenset(codes)


_OK = _code("200")
_BODY = _code("body")
_TIMEOUT = _code("timeout")
_CONNECTION = _code("connection")
_DEEP = b"[" * 100_000

ANSWERS: Mapping[str, Fault] = {
    **{
        status: Fault(codes=_code(status.partition(" ")[0]), answer=_status(status, body))
        for status, body in [
            ("204 No Content", ""),
            ("206 Partial Content", '{"data": ['),
            ("304 Not Modified", ""),
            ("400 Bad Request", '{"error": {"message": "no"}}'),
            ("401 Unauthorized", "Unauthorized"),
            ("402 Payment Required", '{"error": {"message": "Credit limit exceeded"}}'),
            ("403 Forbidden", '{"error": "no"}'),
            ("404 Not Found", "<html>"),
            ("408 Request Timeout", ""),
            ("409 Conflict", "{}"),
            ("500 Internal Server Error", "x" * 300_000),
            ("502 Bad Gateway", "<html>\xff</html>"),
            ("503 Service Unavailable", "[" * 50_000),
            ("504 Gateway Timeout", ""),
            ("524", ""),
            ("529 Site overloaded", '{"error": {"message": null}}'),
            ("999 Whatever", ""),
        ]
    },
    **{
        f"{status} with {name}: {value[:40]}": Fault(
            codes=_code(status.partition(" ")[0]), answer=_status(status, **{name: value})
        )
        for status, name, value in [
            ("429 Too Many Requests", "Retry-After", "1"),
            ("429 Too Many Requests", "Retry-After", "soon"),
            ("429 Too Many Requests", "Retry-After", "-9"),
            ("429 Too Many Requests", "Retry-After", "Mon, 21 Sep 2020 14:15:00 GMT"),
            ("429 Too Many Requests", "retry-after-ms", "300"),
            ("503 Service Unavailable", "Retry-After", "9" * 400),
            ("301 Moved Permanently", "Location", ELSEWHERE),
            ("302 Found", "Location", "//elsewhere.invalid"),
            ("307 Temporary Redirect", "Location", "/v2/fine-tunes"),
            ("308 Permanent Redirect", "Location", ELSEWHERE),
        ]
    },
    "an error that echoes the key": Fault(codes=_code("500"), answer=_echo("500 Internal Server Error")),
    "a refusal that echoes the key": Fault(codes=_code("400"), answer=_echo("400 Bad Request")),
    "a list that echoes the key": Fault(codes=_BODY, answer=_echo("200 OK")),
    "an error that drips": Fault(codes=_code("500"), answer=_drips(b"HTTP/1.1 500 No\r\n\r\n")),
    "no body": Fault(codes=_BODY, answer=_sends(http(""))),
    "a body of text": Fault(codes=_BODY, answer=_sends(http("Unauthorized"))),
    "a page for people": Fault(codes=_BODY, answer=_sends(http("<html>", Content_Type="text/html"))),
    "a JSON list": Fault(codes=_BODY, answer=_sends(http("[]"))),
    "null": Fault(codes=_BODY, answer=_sends(http("null"))),
    "an error with status 200": Fault(codes=_BODY, answer=_sends(http('{"error": {"message": "no"}}'))),
    "no list": Fault(codes=_BODY, answer=_sends(http('{"data": null}'))),
    "nesting without end": Fault(codes=_BODY, answer=_sends(http(b'{"data": ' + _DEEP))),
    "a list that ends too early": Fault(codes=_BODY, answer=lambda call: call.send(http(call.body[:-9]))),
    "bytes that are no text": Fault(codes=_BODY, answer=_sends(http(bytes(range(256)) * 100))),
    "half an answer": Fault(codes=_BODY, answer=_cut),
    "a chunk cut off": Fault(codes=_BODY, answer=_sends(_CHUNKED + b"400\r\nabc")),
    "a chunk of negative size": Fault(codes=_BODY, answer=_sends(_CHUNKED + b"-5\r\nabc\r\n0\r\n\r\n")),
    "a chunk size without end": Fault(codes=_BODY, answer=_sends(_CHUNKED + b"1" * 200_000)),
    "gzip that is none": Fault(codes=_BODY, answer=_sends(http(b"abc", Content_Encoding="gzip"))),
    "gzip cut off": Fault(
        codes=_BODY, answer=lambda call: call.send(http(gzip.compress(call.body)[:-20], Content_Encoding="gzip"))
    ),
    "a gzip bomb": Fault(
        codes=_BODY, answer=_sends(http(gzip.compress(bytes(100 * MEBIBYTE)), Content_Encoding="gzip"))
    ),
    "a body without end": Fault(
        codes=_code("body", "timeout"), answer=_floods(b"HTTP/1.1 200 OK\r\n\r\n", b" " * MEBIBYTE)
    ),
    "a header without end": Fault(codes=_BODY, answer=_sends(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000)),
    "headers without end": Fault(codes=_BODY, answer=_floods(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 100)),
    "continue without end": Fault(codes=_TIMEOUT, answer=_floods(b"", b"HTTP/1.1 100 Continue\r\n\r\n")),
    "something other than HTTP": Fault(codes=_BODY, answer=_sends(b"SSH-2.0-OpenSSH\r\n")),
    "no answer": Fault(codes=_CONNECTION, answer=_sends(b"")),
    "a reset": Fault(codes=_CONNECTION, answer=_resets(b"")),
    "a reset in the head": Fault(codes=_CONNECTION, answer=_resets(b"HTTP/1.1 200 OK\r\n")),
    "a reset in the body": Fault(codes=_CONNECTION, answer=_reset_in_body),
    "silence": Fault(codes=_TIMEOUT, answer=_silence),
    "a head that drips": Fault(codes=_TIMEOUT, answer=_drips(b"HTTP/1.1 200 OK\r\nX: ")),
    "a body that drips": Fault(codes=_TIMEOUT, answer=_drips(b"HTTP/1.1 200 OK\r\n\r\n")),
    "chunks that drip": Fault(codes=_TIMEOUT, answer=_drips(_CHUNKED + b"ffff\r\n")),
}
"""Answers that are errors, whatever was asked for."""

ODD: Mapping[str, Fault] = {
    "gzip": Fault(codes=_OK, answer=_packed("gzip", gzip.compress)),
    "deflate": Fault(codes=_OK, answer=_packed("deflate", zlib.compress)),
    "gzip twice": Fault(codes=_OK, answer=_packed("gzip, gzip", lambda body: gzip.compress(gzip.compress(body)))),
    "chunks": Fault(codes=_OK, answer=_in_chunks),
    "HTTP/1.0": Fault(codes=_OK, answer=_until_closed),
    "a slow answer": Fault(codes=_OK, answer=_slowly),
    "100 Continue": Fault(codes=_OK, answer=_after_continue),
    "the content type of a page": Fault(codes=_OK, answer=_typed("text/html; charset=utf-7")),
    "a content type without sense": Fault(codes=_OK, answer=_typed(";;=\xff")),
    "no jobs": Fault(codes=_OK, edit=lambda _: listed([]), empty=True),
    "5,000 jobs": _grown(5_000),
    "50,000 jobs": _grown(50_000),
    "10,000 models": _grown(10_000, model=lambda number: f"model-{number}"),
    "names of a megabyte": _grown(3, model=lambda n: f"{n}" * MEBIBYTE, suffix=lambda _: "\N{LLAMA}" * 2**16),
    "an id of a megabyte": _with({**_old_jobs(1)[0], "id": "x" * MEBIBYTE}),
    "a status of a megabyte": _with({**_old_jobs(1)[0], "status": "x" * MEBIBYTE}, jobs=1),
    "entries that are no jobs": _with(None, 5, "job", [], {}, {"id": 7}, {"id": "ft-x"}, {"id": "", "status": "error"}),
    "100,000 entries that are no jobs": _with(*[0] * 100_000),
    "every job twice": Fault(codes=_OK, edit=lambda jobs: listed([*jobs, *jobs])),
    "a status of the future": _with({**_old_jobs(1)[0], "status": "Paused"}, jobs=1),
    "nested events": _with_field(b'"events": ' + b"[" * 90 + b"]" * 90),
    "a number of 400 digits": _with_field(b'"token_count": 1' + b"0" * 399),
    "a number of 5,000 digits": _with_field(b'"total_price": 1' + b"0" * 4999),
    "NaN": _with_field(b'"total_price": NaN'),
    "infinity": _with_field(b'"learning_rate": -Infinity'),
    "1e999": _with_field(b'"learning_rate": 1e999'),
    "half a surrogate pair": _with_field(b'"suffix": "\\ud83d"'),
    "a NUL in a name": _with_field(b'"suffix": "\\u0000"'),
    "invalid UTF-8": _with_field(b'"suffix": "\xff\xc3\x28"'),
    "UTF-16": _written(lambda body: body.decode().encode("utf-16")),
    "a byte order mark": _written(lambda body: b"\xef\xbb\xbf" + body),
    "the API's clock ten years ahead": _changed(updated_at="2036-09-21T14:13:20Z", started_at="2036-09-21T14:13:20Z"),
    "the API's clock in 1970": _changed(updated_at="1970-01-01T00:00:00Z", created_at="1970-01-01T00:00:00Z"),
    "times that are none": _changed(updated_at="0001-01-01T00:00:00Z", created_at="yesterday", started_at=[]),
}
"""Lists that are unusual, and that the exporter understands."""

NETWORK: Mapping[str, Fault] = {
    "a closed port": Fault(codes=_CONNECTION, closed=True),
    "an unknown host": Fault(codes=_code("connection", "timeout"), url=f"//{UNKNOWN_HOST}/v1", ways=("plain", "tls")),
    **{
        f"a certificate that is {name}": Fault(codes=_code("tls"), certificate=name, ways=("tls", "tunnel"))
        for name in ("for another host", "expired", "self-signed", "from a stranger")
    },
    **{
        f"{name} instead of a handshake": Fault(codes=codes, greet=greet, ways=("tls", "tunnel"))
        for name, codes, greet in [
            ("plain HTTP", _code("tls"), _sends(http("no TLS here", "400 Bad Request"))),
            ("silence", _TIMEOUT, _silence),
            ("an endless record", _TIMEOUT, _drips(b"\x16\x03\x03\x40\x00")),
            ("the end", _code("tls", "connection"), _sends(b"")),
            ("a reset", _code("tls", "connection"), _resets(b"")),
        ]
    },
    **{
        f"{name} from the proxy": Fault(codes=codes, connect=connect, ways=("tunnel",))
        for name, codes, connect in [
            ("407", _CONNECTION, _status("407 Proxy Authentication Required")),
            ("502", _CONNECTION, _status("502 Bad Gateway", "x" * 5000)),
            ("silence", _TIMEOUT, _silence),
            ("drips", _TIMEOUT, _drips(b"HTTP/1.1 200 OK\r\nX: ")),
            ("garbage", _BODY, _sends(b"SSH-2.0-OpenSSH\r\n")),
            ("the end", _CONNECTION, _sends(b"")),
            ("a reset", _CONNECTION, _resets(b"")),
        ]
    },
    "407 instead of the answer": Fault(
        codes=_code("407"), answer=_status("407 Proxy Authentication Required"), ways=("proxy",)
    ),
}
"""What happens before there is an answer."""

FAULTS: Mapping[str, Fault] = {**ANSWERS, **ODD, **NETWORK}

HEAVY = ("50,000 jobs", "10,000 models", "5,000 jobs", "100,000 entries that are no jobs", "names of a megabyte")
"""Those that take a busy machine many seconds."""
