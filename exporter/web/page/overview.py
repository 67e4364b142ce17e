"""All jobs: the HTML, which shows the accounts even without a script, and the JSON that its script shows."""

import html
import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from string import Template

from exporter.state import AccountView, Entry, Polls, State, Store
from exporter.statuses import STATUSES, UNKNOWN
from exporter.web.page.document import Document, asset

STATUS_TABLE = [
    {"name": status.name, "phase": status.phase, "failed": status.failed} for status in (*STATUSES.values(), UNKNOWN)
]
"""What the scripts know of statuses."""

_FAILURES = {
    "connection": "no connection",
    "timeout": "timeout",
    "tls": "TLS error",
    "body": "invalid response",
    "overdue": "overdue",
    "internal": "internal error, see the log",
}

_Texts = dict[str, tuple[Entry, str]]  # the JSON of jobs, by id


class Landing:
    """The HTML, with a link to the metrics at `telemetry_path`."""

    def __init__(self, store: Store, telemetry_path: str) -> None:
        self._store = store
        self._telemetry_path = telemetry_path
        self._page = asset("jobs.html")
        self._template = Template(self._page.body.decode())

    def document(self) -> Document:
        """The page as of now; its script keeps it up to date."""
        state = self._store.read()
        text = self._template.substitute(
            version=html.escape(state.exporter.version),
            metrics=html.escape(f".{self._telemetry_path}"),  # relative, for a proxy may serve it under a prefix
            accounts="".join(_row(name, account) for name, account in state.accounts.items()),
        )
        return replace(self._page, body=text.encode())


class Jobs:
    """The JSON of all jobs, written once for each state that is requested. The text of a job is kept until it
    changes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._kept: tuple[State, Document] | None = None
        self._texts: dict[str, _Texts] = {}

    def document(self) -> Document:
        """The newest state: the accounts with the health of their polls, and the jobs in order."""
        with self._lock:
            state = self._store.read()
            if self._kept is None or self._kept[0] is not state:
                self._kept = state, Document(self._write(state))
            return self._kept[1]

    def _write(self, state: State) -> bytes:
        self._texts = {
            name: dict(_texts(name, account.entries, self._texts.get(name, {})))
            for name, account in state.accounts.items()
        }
        found = chain.from_iterable(texts.values() for texts in self._texts.values())
        jobs = ",".join(text for _, text in sorted(found, key=lambda job: job[0].rank))
        return f'{json.dumps(_head(state) | {"statuses": STATUS_TABLE})[:-1]},"jobs":[{jobs}]}}'.encode()


def overview(state: State) -> dict[str, object]:
    """The accounts and the jobs in order, as an object."""
    entries = [(entry, name) for name, account in state.accounts.items() for entry in account.entries]
    jobs = [summary(name, entry) for entry, name in sorted(entries, key=lambda found: found[0].rank)]
    return {**_head(state), "jobs": jobs}


def summary(account: str, entry: Entry) -> dict[str, object]:
    """What a table of jobs shows of one of them; what is unknown is left out."""
    view, mark = entry.view, entry.mark
    state, fields, status = view.state, view.fields, view.job.status
    known = {
        "account": account,
        "id": view.job.id,
        "status": status.name,
        "suffix": fields.get("suffix") or None,
        "model": fields.get("model"),
        "output": fields.get("model_output_name"),
        "place": state.queue_place,
        "progress": state.progress_ratio,
        "created": view.job.created,
        "eta": state.estimated_completion,
        "finished": state.finished,
        "price": view.job.price_usd,
        "mark": mark and {"kind": mark.kind, "words": mark.words, "since": mark.since},
        "groups": entry.groups,
    }
    return {name: value for name, value in known.items() if value is not None}


def _texts(account: str, entries: Iterable[Entry], before: _Texts) -> Iterator[tuple[str, tuple[Entry, str]]]:
    for entry in entries:
        job_id = entry.view.job.id
        old = before.get(job_id)
        if old and _shows_same(old[0], entry):
            yield job_id, old
        else:
            yield job_id, (entry, json.dumps(summary(account, entry), separators=(",", ":")))


def _shows_same(old: Entry, new: Entry) -> bool:
    return old.view.state is new.view.state and (old.mark, old.groups) == (new.mark, new.groups)


def _head(state: State) -> dict[str, object]:
    return {
        "version": state.exporter.version,
        "accounts": [_account(name, account) for name, account in state.accounts.items()],
    }


def _account(name: str, view: AccountView) -> dict[str, object]:
    polls = view.state.polls
    return {
        "name": name,
        "up": polls.up,
        "health": health(polls),
        "last": polls.last,
        "last_successful": view.state.last_list,
        "interval": polls.interval,
        "jobs": _count(view),
        "unlisted": sum(view.unexported.values()),
        "month_price": view.month_price_usd,
        "budget": view.settings.budget_usd,
    }


def _count(view: AccountView) -> int | None:
    return None if view.state.last_list is None else len(view.state.jobs)


def _row(name: str, view: AccountView) -> str:
    count = _count(view)
    cells = (
        f'<td role="cell"><bdi>{html.escape(name)}</bdi></td>',
        f'<td role="cell">{health(view.state.polls)}</td>',
        f'<td role="cell" data-label="Last success">{_utc(view.state.last_list)}</td>',
        f'<td role="cell" class="number" data-label="Jobs">{"unknown" if count is None else f"{count:,}"}</td>',
        f'<td role="cell" class="number" data-label="Spent this month">{_spent(view)}</td>',
    )
    return f'<tr role="row">{"".join(cells)}</tr>\n'


def _spent(view: AccountView) -> str:
    spent, budget = view.month_price_usd, view.settings.budget_usd
    price = "unknown" if spent is None or view.state.last_list is None else f"${spent:,.2f}"
    return price if budget is None else f"{price} of ${budget:,.2f}"


def _utc(time: float | None) -> str:
    return "never" if time is None else f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S} UTC"


def health(polls: Polls) -> str:
    """How the last poll went."""
    if polls.up is None:
        return "not polled yet"
    if polls.up:
        return "successful"
    failure = polls.failure or ""
    if failure in ("401", "403"):
        return f"failed: the API refuses the key (HTTP {failure})"
    return f"failed: {_FAILURES.get(failure, f'HTTP {failure}')}"
