"""The store that holds the newest state, and decides who may publish: the one thing here that changes in time."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from exporter.state.events import Event
from exporter.state.settings import AccountSettings
from exporter.state.view import AccountView


@dataclass(frozen=True, slots=True)
class Exporter:
    """This process: its version, the revision it was built from, its Python version; whether the last reload of the
    configuration was successful, and when the last successful one was (unix seconds)."""

    version: str
    revision: str
    python_version: str
    reload_successful: bool = True
    reloaded: float | None = None


@dataclass(frozen=True, slots=True)
class State:
    """All that can be served: the exporter itself, and its accounts by name."""

    exporter: Exporter
    accounts: Mapping[str, AccountView] = field(default_factory=dict)

    def only(self, account: str) -> "State":
        """The state with only one of its accounts; `KeyError` if there is no account of that name."""
        return State(self.exporter, {account: self.accounts[account]})

    def fresh(self, now: float, max_staleness: float) -> frozenset[str]:
        """The accounts whose last list is at most `max_staleness` (seconds) old at `now` (unix seconds)."""
        return frozenset(
            name
            for name, view in self.accounts.items()
            if view.state.last_list is not None and now - view.state.last_list <= max_staleness
        )


class Store:
    """The newest state. What is read from it never changes. Safe between threads."""

    def __init__(self, exporter: Exporter, accounts: Mapping[str, AccountSettings]) -> None:
        self._lock = threading.Lock()
        self._state = State(exporter)
        self._publishers: dict[str, Publisher] = {}
        self._listeners: list[Callable[[], object]] = []
        self.configure(accounts)

    def read(self) -> State:
        """The state as of now."""
        return self._state

    def subscribe(self, listener: Callable[[], object]) -> None:
        """Calls `listener`, which must not wait for anything, after each change of the state."""
        self._listeners.append(listener)

    def configure(self, accounts: Mapping[str, AccountSettings]) -> None:
        """Sets the accounts and their settings. Accounts that remain keep their state; the others go, and their
        publishers are revoked."""
        with self._lock:
            old = self._state.accounts
            views = {
                name: _with_settings(old.get(name) or AccountView(), settings) for name, settings in accounts.items()
            }
            self._set(replace(self._state, accounts=MappingProxyType(views)))
            self._publishers = {name: publisher for name, publisher in self._publishers.items() if name in views}

    def publisher(self, account: str) -> "Publisher":
        """The new sole publisher of an account; the one before it is revoked."""
        with self._lock:
            publisher = self._publishers[account] = Publisher(self, account)
            return publisher

    def set_exporter(self, exporter: Exporter) -> None:
        """Replaces what is known of this process."""
        with self._lock:
            self._set(replace(self._state, exporter=exporter))

    def _publish(self, publisher: "Publisher", view: AccountView) -> AccountView | None:
        with self._lock:
            account = publisher.account
            if self._publishers.get(account) is not publisher:
                return None
            # They may have changed while the view was computed.
            view = _with_settings(view, self._state.accounts[account].settings)
            self._set(replace(self._state, accounts=MappingProxyType({**self._state.accounts, account: view})))
            return view

    def _set(self, state: State) -> None:
        self._state = state
        for listener in self._listeners:
            listener()


class Publisher:
    """The right to change the state of one account, until it is revoked."""

    def __init__(self, store: Store, account: str) -> None:
        self.account = account
        self._store = store
        self._lock = threading.Lock()

    def read(self) -> AccountView:
        """The account as of now; as of nothing if it was removed."""
        return self._store.read().accounts.get(self.account) or AccountView()

    def apply(self, event: Event) -> AccountView | None:
        """Publishes the state after the event; `None`, and nothing is published, if this publisher was revoked."""
        with self._lock:
            return self._store._publish(self, self.read().after(event))


def _with_settings(view: AccountView, settings: AccountSettings) -> AccountView:
    return view if view.settings == settings else AccountView(settings, view.state)
