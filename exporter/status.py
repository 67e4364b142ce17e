"""`together-finetune-exporter status`: what needs attention, in a terminal, after one poll.

One look has no history. So waiting jobs are judged from their creation, and running ones by their training rows.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import replace

from rich.console import Console
from rich.table import Table
from rich.text import Text
from typing_extensions import override

from exporter.config import PROGRAM
from exporter.state import AccountView, Entry, JobView, Moment, State, Verdict, entry_with
from exporter.web.page import health, overview

_DAY = 86400.0  # seconds for which finished jobs are in the table
_UNLIMITED = 100_000  # columns of what is not a terminal
_NARROW = 100  # columns of a terminal that leaves out some of the table
_HEADINGS = ("Job", "Account", "Status", "Attention", "Model", "Progress", "Ends", "Price", "Age", "Id")
_CUT = ("Job", "Account", "Model", "Id")  # where the terminal is narrow
_NUMBERS = ("Progress", "Ends", "Price", "Age")
_STYLES = {"stuck": "bold red", "failed": "red", "overdue": "yellow"}


def show(state: State, *, as_json: bool) -> int:
    """Prints a table, or all jobs as JSON. Returns 0 if all is well, 1 if a job is stuck, or failed within the failure
    window, and 3 if a poll failed."""
    accounts = {name: _OneLook(view.settings, view.state) for name, view in state.accounts.items()}
    if as_json:
        print(json.dumps(overview(State(state.exporter, accounts)), indent=2))
    else:
        _print_table(accounts)
    failed = {name: view.state.polls for name, view in accounts.items() if not view.state.polls.up}
    for name, polls in failed.items():
        print(f"{PROGRAM}: account {_printable(name)}: the poll {health(polls)}", file=sys.stderr)
    if failed:
        return 3
    verdicts = (entry.view.verdict for account in accounts.values() for entry in account.entries)
    return int(any(verdict.stuck or verdict.failed for verdict in verdicts))


class _Console(Console):
    """A console that leaves it to the command to end when its reader has gone."""

    @override
    def on_broken_pipe(self) -> None:
        raise  # the error that is being handled


class _OneLook(AccountView):
    """An account of which only this moment is known."""

    @property
    @override
    def entries(self) -> tuple[Entry, ...]:
        moment = Moment.of(self.state.now, self.state.last_list or 0.0)
        judged = (JobView(view.state, self._judged(view)) for view in self.shown)
        found = (entry_with(view, self.settings, moment) for view in judged)
        return tuple(sorted(found, key=lambda entry: entry.rank))

    def _judged(self, view: JobView) -> Verdict:
        """The verdict on a job; that on a waiting one counts from its creation."""
        job, verdict, now = view.job, view.verdict, self.state.last_list or 0.0
        if job.status.waiting and job.created is not None:
            due = job.created + self.settings.stuck_after[job.status.name]
            return Verdict(stuck=now > due, progress=job.created, deadline=due)
        # What has not arrived by now never will.
        return replace(verdict, progress=verdict.progress or job.created or now) if verdict.unjudged else verdict


def _print_table(accounts: Mapping[str, AccountView]) -> None:
    console = _Console(highlight=False, width=None if sys.stdout.isatty() else _UNLIMITED)
    left_out = {"Account"} if len(accounts) == 1 else set()
    if console.width < _NARROW:
        left_out |= {"Model", "Price"}
    headings = [heading for heading in _HEADINGS if heading not in left_out]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in headings:
        table.add_column(heading, no_wrap=heading not in _CUT, justify="right" if heading in _NUMBERS else "left")
    found = [(name, view, entry) for name, view in accounts.items() for entry in view.entries]
    older = 0
    for name, view, entry in sorted(found, key=lambda row: row[2].rank):
        state = entry.view.state
        if state.job.status.ended and entry.mark is None and (state.finished or 0.0) < view.state.now - _DAY:
            older += 1
            continue
        cells = _cells(name, entry, view.state.now)
        style = _STYLES.get(entry.mark.kind) if entry.mark else "dim" if state.job.status.ended else None
        table.add_row(*(_text(cells[heading]) for heading in headings), style=style)
    if table.row_count:
        console.print(table)
        console.print()
    console.print(_text(_summary(accounts, [entry for *_, entry in found], older)), soft_wrap=True)


def _cells(account: str, entry: Entry, now: float) -> dict[str, str]:
    state, fields, mark = entry.view.state, entry.view.fields, entry.mark
    ratio, price, created = state.progress_ratio, state.job.price_usd, state.job.created
    place = state.queue_place
    return {
        "Job": fields.get("suffix") or "-",
        "Account": account,
        "Status": state.job.status.name.replace("_", " "),
        "Attention": mark.words.format(_duration(now - (mark.since or now))) if mark else "",
        "Model": state.job.model.rpartition("/")[2],
        "Progress": f"{place:,} in queue" if place else "" if ratio is None else f"{int(ratio * 100)}%",
        "Ends": _end(entry, now),
        "Price": "" if price is None else f"${price:,.2f}",
        "Age": "" if created is None else _duration(now - created),
        "Id": state.job.id,
    }


def _end(entry: Entry, now: float) -> str:
    state = entry.view.state
    if state.finished is not None:
        return f"{_duration(now - state.finished)} ago"
    due = state.estimated_completion
    return "" if due is None else f"in {_duration(due - now)}" if due > now else "due"


def _summary(accounts: Mapping[str, AccountView], entries: list[Entry], older: int) -> str:
    numbers = {"stuck": 0, "failed": 0, "running": 0, "waiting": 0}
    for entry in entries:
        for group in entry.groups:
            if group in numbers:
                numbers[group] += 1
    parts = [f"{number:,} {group}" for group, number in numbers.items()]
    if older:
        parts.append(f"{older:,} finished more than a day ago")
    prices = [view.month_price_usd for view in accounts.values() if view.state.last_list is not None]
    spent = [price for price in prices if price is not None]
    budgets = [view.settings.budget_usd for view in accounts.values()]
    known = [budget for budget in budgets if budget is not None]
    if spent or not prices:
        of_budget = f" of ${sum(known):,.2f}" if len(known) == len(budgets) else ""
        parts.append(f"${sum(spent):,.2f}{of_budget} spent this month")
    return ", ".join(parts)


def _text(cell: str) -> Text:
    return Text(_printable(cell), no_wrap=True, overflow="ellipsis")


def _printable(text: str) -> str:
    """The text without what could control a terminal or the direction of its text."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _duration(seconds: float) -> str:
    """A duration as the page writes it: `5 d`, `2 h`, `90 min`."""
    length, unit = next(
        (pair for pair in ((86_400, "d"), (3_600, "h"), (60, "min")) if seconds >= 1.5 * pair[0]), (1, "s")
    )
    return f"{max(0, round(seconds / length)):,} {unit}"
