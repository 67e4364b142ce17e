"""The state of the accounts: a fold over events, the verdicts that follow, and the store of the newest state."""

from exporter.state.account import AccountState, Polls
from exporter.state.attention import Attention
from exporter.state.entry import Entry, JobView, Moment, entry_with
from exporter.state.events import (
    Call,
    DetailsAnswered,
    Endpoint,
    Event,
    EventsAnswered,
    JobCallFailed,
    ListAnswered,
    ListFailed,
    PollFailed,
    RowsAnswered,
)
from exporter.state.job import JobState, Training
from exporter.state.lifecycle import Histogram, Lifecycle
from exporter.state.settings import AccountSettings
from exporter.state.store import Exporter, Publisher, State, Store
from exporter.state.totals import Totals
from exporter.state.verdict import Verdict, gives_steps, is_past, rows_awaited
from exporter.state.view import AccountView

__all__ = [
    "AccountSettings",
    "AccountState",
    "AccountView",
    "Attention",
    "Call",
    "DetailsAnswered",
    "Endpoint",
    "Entry",
    "Event",
    "EventsAnswered",
    "Exporter",
    "Histogram",
    "JobCallFailed",
    "JobState",
    "JobView",
    "Lifecycle",
    "ListAnswered",
    "ListFailed",
    "Moment",
    "PollFailed",
    "Polls",
    "Publisher",
    "RowsAnswered",
    "State",
    "Store",
    "Totals",
    "Training",
    "Verdict",
    "entry_with",
    "gives_steps",
    "is_past",
    "rows_awaited",
]
