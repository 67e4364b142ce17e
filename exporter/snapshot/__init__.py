"""The state of the accounts: frozen values, and the board where the newest of each hangs."""

from exporter.snapshot.account import STUCK_AFTER, AccountState, Call, Polls, Selection, Snapshot, Terms, take
from exporter.snapshot.board import Board, Exporter, State
from exporter.snapshot.job import JobState, Training, detailed, listed, trained
from exporter.snapshot.lifecycle import Histogram, Lifecycle
from exporter.snapshot.merge import merge

__all__ = [
    "STUCK_AFTER",
    "AccountState",
    "Board",
    "Call",
    "Exporter",
    "Histogram",
    "JobState",
    "Lifecycle",
    "Polls",
    "Selection",
    "Snapshot",
    "State",
    "Terms",
    "Training",
    "detailed",
    "listed",
    "merge",
    "take",
    "trained",
]
