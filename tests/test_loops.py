"""The loops of the accounts: none dies unnoticed, and a thread that cannot be started is tried again."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from exporter.accounts import Accounts, account_configs
from exporter.config import AccountEntry, Settings
from exporter.poller import Poller
from exporter.redaction import Redaction
from exporter.state import Store
from tests.programs import wait_for
from tests.support import ABOUT, KEY, Wire, http, job, jobs_json


@pytest.fixture
def watched(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Accounts, Store]]:
    """An account that polls fast and whose loop is watched, but not started yet; and its store."""
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.setattr("exporter.accounts._WATCH_INTERVAL", 0.05)
    wire.answer = http(jobs_json(job()))
    entry = AccountEntry(name="default", api_key_env="A_KEY", base_url=wire.url)
    settings = Settings(accounts=(entry,)).model_copy(
        update={"poll_interval": 0.05, "poll_idle_interval": 0.05, "details_mode": "off", "together_timeout": 1.0}
    )
    store = Store(ABOUT, {})
    accounts = Accounts(store, account_configs(settings), Redaction())
    threading.Thread(target=accounts.watch, daemon=True).start()
    yield accounts, store
    accounts.configure({})
    wait_for(lambda: "poll default" not in {thread.name for thread in threading.enumerate()})  # or it logs elsewhere


def up(store: Store) -> bool | None:
    return store.read().accounts["default"].state.polls.up


def test_a_loop_whose_thread_could_not_be_started_is_started_later(
    watched: tuple[Accounts, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts, store = watched
    failures = iter(range(3))
    begin = threading.Thread.start

    def sometimes(thread: threading.Thread) -> None:
        if thread.name.startswith("poll") and next(failures, None) is not None:
            raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", sometimes)
    accounts.start()
    wait_for(lambda: up(store) is True)


def test_a_loop_that_died_is_started_again(watched: tuple[Accounts, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    accounts, store = watched
    run = Poller.run
    deaths = iter(range(2))

    def mortal(poller: Poller, *args: Any) -> None:
        if next(deaths, None) is None:
            run(poller, *args)

    monkeypatch.setattr(Poller, "run", mortal)
    accounts.start()
    wait_for(lambda: up(store) is True)


def test_a_poll_that_is_long_overdue_sets_up_to_0_and_fails_the_health_check(
    watched: tuple[Accounts, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts, store = watched
    accounts.start()
    wait_for(lambda: up(store) is True)
    assert list(accounts.overdue()) == []
    hangs, over = threading.Event(), threading.Event()

    def hang(_: Poller) -> float:
        hangs.set()
        over.wait()
        return 0.0

    monkeypatch.setattr(Poller, "poll", hang)
    wait_for(hangs.is_set)
    monkeypatch.setattr("exporter.poller.poller._GRACE", -10.0)  # as if an hour had passed
    try:
        wait_for(lambda: up(store) is False)
        assert accounts.overdue() == ["default"]
        assert store.read().accounts["default"].state.polls.failure == "overdue"
    finally:
        over.set()
