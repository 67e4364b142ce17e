"""The store of the newest state: who may publish, and what a reload changes."""

from exporter.state import AccountSettings, Store
from tests.support import ABOUT, job, list_answered, new_store


def jobs(store: Store, account: str = "a") -> list[str]:
    """The jobs of an account."""
    return list(store.read().accounts[account].state.jobs)


def test_a_publisher_changes_its_account_alone() -> None:
    store = new_store("a", "b")
    view = store.publisher("a").apply(list_answered(job("ft-1")))
    assert view is store.read().accounts["a"]
    assert (jobs(store, "a"), jobs(store, "b")) == (["ft-1"], [])


def test_a_replaced_publisher_publishes_nothing() -> None:
    store = new_store("a")
    old = store.publisher("a")
    new = store.publisher("a")
    assert old.apply(list_answered(job("ft-old"))) is None
    assert jobs(store) == []
    new.apply(list_answered(job("ft-new")))
    assert old.apply(list_answered(job("ft-old"))) is None
    assert jobs(store) == ["ft-new"]


def test_the_publisher_of_a_removed_account_publishes_nothing_even_if_the_account_returns() -> None:
    store = new_store("a", "b")
    publisher = store.publisher("a")
    store.configure({"b": AccountSettings()})
    assert publisher.apply(list_answered(job())) is None
    assert list(store.read().accounts) == ["b"]
    store.configure({"a": AccountSettings(), "b": AccountSettings()})
    assert publisher.apply(list_answered(job())) is None
    assert jobs(store) == []


def test_a_reload_keeps_the_state_and_the_publishers_of_accounts_that_remain() -> None:
    store = new_store("a")
    publisher = store.publisher("a")
    publisher.apply(list_answered(job("ft-1")))
    store.configure({"a": AccountSettings(budget_usd=7), "new": AccountSettings()})
    assert jobs(store) == ["ft-1"]
    assert publisher.apply(list_answered(job("ft-1"), job("ft-2"))) is not None
    assert jobs(store) == ["ft-1", "ft-2"]


def test_a_reload_takes_effect_at_once_and_no_publisher_brings_old_settings_back() -> None:
    store = new_store("a")
    publisher = store.publisher("a")
    publisher.apply(list_answered(job()))
    store.configure({"a": AccountSettings(budget_usd=7)})
    assert store.read().accounts["a"].settings.budget_usd == 7
    publisher.apply(list_answered(job()))
    assert store.read().accounts["a"].settings.budget_usd == 7


def test_what_was_read_never_changes() -> None:
    store = new_store("a")
    before = store.read()
    store.publisher("a").apply(list_answered(job()))
    store.set_exporter(ABOUT)
    store.configure({})
    assert list(before.accounts) == ["a"]
    assert not before.accounts["a"].state.jobs
