"""What is served over HTTP."""

import gzip
import http.client
import json
import logging
import re
from collections.abc import Callable, Iterator

import pytest

from exporter import web
from exporter.exposition import Exposition, Renderer
from exporter.state import AccountSettings, Call, Event, ListFailed, PollFailed, Store
from tests.support import ABOUT, NOW, job, list_answered, new_store

LINKS = web.Links("https://console.example/{id}?", "https://grafana.example/")
FILES = ("/", "/jobs.json", "/job", "/common.js", "/jobs.js", "/job.js", "/page.css")


def show(store: Store, *jobs: object, account: str = "default") -> None:
    """Publishes a list with these jobs."""
    store.publisher(account).apply(list_answered(*jobs))


def failed(code: str) -> ListFailed:
    """A poll that failed with this code."""
    return ListFailed(Call(NOW, "list", code, 0.1), 30.0)


def words_of_accounts(body: bytes) -> list[str]:
    """The cells of the table of accounts, without a script."""
    text = body.decode().partition("<tbody")[2].partition("</tbody>")[0]
    return [re.sub("<[^>]*>", "", cell) for cell in re.findall("<td.*?</td>", text)]


@pytest.fixture
def store() -> Store:
    store = new_store()
    show(store, job("ft-1"))
    return store


Serve = Callable[..., web.Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    servers = []

    def start(store: Store, path: str = "/metrics") -> web.Server:
        app = web.application(store, Exposition(store, clock=lambda: NOW), path, links=LINKS)
        server = web.Server("127.0.0.1:0", app)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


def ask(server: web.Server, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_metrics_are_served_as_text(store: Store, serve: Serve) -> None:
    status, headers, body = ask(serve(store), "/metrics")
    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(headers["Content-Length"]) == len(body)
    assert b'together_finetune_job_status{account="default",job_id="ft-1",status="running"} 1.0\n' in body


def test_metrics_are_served_as_openmetrics_and_compressed_where_asked(store: Store, serve: Serve) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    status, headers, body = ask(serve(store), "/metrics", Accept=accept, Accept_Encoding="deflate, gzip")
    assert status == 200
    assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    assert headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(body).endswith(b"# EOF\n")


@pytest.mark.parametrize(
    ("path", "target"),
    [("/probe/me", "/probe/me"), ("/é", "/%C3%A9"), ("//m", "//m"), ("/%7Ea", "/~a"), ("/m", "http://elsewhere/m?x")],
)
def test_metrics_are_served_at_the_path_of_the_settings(store: Store, serve: Serve, path: str, target: str) -> None:
    server = serve(store, path=path)
    assert ask(server, target)[0] == 200
    assert ask(server, "/metrics")[0] == 404


@pytest.mark.parametrize("path", ["/metrics", "/sd", *FILES, "/-/healthy", "/-/ready"])
def test_unknown_query_parameters_are_ignored(store: Store, serve: Serve, path: str) -> None:
    assert ask(serve(store), f"{path}?x=y&z")[0] == 200


@pytest.mark.parametrize("path", ["/metrics", *FILES, "/-/healthy", "/-/ready"])
def test_head_is_get_without_the_body(store: Store, serve: Serve, path: str) -> None:
    server = serve(store)
    status, headers, body = ask(server, path, "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_other_methods_are_not_allowed(store: Store, serve: Serve, method: str) -> None:
    status, headers, _ = ask(serve(store), "/metrics", method)
    assert (status, headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/nothing", "/metrics/", "/-/", "/../etc/passwd", "/%00"])
def test_there_is_nothing_elsewhere(store: Store, serve: Serve, path: str) -> None:
    assert ask(serve(store), path)[0] == 404


def test_it_is_healthy_before_the_first_poll_and_ready_after_it_successful_or_not(serve: Serve) -> None:
    store = new_store()
    server = serve(store)
    assert ask(server, "/-/healthy")[0] == 200
    assert ask(server, "/-/ready")[0] == 503
    store.publisher("default").apply(failed("503"))
    assert ask(server, "/-/ready")[0] == 200


def test_the_landing_page_links_to_the_metrics_and_says_how_the_polls_went(store: Store, serve: Serve) -> None:
    status, headers, body = ask(serve(store, path="/prom"), "/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert b'href="./prom"' in body
    assert b'<span id="version">1.2.3</span>' in body
    assert words_of_accounts(body) == ["default", "successful", "2026-09-21 14:13:20 UTC", "1", "unknown"]


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (PollFailed(NOW, "internal"), "failed: internal error, see the log"),
        (PollFailed(NOW, "overdue"), "failed: overdue"),
        (failed("401"), "failed: the API refuses the key (HTTP 401)"),
        (failed("403"), "failed: the API refuses the key (HTTP 403)"),
        (failed("503"), "failed: HTTP 503"),
        (failed("timeout"), "failed: timeout"),
        (failed("body"), "failed: invalid response"),
    ],
    ids=["internal", "overdue", "401", "403", "503", "timeout", "body"],
)
def test_the_landing_page_says_why_a_poll_failed(serve: Serve, event: Event, words: str) -> None:
    store = new_store()
    store.publisher("default").apply(event)
    server = serve(store)
    assert words_of_accounts(ask(server, "/")[2])[:2] == ["default", words]
    assert json.loads(ask(server, "/jobs.json")[2])["accounts"][0]["health"] == words


def test_the_page_may_load_nothing_from_elsewhere(store: Store, serve: Serve) -> None:
    server = serve(store)
    for path in FILES:
        headers = ask(server, path)[1]
        sources = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
        assert sources.pop("default-src") == "'none'"
        assert set(sources.values()) <= {"'self'", "'none'", "data:", "'script'"}
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-cache"


def test_the_json_of_all_jobs_has_what_the_table_shows(serve: Serve) -> None:
    store = new_store("one", "two")
    done = job("ft-done", "completed", total_price=2_500_000_000, events=[])
    queued = job("ft-queued", "queued", queue_depth=3)
    show(store, done, queued, account="one")
    show(store, job("ft-run", model="m", suffix="bot", n_epochs=4, epochs_completed=1), account="two")
    told = json.loads(ask(serve(store), "/jobs.json")[2])
    assert told["version"] == "1.2.3"
    assert [(account["name"], account["health"], account["jobs"]) for account in told["accounts"]] == [
        ("one", "successful", 2),
        ("two", "successful", 1),
    ]
    assert [found["id"] for found in told["jobs"]] == ["ft-run", "ft-queued", "ft-done"]
    running, waiting, ended = told["jobs"]
    loading = {"created": NOW - 2 * 3600 - 800, "mark": {"kind": "loading", "words": "details loading", "since": None}}
    about = {"account": "two", "id": "ft-run", "status": "running", "model": "m", "suffix": "bot", "progress": 0.25}
    assert running == {**about, "groups": ["running", "month"], **loading}
    about = {"account": "one", "id": "ft-queued", "status": "queued", "place": 3}
    assert waiting == {**about, "groups": ["waiting", "month"], **loading}
    assert (ended["price"], ended["finished"], ended["groups"]) == (2.5, NOW - 3600 - 800, ["month"])


def test_jobs_without_series_are_counted_but_not_listed(serve: Serve) -> None:
    store = Store(ABOUT, {"default": AccountSettings(limit=2)})
    show(store, *(job(f"ft-{i}") for i in range(5)))
    told = json.loads(ask(serve(store), "/jobs.json")[2])
    assert (len(told["jobs"]), told["accounts"][0]["jobs"], told["accounts"][0]["unlisted"]) == (2, 5, 3)


@pytest.mark.parametrize("path", FILES)
def test_the_page_is_compressed_where_that_is_accepted(store: Store, serve: Serve, path: str) -> None:
    server = serve(store)
    plain, packed = ask(server, path), ask(server, path, Accept_Encoding="gzip")
    assert "Content-Encoding" not in plain[1]
    assert (packed[1]["Content-Encoding"], packed[1]["Vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(packed[2]) == plain[2]
    assert packed[1]["ETag"] == plain[1]["ETag"]


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_what_the_browser_has_already_is_not_sent_again(store: Store, serve: Serve, encoding: str) -> None:
    server = serve(store)
    headers = {"Accept_Encoding": encoding}
    tag = ask(server, "/jobs.json", **headers)[1]["ETag"]
    show(store, job("ft-1"))
    status, answered, body = ask(server, "/jobs.json", If_None_Match=tag, **headers)
    assert (status, body, answered["ETag"]) == (304, b"", tag)
    show(store, job("ft-1", "completed", updated_at="2026-09-21T14:13:20Z"))
    status, answered, _ = ask(server, "/jobs.json", If_None_Match=tag, **headers)
    assert status == 200
    assert answered["ETag"] != tag


def test_a_job_is_shown_anew_when_it_changes_and_when_time_changes_what_it_means(store: Store, serve: Serve) -> None:
    server = serve(store)

    def shown(at: float, *jobs: object) -> dict[str, tuple[int | None, list[str]]]:
        store.publisher("default").apply(list_answered(*jobs, at=at))
        found = json.loads(ask(server, "/jobs.json")[2])["jobs"]
        return {one["id"]: (one.get("price"), one["groups"]) for one in found}

    lost = job("ft-lost", "error")
    assert shown(NOW, lost, job()) == {"ft-lost": (None, ["failed", "month"]), "ft-1": (None, ["running", "month"])}
    assert shown(NOW + 30, lost, job(total_price=10**9))["ft-1"] == (1, ["running", "month"])
    assert shown(NOW + 86400, lost, job()) == {"ft-1": (1, ["running", "month"]), "ft-lost": (None, ["month"])}


@pytest.mark.parametrize(
    "query", ["", "?", "?account=default", "?account=default&id=ft-2", "?account=other&id=ft-1", "?id=%ff&account=%00"]
)
def test_a_job_that_is_not_there_is_a_404(store: Store, serve: Serve, query: str) -> None:
    status, _, body = ask(serve(store), f"/job.json{query}")
    assert (status, body) == (404, b"no job of that account and id\n")


def test_names_on_the_landing_page_are_escaped(serve: Serve) -> None:
    store = new_store("<script>")
    body = ask(serve(store), "/")[2]
    assert b"<bdi><script>" not in body
    assert b"&lt;script&gt;" in body


def test_a_page_that_fails_is_a_500_and_a_line_in_the_log(
    store: Store, serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyError("default")

    server = serve(store)
    monkeypatch.setattr(Exposition, "page", fail)
    assert ask(server, "/metrics")[0] == 500
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == ["page failed"]


def test_a_missing_key_in_a_page_is_a_500_too(
    store: Store, serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(store)
    nothing: dict[str, object] = {}
    monkeypatch.setattr(Exposition, "page", lambda *_, **__: nothing["missing"])
    assert ask(server, "/metrics?account=default")[0] == 500
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == ["page failed"]


def test_an_account_that_does_not_exist_is_a_404(store: Store, serve: Serve) -> None:
    server = serve(store)
    assert ask(server, "/metrics?account=default")[0] == 200
    status, _, body = ask(server, "/metrics?account=other")
    assert (status, body) == (404, b"no account of that name, see /sd\n")


@pytest.mark.parametrize("accept", ["text/plain;version=a.b", "application/openmetrics-text;version=1.", "%%%"])
def test_an_odd_accept_header_is_answered_with_text(store: Store, serve: Serve, accept: str) -> None:
    status, headers, _ = ask(serve(store), "/metrics", Accept=accept)
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, "text/plain")


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("GZIP;q=0.5", "gzip"),
        ("br, gzip; q=1.0", "gzip"),
        ("gzip;q=0", None),
        ("gzip; Q=0.000, br", None),
        ("x-gzipped", None),
        ("", None),
    ],
)
def test_gzip_is_sent_only_to_clients_that_accept_it(
    store: Store, serve: Serve, accepted: str, encoding: str | None
) -> None:
    server = serve(store)
    for path in ("/metrics", "/"):
        assert ask(server, path, Accept_Encoding=accepted)[1].get("Content-Encoding") == encoding


def test_samples_are_selected_by_name_and_other_parameters_are_ignored(store: Store, serve: Serve) -> None:
    query = "?name[]=together_finetune_up&name[]=together_finetune_jobs_finished_total&name[]=unknown&other=x"
    _, headers, body = ask(serve(store), f"/metrics{query}")
    assert int(headers["Content-Length"]) == len(body)
    assert re.findall(rb"^# TYPE (\S+)", body, re.MULTILINE) == [
        b"together_finetune_up",
        b"together_finetune_jobs_finished_total",
    ]


def test_only_unknown_names_are_an_empty_page(store: Store, serve: Serve) -> None:
    assert ask(serve(store), "/metrics?name[]=unknown")[::2] == (200, b"")


def test_health_fails_while_rendering_is_overdue(store: Store) -> None:
    now = [0.0]
    renderer = Renderer(Exposition(store), store, stopwatch=lambda: now[0])
    server = web.Server("127.0.0.1:0", web.application(store, renderer, "/metrics", links=LINKS))
    try:
        assert ask(server, "/-/healthy")[0] == 200
        now[0] = 61.0
        assert ask(server, "/-/healthy")[::2] == (503, b"rendering of the metrics is overdue\n")
    finally:
        server.stop()


def test_health_fails_while_a_poll_is_overdue(store: Store) -> None:
    overdue: list[str] = []
    app = web.application(store, Exposition(store), "/metrics", lambda: overdue, links=LINKS)
    server = web.Server("127.0.0.1:0", app)
    try:
        assert ask(server, "/-/healthy")[0] == 200
        overdue.append("default")
        assert ask(server, "/-/healthy")[::2] == (503, b"polls are overdue: default\n")
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("reload", "expected"),
    [
        (None, (403, b"reloads are off, see --web.enable-lifecycle\n")),
        (lambda: None, (200, b"reloaded\n")),
        (lambda: "file:3: wrong", (500, b"reload failed: file:3: wrong\n")),
    ],
    ids=["off", "valid", "invalid"],
)
def test_a_post_reloads_where_that_is_enabled(
    store: Store, reload: Callable[[], str | None] | None, expected: tuple[int, bytes]
) -> None:
    server = web.Server(
        "127.0.0.1:0", web.application(store, Exposition(store), "/metrics", reload=reload, links=LINKS)
    )
    try:
        assert ask(server, "/-/reload", "POST")[::2] == expected
        assert ask(server, "/-/reload")[0] == 405
    finally:
        server.stop()
