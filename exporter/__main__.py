"""The command: wires the rooms together, and minds the log, signals and exit codes."""

import gc
import json
import logging
import os
import platform
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import distribution
from typing import AnyStr

from pydantic import SecretStr
from typing_extensions import override

from exporter import __version__
from exporter.api import BadKeyError, Client, KeyFile, clean_key
from exporter.config import PROGRAM, Account, ConfigError, Settings, load, unknown_variables
from exporter.exposition import Exposition
from exporter.poller import Poller, Schedule
from exporter.simulator import Fleet, Simulator
from exporter.snapshot import Board, Exporter, Selection, Terms
from exporter.web import Application, Server, application

log = logging.getLogger(__name__)

# A list of jobs is many objects and no garbage: with Python's own thresholds the collector goes through all of them
# several times while they are made, which is a third of the time that parsing a long list takes.
GC_THRESHOLDS = (50_000, 10, 10)

_DEMO_KEY = "demo"
_SECONDS_APART = 0.02  # between the first polls of several accounts


def main() -> int:
    """Runs the command. The exit code is 0 for an end that was asked for, 1 for a failure, 2 for a configuration that
    cannot be used."""
    gc.set_threshold(*GC_THRESHOLDS)
    about = Exporter(__version__, _revision(), platform.python_version(), reloaded=time.time())
    version = f"{PROGRAM}, version {about.version} (revision {about.revision}, Python {about.python_version})"
    try:
        with ExitStack() as stack:
            told = load(sys.argv[1:], version)
            point = _demo(told, stack)
            settings = point(told)

            def read() -> Settings:
                return point(load(sys.argv[1:], version))

            board = Board(about, {})
            pollers = Pollers(board, _works(settings))
            if settings.config_check:
                _report()
                print("the configuration is good")
                return 0
            _log_to_stderr(settings)
            exclude = "|".join(settings.metrics_exclude)
            exposition = Exposition(board, max_staleness=settings.poll_max_staleness, exclude=exclude)
            if settings.once:
                pollers.poll_once()
                sys.stdout.buffer.write(exposition.page().body)
                return 0 if all(account.polls.up for account in board.read().accounts.values()) else 1
            return _serve(settings, read, pollers, application(board, exposition, settings.web_telemetry_path), stack)
    except (ConfigError, BadKeyError) as error:
        _report(*str(error).splitlines())
        return 2


def _report(*errors: str) -> None:
    """Prints the errors of the configuration, after a warning for each variable that looks like a setting."""
    warnings = (f"warning: {variable} is not a setting" for variable in unknown_variables(os.environ))
    for line in (*warnings, *errors):
        print(f"{PROGRAM}: {line}", file=sys.stderr)


def _demo(settings: Settings, stack: ExitStack) -> Callable[[Settings], Settings]:
    """What points settings at the simulator, which it starts; nothing but the settings themselves without `--demo`."""
    if not settings.demo:
        return lambda settings: settings
    fleet = Fleet(
        jobs=settings.simulator_jobs,
        seed=settings.simulator_seed,
        speed=settings.simulator_speed,
        start=time.time(),
    )
    simulator = stack.enter_context(Simulator(fleet, shape=settings.simulator_shape, key=_DEMO_KEY))
    simulated = {
        "together_base_url": simulator.url,
        "together_api_key": SecretStr(_DEMO_KEY),
        "together_api_key_file": None,
        "accounts": (),
    }
    return lambda settings: settings.model_copy(update=simulated)


@dataclass(frozen=True, slots=True)
class Work:
    """All that the polls of an account depend on."""

    account: Account
    timeout: float
    schedule: Schedule

    @property
    def terms(self) -> Terms:
        """What the user laid down for the account."""
        account = self.account
        return Terms(account.budget_usd_per_month, account.stuck_after, account.failure_window, account.failure_limit)

    def poller(self, board: Board) -> Poller:
        """A poller that does this; `BadKeyError` where the key cannot be had."""
        source = self._key_source()

        def redact(text: AnyStr, /) -> AnyStr:
            key = source()
            return text.replace(key, "[API key]") if isinstance(text, str) else text.replace(key.encode(), b"[API key]")

        client = Client(
            self.account.base_url,
            source,
            redact=redact,
            user_agent=f"{PROGRAM}/{__version__}",
            timeout=self.timeout,
            connections=self.schedule.concurrency + 1,
        )
        return Poller(self.account.name, client, board, self.schedule)

    def _key_source(self) -> Callable[[], str]:
        if self.account.api_key_file:
            return KeyFile(self.account.api_key_file)
        text = self.account.api_key.get_secret_value() if self.account.api_key else ""
        key = clean_key(text, f"{self.account.api_key_env}")
        return lambda: key


def _works(settings: Settings) -> dict[str, Work]:
    schedule = Schedule(
        active=settings.poll_interval,
        idle=settings.poll_idle_interval,
        details=settings.details_mode,
        concurrency=settings.details_concurrency,
        requests_per_minute=settings.details_requests_per_minute,
        training=settings.training_enabled,
        selection=Selection(settings.jobs_retention, settings.jobs_limit),
    )
    return {
        account.name: Work(account, settings.together_timeout, schedule) for account in settings.effective_accounts()
    }


class Pollers:
    """A poller for each account. `BadKeyError` where a key cannot be had; then nothing has changed."""

    def __init__(self, board: Board, works: Mapping[str, Work]) -> None:
        self.board = board
        self._works: Mapping[str, Work] = {}
        self._pollers: dict[str, Poller] = {}
        self.arrange(works)

    def arrange(self, works: Mapping[str, Work]) -> list[str]:
        """Makes these the accounts that are polled, and returns those that are new or changed: they have another
        poller, not started yet. Accounts that stay keep their state."""
        changed = {name: work.poller(self.board) for name, work in works.items() if self._works.get(name) != work}
        self.board.arrange({name: work.terms for name, work in works.items()})
        for name in self._works.keys() - works.keys() | changed.keys() & self._pollers.keys():
            self._pollers.pop(name).stop()
        self._pollers |= changed
        self._works = works
        return list(changed)

    @property
    def names(self) -> list[str]:
        """The accounts."""
        return list(self._pollers)

    def start(self, names: Iterable[str]) -> None:
        """Starts the pollers of these accounts."""
        for number, name in enumerate(names):
            # A call under way may last longer than a stop should: the threads are not waited for.
            run, delay = self._pollers[name].run, number * _SECONDS_APART
            threading.Thread(target=run, args=(delay,), name=f"poll {name}", daemon=True).start()

    def poll_once(self) -> None:
        """Polls every account once, in this thread."""
        for poller in self._pollers.values():
            poller.cycle()
            poller.settle()


def _serve(
    settings: Settings, read: Callable[[], Settings], pollers: Pollers, app: Application, stack: ExitStack
) -> int:
    wanted: queue.SimpleQueue[str] = queue.SimpleQueue()
    for number, what in ((signal.SIGTERM, "stop"), (signal.SIGINT, "stop"), (signal.SIGHUP, "reload")):
        signal.signal(number, lambda *_, what=what: wanted.put(what))
    for variable in unknown_variables(os.environ):
        log.warning("unknown environment variable", extra={"variable": variable})
    for address in settings.web_listen_address:
        try:
            server = Server(address, app)
        except OSError as error:
            log.error("cannot listen", extra={"address": address, "error": error.strerror})  # noqa: TRY400 - says it all
            return 1
        stack.callback(server.stop)
        log.info("listening", extra={"address": address, "port": server.port, "version": __version__})
    pollers.start(pollers.names)
    while wanted.get() != "stop":
        settings = _reload(settings, read, pollers)
    log.info("stopped")
    return 0


def _reload(settings: Settings, read: Callable[[], Settings], pollers: Pollers) -> Settings:
    """Puts what the files say now in force, and returns it; where that is not good, all stays as it was."""
    board = pollers.board
    exporter = board.read().exporter
    try:
        found = read()
        pollers.start(pollers.arrange(_works(found)))
    except (ConfigError, BadKeyError) as error:
        log.error("reload failed, the old configuration stays", extra={"error": str(error)})  # noqa: TRY400 - says it all
        board.tell(replace(exporter, reload_good=False))
        return settings
    board.tell(replace(exporter, reload_good=True, reloaded=time.time()))
    log.info("reloaded", extra={"accounts": len(board.read().accounts)})
    later = [field for field in _FIXED if getattr(found, field) != getattr(settings, field)]
    if later:
        log.warning("some settings take effect at the next start only", extra={"settings": " ".join(later)})
    return found


_FIXED = (
    "demo",
    "log_format",
    "log_level",
    "metrics_exclude",
    "poll_max_staleness",
    "web_listen_address",
    "web_telemetry_path",
)


def _revision() -> str:
    """The commit that pip installed from, where it was told of one."""
    origin = json.loads(distribution(PROGRAM).read_text("direct_url.json") or "{}")
    return str(origin.get("vcs_info", {}).get("commit_id", "unknown"))


def _log_to_stderr(settings: Settings) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Line({"logfmt": _logfmt, "json": _json}[settings.log_format]))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])


class _Line(logging.Formatter):
    _STANDARD = frozenset(vars(logging.makeLogRecord({})))

    def __init__(self, write: Callable[[dict[str, object]], str]) -> None:
        super().__init__()
        self._write = write

    @override
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields: dict[str, object] = {
            "ts": f"{stamp}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in self._STANDARD}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return self._write(fields)


def _logfmt(fields: dict[str, object]) -> str:
    return " ".join(f"{name}={_quoted(str(value))}" for name, value in fields.items())


def _quoted(text: str) -> str:
    bare = text and text.isprintable() and not any(character in ' "=' for character in text)
    return text if bare else json.dumps(text, ensure_ascii=False)


def _json(fields: dict[str, object]) -> str:
    return json.dumps(fields, ensure_ascii=False, default=str)


if __name__ == "__main__":
    sys.exit(main())
