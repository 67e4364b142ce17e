"""The board where the newest state hangs: the one thing here that changes in time."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from exporter.snapshot.account import AccountState, Snapshot, Terms


@dataclass(frozen=True, slots=True)
class Exporter:
    """What this process is: its version, the revision that it was built from, the Python that runs it; and how the
    last reload of its configuration went, the last good one at `reloaded` (unix seconds)."""

    version: str
    revision: str
    python_version: str
    reload_good: bool = True
    reloaded: float | None = None


@dataclass(frozen=True, slots=True)
class State:
    """All there is to show at a moment: the exporter itself, and its accounts by name."""

    exporter: Exporter
    accounts: Mapping[str, AccountState] = field(default_factory=dict)

    def only(self, account: str) -> "State":
        """The same with one of its accounts alone; `KeyError` where there is none of that name."""
        return State(self.exporter, {account: self.accounts[account]})

    def fresh(self, now: float, max_staleness: float) -> dict[str, Snapshot]:
        """The snapshots by account, without those that are older than `max_staleness` (seconds) at `now`."""
        snapshots = {name: account.snapshot for name, account in self.accounts.items() if account.snapshot}
        return {name: snapshot for name, snapshot in snapshots.items() if now - snapshot.at <= max_staleness}


class Board:
    """Where the newest state hangs; what is read from it never changes. Safe between threads."""

    def __init__(self, exporter: Exporter, accounts: Mapping[str, Terms]) -> None:
        self._lock = threading.Lock()
        self._state = State(exporter)
        self.arrange(accounts)

    def read(self) -> State:
        """Everything as it is now."""
        return self._state

    def publish(self, account: str, state: AccountState) -> None:
        """Puts the new state of an account in the place of its old one; an account that was removed stays so."""
        with self._lock:
            if old := self._state.accounts.get(account):
                # The terms are not the poller's: they may have been changed while it was polling.
                accounts = {**self._state.accounts, account: replace(state, terms=old.terms)}
                self._state = replace(self._state, accounts=MappingProxyType(accounts))

    def arrange(self, accounts: Mapping[str, Terms]) -> None:
        """Makes these the accounts, each with its terms: those that stay keep their state, the others go."""
        with self._lock:
            old = self._state.accounts
            arranged = {name: replace(old.get(name, AccountState()), terms=terms) for name, terms in accounts.items()}
            self._state = replace(self._state, accounts=MappingProxyType(arranged))

    def tell(self, exporter: Exporter) -> None:
        """Puts what is known of this process in the place of what was."""
        with self._lock:
            self._state = replace(self._state, exporter=exporter)
