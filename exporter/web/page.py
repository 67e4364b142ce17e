"""The landing page: its skeleton, which shows the accounts without a script too; its script and style; and the jobs as
JSON, which is all that the script shows."""

import gzip
import html
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from importlib.resources import files
from string import Template

from exporter.snapshot import AccountState, Board, JobState, Polls, State

HEADERS = [
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-cache"),  # it may be kept, but not shown without asking whether it is still true
    ("Vary", "Accept-Encoding"),
]


@dataclass(frozen=True)
class Document:
    """A file of the page, or the JSON behind it."""

    body: bytes
    content_type: str

    @cached_property
    def etag(self) -> str:
        """The header `ETag`; weak, as it is one for the plain body and the compressed one."""
        return f'W/"{blake2b(self.body, digest_size=16).hexdigest()}"'

    @cached_property
    def compressed(self) -> bytes:
        """The body in gzip's format."""
        return gzip.compress(self.body, mtime=0)


def script() -> Document:
    """The page's script."""
    return Document(_file("page.js"), "text/javascript; charset=utf-8")


def style() -> Document:
    """The page's style."""
    return Document(_file("page.css"), "text/css; charset=utf-8")


class Landing:
    """The page itself, with a link to the metrics at `telemetry_path`."""

    def __init__(self, board: Board, telemetry_path: str) -> None:
        self._board = board
        self._telemetry_path = telemetry_path
        self._template = Template(_file("page.html").decode())

    def document(self) -> Document:
        """The page as of now; its script keeps it up to date from there."""
        state = self._board.read()
        text = self._template.substitute(
            version=html.escape(state.exporter.version),
            metrics=html.escape(self._telemetry_path),
            accounts="".join(_row(name, account) for name, account in state.accounts.items()),
        )
        return Document(text.encode(), "text/html; charset=utf-8")


class Jobs:
    """What hangs on `board` as JSON, written once for each state that is asked for; the text of a job is kept until
    that job changes."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._lock = threading.Lock()
        self._kept: tuple[State, Document] | None = None
        self._texts: dict[str, dict[str, tuple[JobState, str]]] = {}

    def document(self) -> Document:
        """The newest state: the accounts with the health of their polls, and the jobs, active ones first."""
        with self._lock:
            state = self._board.read()
            if self._kept is None or self._kept[0] is not state:
                self._kept = state, Document(self._write(state), "application/json")
            return self._kept[1]

    def _write(self, state: State) -> bytes:
        self._texts = {name: dict(self._write_jobs(name, account)) for name, account in state.accounts.items()}
        jobs = sorted(
            (kept for texts in self._texts.values() for kept in texts.values()), key=lambda kept: _rank(*kept)
        )
        accounts = json.dumps([_account(name, account) for name, account in state.accounts.items()])
        version = json.dumps(state.exporter.version)
        return f'{{"version":{version},"accounts":{accounts},"jobs":[{",".join(text for _, text in jobs)}]}}'.encode()

    def _write_jobs(self, name: str, account: AccountState) -> Iterator[tuple[str, tuple[JobState, str]]]:
        before = self._texts.get(name, {})
        for state in account.snapshot.shown if account.snapshot else ():
            old = before.get(state.job.id)
            yield state.job.id, old if old and old[0] is state else (state, _job(name, state))


def _file(name: str) -> bytes:
    return files(__package__).joinpath(name).read_bytes()


def _rank(state: JobState, _: str) -> tuple[bool, bool, float]:
    """Jobs at work, then those that wait, then those that ended; of each the newest first."""
    ended = state.job.terminal
    return ended, state.waiting, -((state.finished if ended else None) or state.job.created or 0.0)


def _job(account: str, state: JobState) -> str:
    fields = state.fields
    known = {
        "account": account,
        "id": state.job.id,
        "status": state.job.status,
        "model": fields.get("model"),
        "suffix": fields.get("suffix"),
        "output": fields.get("model_output_name"),
        "place": fields.get("queue_depth") if state.waiting else None,
        "progress": state.progress,
        "epochs": fields.get("n_epochs"),
        "epochs_completed": fields.get("epochs_completed"),
        "created": state.job.created,
        "eta": state.estimated_completion,
        "finished": state.finished,
        "price": state.job.price_usd,
        "wandb": fields.get("wandb_url"),
    }
    return json.dumps({name: value for name, value in known.items() if value is not None}, separators=(",", ":"))


def _account(name: str, account: AccountState) -> dict[str, object]:
    polls, snapshot = account.polls, account.snapshot
    return {
        "name": name,
        "up": polls.up,
        "health": _health(polls),
        "last": polls.last,
        "last_good": polls.last_good,
        "interval": polls.interval,
        "jobs": len(snapshot.jobs) if snapshot else None,
        "unlisted": len(snapshot.jobs) - len(snapshot.shown) if snapshot else 0,
    }


def _row(name: str, account: AccountState) -> str:
    polls, snapshot = account.polls, account.snapshot
    cells = (
        f'<td role="cell"><bdi>{html.escape(name)}</bdi></td>',
        f'<td role="cell">{_health(polls)}</td>',
        f'<td role="cell">{_utc(polls.last_good)}</td>',
        f'<td role="cell" class="number">{len(snapshot.jobs) if snapshot else "unknown"}</td>',
    )
    return f'<tr role="row">{"".join(cells)}</tr>\n'


def _utc(time: float | None) -> str:
    return "never" if time is None else f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _health(polls: Polls) -> str:
    if polls.up is None:
        return "not polled yet"
    if polls.up:
        return "good"
    code = polls.trouble
    if code is None:
        return "failed, see the log"
    if code in ("401", "403"):
        return f"failed: the API refuses the key (HTTP {code})"
    reasons = {"connection": "no connection", "timeout": "timeout", "tls": "TLS", "body": "an answer of no use"}
    return f"failed: {reasons.get(code, f'HTTP {code}')}"
