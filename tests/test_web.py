"""What is served over HTTP, and that no client can hold it up."""

import gzip
import http.client
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from exporter import web
from exporter.exposition import Exposition
from exporter.snapshot import AccountState, Board, JobState, Polls, Selection, take
from exporter.web import page
from tests.support import NOW, job, jobs_json, new_board, snapshot


def state(*jobs: object) -> AccountState:
    return AccountState(polls=Polls(up=True, last=NOW, last_good=NOW), snapshot=snapshot(jobs_json(*jobs)))


def failed(code: str) -> Polls:
    """Polls of which the last failed with this code."""
    return Polls(up=False, trouble=code, last=NOW)


def words_of_accounts(body: bytes) -> list[str]:
    """The cells of the table of accounts, without a script."""
    text = body.decode().partition("<tbody")[2].partition("</tbody>")[0]
    return [re.sub("<[^>]*>", "", cell) for cell in re.findall("<td.*?</td>", text)]


@pytest.fixture
def board() -> Board:
    board = new_board()
    board.publish("default", state(job("ft-1")))
    return board


Serve = Callable[..., web.Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = []

    def start(board: Board, address: str = "127.0.0.1:0", path: str = "/metrics") -> web.Server:
        server = web.Server(address, web.application(board, Exposition(board, clock=lambda: NOW), path))
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


def ask(
    server: web.Server, path: str, method: str = "GET", host: str = "127.0.0.1", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection(host, server.port, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_metrics_are_served_as_text(board: Board, serve: Serve) -> None:
    status, headers, body = ask(serve(board), "/metrics")
    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(headers["Content-Length"]) == len(body)
    assert b'together_finetune_job_status{account="default",job_id="ft-1",status="running"} 1.0\n' in body


def test_metrics_are_served_as_openmetrics_and_compressed_where_asked(board: Board, serve: Serve) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    status, headers, body = ask(serve(board), "/metrics", Accept=accept, Accept_Encoding="deflate, gzip")
    assert status == 200
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body).endswith(b"# EOF\n")


def test_metrics_are_served_at_another_path_where_told(board: Board, serve: Serve) -> None:
    server = serve(board, path="/probe/me")
    assert ask(server, "/probe/me")[0] == 200
    assert ask(server, "/metrics")[0] == 404


def test_a_query_string_does_not_hide_the_metrics(board: Board, serve: Serve) -> None:
    assert ask(serve(board), "/metrics?x=y")[0] == 200


@pytest.mark.parametrize("path", ["/metrics", "/", "/jobs.json", "/page.js", "/page.css", "/-/healthy", "/-/ready"])
def test_head_is_get_without_the_body(board: Board, serve: Serve, path: str) -> None:
    server = serve(board)
    status, headers, body = ask(server, path, "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_not_allowed(board: Board, serve: Serve, method: str) -> None:
    status, headers, _ = ask(serve(board), "/metrics", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/-/", "/../etc/passwd", "/%00"])
def test_there_is_nothing_elsewhere(board: Board, serve: Serve, path: str) -> None:
    assert ask(serve(board), path)[0] == 404


def test_it_is_healthy_before_the_first_poll_and_ready_after_it_good_or_bad(serve: Serve) -> None:
    board = new_board()
    server = serve(board)
    assert ask(server, "/-/healthy")[0] == 200
    assert ask(server, "/-/ready")[0] == 503
    board.publish("default", AccountState(polls=Polls(up=False, last=NOW)))
    assert ask(server, "/-/ready")[0] == 200


def test_the_landing_page_links_to_the_metrics_and_says_how_the_polls_went(board: Board, serve: Serve) -> None:
    status, headers, body = ask(serve(board, path="/prom"), "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert b'href="/prom"' in body
    assert b'Version <span id="version">1.2.3</span>' in body
    assert words_of_accounts(body) == ["default", "good", "2026-09-21 14:13:20 UTC", "1"]


@pytest.mark.parametrize(
    ("polls", "words"),
    [
        (Polls(), "not polled yet"),
        (Polls(up=False, last=NOW), "failed, see the log"),
        (failed("401"), "failed: the API refuses the key (HTTP 401)"),
        (failed("403"), "failed: the API refuses the key (HTTP 403)"),
        (failed("503"), "failed: HTTP 503"),
        (failed("timeout"), "failed: timeout"),
        (failed("body"), "failed: an answer of no use"),
    ],
    ids=["no poll", "crash", "401", "403", "503", "timeout", "body"],
)
def test_the_landing_page_says_why_a_poll_failed(serve: Serve, polls: Polls, words: str) -> None:
    board = new_board()
    board.publish("default", AccountState(polls=polls))
    server = serve(board)
    assert words_of_accounts(ask(server, "/")[2])[:2] == ["default", words]
    assert json.loads(ask(server, "/jobs.json")[2])["accounts"][0]["health"] == words


def test_the_page_may_load_nothing_from_elsewhere(board: Board, serve: Serve) -> None:
    server = serve(board)
    for path in ("/", "/jobs.json", "/page.js", "/page.css"):
        headers = ask(server, path)[1]
        sources = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
        assert sources.pop("default-src") == "'none'"
        assert set(sources.values()) <= {"'self'", "'none'", "data:", "'script'"}
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-cache"


def test_the_jobs_are_told_as_json_those_at_work_first(serve: Serve) -> None:
    board = new_board("one", "two")
    done = job("ft-done", "completed", total_price=2_500_000_000, events=[])
    queued = job("ft-queued", "queued", queue_depth=3)
    fields: dict[str, Any] = {"model": "m", "n_epochs": 4, "epochs_completed": 1, "wandb_url": "https://wandb.ai/x"}
    board.publish("one", state(done, queued))
    board.publish("two", state(job("ft-run", **fields)))
    told = json.loads(ask(serve(board), "/jobs.json")[2])
    assert told["version"] == "1.2.3"
    assert [(account["name"], account["health"], account["jobs"]) for account in told["accounts"]] == [
        ("one", "good", 2),
        ("two", "good", 1),
    ]
    assert [found["id"] for found in told["jobs"]] == ["ft-run", "ft-queued", "ft-done"]
    created = {"created": NOW - 2 * 3600 - 800}
    about = {"account": "two", "id": "ft-run", "status": "running", "model": "m", "wandb": "https://wandb.ai/x"}
    assert told["jobs"][0] == about | created | {"progress": 0.25, "epochs": 4, "epochs_completed": 1}
    assert told["jobs"][1] == {"account": "one", "id": "ft-queued", "status": "queued", "place": 3, **created}
    assert told["jobs"][2]["price"] == 2.5
    assert told["jobs"][2]["finished"] == NOW - 3600 - 800


def test_jobs_without_series_are_counted_but_not_listed(serve: Serve) -> None:
    board = new_board()
    everything = snapshot(jobs_json(*(job(f"ft-{i}") for i in range(5))))
    board.publish("default", AccountState(snapshot=take(everything.jobs.values(), NOW, Selection(limit=2))))
    told = json.loads(ask(serve(board), "/jobs.json")[2])
    assert (len(told["jobs"]), told["accounts"][0]["jobs"], told["accounts"][0]["unlisted"]) == (2, 5, 3)


@pytest.mark.parametrize("path", ["/", "/jobs.json", "/page.js", "/page.css"])
def test_the_page_is_compressed_where_that_is_accepted(board: Board, serve: Serve, path: str) -> None:
    server = serve(board)
    plain, packed = ask(server, path), ask(server, path, Accept_Encoding="gzip")
    assert "Content-Encoding" not in plain[1]
    assert (packed[1]["Content-Encoding"], packed[1]["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(packed[2]) == plain[2]
    assert packed[1]["ETag"] == plain[1]["ETag"]


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_what_the_browser_has_already_is_not_sent_again(board: Board, serve: Serve, encoding: str) -> None:
    server = serve(board)
    headers = {"Accept_Encoding": encoding}
    tag = ask(server, "/jobs.json", **headers)[1]["ETag"]
    board.publish("default", replace(board.read().accounts["default"]))
    status, answered, body = ask(server, "/jobs.json", If_None_Match=tag, **headers)
    assert (status, body, answered["ETag"]) == (304, b"", tag)
    board.publish("default", state(job("ft-1", "completed")))
    status, answered, _ = ask(server, "/jobs.json", If_None_Match=tag, **headers)
    assert status == 200
    assert answered["ETag"] != tag


def test_the_json_is_written_once_for_a_state_and_a_job_once_for_a_change(
    board: Board, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    write = page._job

    def noted(account: str, state: JobState) -> str:
        written.append(state.job.id)
        return write(account, state)

    monkeypatch.setattr(page, "_job", noted)
    server = serve(board)
    old = state(job("ft-1"), job("ft-2"))
    board.publish("default", old)
    for _ in range(3):
        ask(server, "/jobs.json")
    assert written == ["ft-1", "ft-2"]
    changed = jobs_json(job("ft-1"), job("ft-2", n_epochs=7), job("ft-3", "completed"))
    later = replace(old, snapshot=snapshot(changed, old.snapshot))
    board.publish("default", later)
    told = json.loads(ask(server, "/jobs.json")[2])["jobs"]
    assert {found["id"]: found.get("epochs") for found in told} == {"ft-1": None, "ft-2": 7, "ft-3": None}
    assert written == ["ft-1", "ft-2", "ft-2", "ft-3"]


def test_names_on_the_landing_page_are_escaped(serve: Serve) -> None:
    board = new_board("<script>")
    body = ask(serve(board), "/")[2]
    assert b"<bdi><script>" not in body
    assert b"&lt;script&gt;" in body


@pytest.mark.parametrize("address", [":0", "localhost:0"])
def test_it_listens_where_told(board: Board, serve: Serve, address: str) -> None:
    assert ask(serve(board, address), "/-/healthy")[0] == 200


def test_an_address_without_host_is_both_ipv4_and_ipv6(board: Board, serve: Serve) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    assert ask(serve(board, ":0"), "/-/healthy", host="::1")[0] == 200


def test_silent_clients_hold_up_no_scrape(board: Board, serve: Serve) -> None:
    server = serve(board)
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(50)]
    try:
        assert ask(server, "/metrics")[0] == 200
    finally:
        for connection in silent:
            connection.close()


@pytest.mark.parametrize("sends", [b"", b"GET /metrics HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half a request"])
def test_a_client_that_does_not_finish_its_request_is_hung_up_on(
    board: Board, serve: Serve, sends: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "REQUEST_SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", serve(board).port), timeout=10) as connection:
        connection.sendall(sends)
        assert connection.recv(1) == b""


def test_a_byte_now_and_then_does_not_keep_a_connection(
    board: Board, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "REQUEST_SECONDS", 0.2)

    def drip(connection: socket.socket) -> None:
        for _ in range(500):
            connection.sendall(b"x")
            time.sleep(0.02)  # the pace of the slow client

    with (
        socket.create_connection(("127.0.0.1", serve(board).port), timeout=10) as connection,
        pytest.raises(OSError, match=r"reset|pipe"),
    ):
        drip(connection)


def test_nonsense_from_a_client_leaves_the_server_standing(board: Board, serve: Serve) -> None:
    server = serve(board)
    for nonsense in (b"\x16\x03\x01" * 400, b"GET\r\n\r\n", b"\r\n\r\n", b"A" * 70_000, b"GET / HTTP/9.9\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
            connection.sendall(nonsense)
            connection.shutdown(socket.SHUT_WR)
    assert ask(server, "/-/healthy")[0] == 200


def test_many_scrapes_at_once_are_all_answered(board: Board, serve: Serve) -> None:
    board.publish("default", state(*(job(f"ft-{i}") for i in range(200))))
    server = serve(board)
    answers: list[int] = []
    threads = [threading.Thread(target=lambda: answers.append(len(ask(server, "/metrics")[2]))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 20
    assert min(answers) > 100_000


def test_a_page_that_fails_is_a_500_and_a_line_in_the_log(
    board: Board, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(board)
    board.publish("default", AccountState(snapshot=5))  # type: ignore[arg-type]  # stands for a slip of ours
    assert ask(server, "/metrics")[0] == 500
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == ["page failed"]
