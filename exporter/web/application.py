"""The WSGI application: metrics, service discovery, the landing page, health and readiness, from the state alone."""

import json
import logging
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from urllib.parse import parse_qs, unquote
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from prometheus_client.exposition import choose_encoder

from exporter.exposition import Exposition, Renderer
from exporter.state import Store
from exporter.web import page

log = logging.getLogger(__name__)

_TEXT = "text/plain; charset=utf-8"
_ZERO = re.compile(r"q\s*=\s*0(\.0*)?")

Answer = tuple[str, list[tuple[str, str]], Sequence[bytes]]


def application(
    store: Store,
    exposition: Exposition | Renderer,
    telemetry_path: str,
    overdue: Callable[[], Collection[str]] = tuple,
    reload: Callable[[], str | None] | None = None,
    *,
    links: page.Links,
) -> WSGIApplication:
    """The WSGI application: `exposition` at `telemetry_path`, and the other pages.

    `overdue` returns the accounts whose polls are overdue, for `/-/healthy`. `reload`, if given, is what `POST
    /-/reload` does; it returns an error, if any. `links` says where a job is found elsewhere.
    """

    def metrics(environ: WSGIEnvironment) -> Answer:
        query = parse_qs(environ.get("QUERY_STRING", ""))
        account = next(iter(query.get("account", ())), None)
        if account is not None and account not in store.read().accounts:
            return _plain("404 Not Found", "no account of that name, see /sd")
        names = query.get("name[]", ())  # as in prometheus-client
        scrape = exposition.page(_accept(environ), gzip=_accepts_gzip(environ), account=account, names=names)
        headers = [("Content-Type", scrape.content_type), ("Vary", "Accept, Accept-Encoding")]
        if scrape.content_encoding:
            headers.append(("Content-Encoding", scrape.content_encoding))
        return "200 OK", headers, scrape.parts

    def discovery(environ: WSGIEnvironment) -> Answer:
        here = environ.get("HTTP_HOST") or f"{environ['SERVER_NAME']}:{environ['SERVER_PORT']}"
        targets = [
            {
                "targets": [here],
                "labels": {"__metrics_path__": telemetry_path, "__param_account": name, "account": name},
            }
            for name in store.read().accounts
        ]
        return "200 OK", [("Content-Type", "application/json")], [json.dumps(targets).encode()]

    def healthy(_: WSGIEnvironment) -> Answer:
        if late := overdue():
            return _plain("503 Service Unavailable", f"polls are overdue: {', '.join(late)}")
        if exposition.overdue:
            return _plain("503 Service Unavailable", "rendering of the metrics is overdue")
        return _plain("200 OK", "healthy")

    def ready(_: WSGIEnvironment) -> Answer:
        waiting = [name for name, account in store.read().accounts.items() if account.state.polls.last is None]
        if waiting:
            return _plain("503 Service Unavailable", f"not polled yet: {', '.join(waiting)}")
        return _plain("200 OK", "ready")

    def reloaded(_: WSGIEnvironment) -> Answer:
        if reload is None:
            return _plain("403 Forbidden", "reloads are off, see --web.enable-lifecycle")
        error = reload()
        return _plain("500 Internal Server Error", f"reload failed: {error}") if error else _plain("200 OK", "reloaded")

    def job(environ: WSGIEnvironment) -> Answer:
        query = parse_qs(environ.get("QUERY_STRING", ""))
        account, job_id = (next(iter(query.get(name, ())), "") for name in ("account", "id"))
        shown = page.describe(store.read(), account, job_id, links)
        return _plain("404 Not Found", "no job of that account and id") if shown is None else _show(environ, shown)

    jobs, landing = page.Jobs(store), page.Landing(store, telemetry_path)
    routes = {
        "/-/reload": reloaded,
        "/": lambda environ: _show(environ, landing.document()),
        "/jobs.json": lambda environ: _show(environ, jobs.document()),
        "/job": _asset("job.html"),
        "/job.json": job,
        "/common.js": _asset("common.js"),
        "/jobs.js": _asset("jobs.js"),
        "/job.js": _asset("job.js"),
        "/page.css": _asset("page.css"),
        "/-/healthy": healthy,
        "/-/ready": ready,
        "/sd": discovery,
        unquote(telemetry_path): metrics,
    }

    def answer(environ: WSGIEnvironment) -> Answer:
        path = environ["PATH_INFO"].encode("latin-1").decode("utf-8", "replace")  # WSGI has bytes as Latin-1
        if path not in routes:
            return _plain("404 Not Found", "page not found, see /")
        methods = ("POST", "PUT") if path == "/-/reload" else ("GET", "HEAD")  # as in Prometheus
        if environ["REQUEST_METHOD"] not in methods:
            return _plain("405 Method Not Allowed", f"only {' and '.join(methods)}", ("Allow", ", ".join(methods)))
        try:
            return routes[path](environ)
        except Exception:
            log.exception("page failed", extra={"path": path})  # the path is one of the routes
            return _plain("500 Internal Server Error", "internal error, see the exporter's log")

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status, headers, parts = answer(environ)
        start_response(status, [*headers, ("Content-Length", str(sum(map(len, parts))))])
        return parts

    return app


def _asset(name: str) -> Callable[[WSGIEnvironment], Answer]:
    document = page.asset(name)
    return lambda environ: _show(environ, document)


def _show(environ: WSGIEnvironment, shown: page.Document) -> Answer:
    """A document, compressed where that is accepted; a 304 where the client has it."""
    headers = [("Content-Type", shown.content_type), ("ETag", shown.etag), *page.HEADERS]
    body = shown.body
    if _accepts_gzip(environ):
        headers.append(("Content-Encoding", "gzip"))
        body = shown.compressed
    known = shown.etag in environ.get("HTTP_IF_NONE_MATCH", "")
    return "304 Not Modified" if known else "200 OK", headers, [body]


def _accept(environ: WSGIEnvironment) -> str:
    """The header `Accept`, or nothing if prometheus-client cannot read it (`version=a.b`)."""
    accept = str(environ.get("HTTP_ACCEPT", ""))
    try:
        choose_encoder(accept)
    except (TypeError, ValueError):
        return ""
    return accept


def _accepts_gzip(environ: WSGIEnvironment) -> bool:
    for coding in environ.get("HTTP_ACCEPT_ENCODING", "").lower().split(","):
        name, *parameters = (part.strip() for part in coding.split(";"))
        if name == "gzip":
            return not any(_ZERO.fullmatch(parameter) for parameter in parameters)
    return False


def _plain(status: str, text: str, *headers: tuple[str, str]) -> Answer:
    return status, [("Content-Type", _TEXT), *headers], [f"{text}\n".encode()]
