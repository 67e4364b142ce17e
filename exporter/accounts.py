"""The accounts of this process: a poller for each, reloads, and a watch over their loops."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from exporter import __version__
from exporter.api import BadKeyError, Client, KeyFile, clean_key
from exporter.config import PROGRAM, Account, Settings
from exporter.poller import Poller, Schedule
from exporter.redaction import Redaction
from exporter.state import AccountSettings, Store

log = logging.getLogger(__name__)

_STAGGER = 0.02  # seconds between the first polls of several accounts
_WATCH_INTERVAL = 1.0


@dataclass(frozen=True, slots=True)
class AccountConfig:
    """Everything that the polls of an account depend on; `timeout` in seconds."""

    account: Account
    timeout: float
    schedule: Schedule
    settings: AccountSettings

    def has_same_requests(self, other: "AccountConfig | None") -> bool:
        """Whether both make the same requests, whatever is derived from the answers."""
        return other is not None and self._requests() == other._requests()

    def _requests(self) -> tuple[object, ...]:
        account = self.account
        return account.base_url, account.api_key_file, account.api_key_env, account.api_key, self.timeout, self.schedule

    def client(self, redact: Redaction) -> Client:
        """A client for the account; `BadKeyError`, with where the key is set, if there is no usable key."""
        try:
            key = self._key_source(redact)
        except BadKeyError as error:
            place = self.account.key_place
            raise BadKeyError(f"{place}: {error}" if place else str(error)) from None
        return Client(
            self.account.base_url,
            key,
            user_agent=f"{PROGRAM}/{__version__}",
            timeout=self.timeout,
            connections=self.schedule.concurrency + 1,
            redact=redact,
        )

    def _key_source(self, redact: Redaction) -> Callable[[], str]:
        if self.account.api_key_file:
            file = KeyFile(self.account.api_key_file, f"the API key file of account {self.account.name}")

            def read() -> str:
                key = file()
                redact.add(key)
                return key

            return read
        text = self.account.api_key.get_secret_value() if self.account.api_key else ""
        key = clean_key(text, str(self.account.api_key_env))
        redact.add(key)
        return lambda: key


def account_configs(settings: Settings) -> dict[str, AccountConfig]:
    """The accounts that the settings describe, by name."""
    schedule = Schedule(
        active=settings.poll_interval,
        idle=settings.poll_idle_interval,
        details=settings.details_mode,
        concurrency=settings.details_concurrency,
        requests_per_minute=settings.details_requests_per_minute,
        training=settings.training_enabled,
    )

    def settings_of(account: Account) -> AccountSettings:
        return AccountSettings(
            budget_usd=account.budget_usd_per_month,
            stuck_after=account.stuck_after,
            failure_window=account.failure_window,
            failure_limit=account.failure_limit,
            details=settings.details_mode != "off",
            retention=settings.jobs_retention,
            limit=settings.jobs_limit,
        )

    return {
        account.name: AccountConfig(account, settings.together_timeout, schedule, settings_of(account))
        for account in settings.effective_accounts()
    }


@dataclass(slots=True)
class Loop:
    """A thread that runs `run`."""

    name: str
    run: Callable[..., None]
    thread: threading.Thread | None = None

    def ensure(self, *args: float) -> bool:
        """Starts the thread, with these arguments, unless it is alive. Returns whether it is."""
        if self.thread is not None and self.thread.is_alive():
            return True
        # A daemon thread: a call may take longer than the exporter may take to stop.
        thread = threading.Thread(target=self.run, args=args, name=self.name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the limit on threads
            return False
        self.thread = thread
        return True


@dataclass(frozen=True, slots=True)
class _Polls:
    poller: Poller
    loop: Loop


class Accounts:
    """A poller for each account. Raises `BadKeyError` if there is no usable key."""

    def __init__(self, store: Store, configs: Mapping[str, AccountConfig], redact: Redaction) -> None:
        self._store = store
        self._redact = redact
        self._configs: Mapping[str, AccountConfig] = {}
        self._polls: dict[str, _Polls] = {}
        self._new: list[str] = []
        self._lock = threading.Lock()
        self.configure(configs)

    def configure(self, configs: Mapping[str, AccountConfig]) -> None:
        """Sets the accounts. Accounts that remain keep their state, and their poller too unless their requests change;
        new pollers are started by `start`. If a key is not usable, `BadKeyError` is raised and nothing changes."""
        clients: dict[str, Client] = {}
        errors: list[str] = []
        for name, config in configs.items():
            if not config.has_same_requests(self._configs.get(name)):
                try:
                    clients[name] = config.client(self._redact)
                except BadKeyError as error:
                    errors.append(str(error))
        if errors:
            raise BadKeyError("\n".join(errors))
        with self._lock:
            for name in self._polls.keys() - configs.keys() | self._polls.keys() & clients.keys():
                self._polls.pop(name).poller.stop()
            self._store.configure({name: config.settings for name, config in configs.items()})
            for name, client in clients.items():
                poller = Poller(client, self._store.publisher(name), configs[name].schedule)
                self._polls[name] = _Polls(poller, Loop(f"poll {name}", poller.run))
            self._configs = configs
            self._new = list(clients)

    def start(self) -> None:
        """Starts the pollers that were added last."""
        with self._lock:
            for number, name in enumerate(self._new):
                if not self._polls[name].loop.ensure(number * _STAGGER):
                    log.error("poll loop not started, trying again", extra={"account": name})
            self._new = []

    def poll_once(self) -> None:
        """Polls every account once, in this thread, with the requests that follow."""
        for polls in self._polls.values():
            polls.poller.poll()
            polls.poller.settle()

    def overdue(self) -> list[str]:
        """The accounts whose polls are overdue: their loop is dead or hangs."""
        with self._lock:
            return [name for name, polls in self._polls.items() if polls.poller.overdue]

    def watch(self, *others: Loop) -> None:
        """Restarts dead loops, the `others` too, and reports overdue polls, until the process ends."""
        while True:
            time.sleep(_WATCH_INTERVAL)
            try:
                self._check()
                for loop in others:
                    loop.ensure()
            except Exception as error:
                log.error("internal error", extra={"error": repr(error)})  # noqa: TRY400 - the traceback is for debug
                log.debug("traceback of the internal error", exc_info=error)

    def _check(self) -> None:
        with self._lock:
            all_polls = [(name, polls) for name, polls in self._polls.items() if name not in self._new]
        for name, polls in all_polls:
            if polls.poller.overdue:
                polls.poller.report_overdue()
            with self._lock:
                if self._polls.get(name) is polls:
                    polls.loop.ensure()
