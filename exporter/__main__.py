"""The command: wires the packages together, waits for signals, and sets the exit code."""

import gc
import logging
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from exporter import __version__
from exporter import log as logs
from exporter.accounts import Accounts, Loop, account_configs
from exporter.api import BadKeyError
from exporter.config import PROGRAM, ConfigError, Settings, load, secrets, unknown_variables
from exporter.exposition import Exposition, Renderer
from exporter.packaged import SOURCES, revision, write_files
from exporter.redaction import Redaction
from exporter.state import Exporter, Store
from exporter.web import SWITCH_SECONDS, Application, Links, Server, WebConfigError, application

if TYPE_CHECKING:
    from exporter.web.guard import Guard

log = logging.getLogger(__name__)

# A list of jobs is many objects and no garbage: with Python's default thresholds the collector visits all of them
# several times while they are created, which takes a third of the time of parsing a long list.
GC_THRESHOLDS = (50_000, 10, 10)

_DEMO_KEY = "simulated-key"
_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
_QUIET = 0.2  # seconds without another SIGHUP before a reload
_MAX_QUIET = 2.0


def main() -> int:
    """Runs the command. Returns the exit code: 0 for success, 1 for a failure, 2 for an invalid configuration, and for
    `status` 3 for a failed poll."""
    try:
        code = _command(sys.argv[1:])
        print(end="", flush=True)
    except BrokenPipeError:  # whoever reads the output, such as `head`, has stopped: end as other programs do
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        signal.raise_signal(signal.SIGPIPE)
        raise
    return code


def _command(flags: list[str]) -> int:
    if flags and flags[0] in SOURCES:
        return _write(*flags)
    gc.set_threshold(*GC_THRESHOLDS)
    about = Exporter(__version__, revision(), platform.python_version(), reloaded=time.time())
    version = f"{PROGRAM}, version {about.version} (revision {about.revision}, Python {about.python_version})"
    redact = Redaction()
    redact.add(*secrets())
    try:
        with ExitStack() as stack:
            if flags[:1] == ["status"]:
                rest = [flag for flag in flags[1:] if flag != "--json"]
                return _status(load(rest, version), about, redact, stack, as_json="--json" in flags)
            return _run(load(flags, version), about, redact, lambda: load(flags, version), stack)
    except (ConfigError, BadKeyError, WebConfigError) as error:
        _report(*redact(str(error)).splitlines())
        return 2


def _write(kind: str, folder: str = ".", *rest: str) -> int:
    """Writes the packaged files of that kind into a folder, and prints their paths."""
    if rest or folder.startswith("-"):
        print(f"usage: {PROGRAM} {kind} [FOLDER]", file=sys.stderr)
        return 2
    try:
        written = write_files(kind, Path(folder))
    except OSError as error:
        print(f"{PROGRAM}: {error.filename or folder}: {error.strerror}", file=sys.stderr)
        return 1
    print(*written, sep="\n")
    return 0


def _report(*errors: str) -> None:
    """Prints the errors of the configuration, after a warning for each variable that looks like a setting."""
    warnings = (f"warning: {variable} is not a setting" for variable in unknown_variables(os.environ))
    for line in (*warnings, *errors):
        print(f"{PROGRAM}: {line}", file=sys.stderr)


def _status(settings: Settings, about: Exporter, redact: Redaction, stack: ExitStack, *, as_json: bool) -> int:
    from exporter.status import show  # here, because only this command needs the library for tables

    redact.add(*secrets(settings.effective_accounts()))
    level = settings.log_level if "log_level" in settings.model_fields_set else "error"
    logs.configure(level, settings.log_format, redact)
    if settings.demo:
        settings = _demo(settings, stack)(settings)
    store = Store(about, {})
    Accounts(store, account_configs(settings), redact).poll_once()
    return show(store.read(), as_json=as_json)


def _run(settings: Settings, about: Exporter, redact: Redaction, read: Callable[[], Settings], stack: ExitStack) -> int:
    redact.add(*secrets(settings.effective_accounts()))
    guard = _guard(settings)
    if settings.config_check:
        if not settings.demo:  # the simulated account has a key of its own
            Accounts(Store(about, {}), account_configs(settings), redact)
        _report()
        print("the configuration is valid")
        return 0
    logs.configure(settings.log_level, settings.log_format, redact)
    if not settings.once:
        # Blocked in all threads, they stay pending until `_serve` waits for them: none is lost or handled twice.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    point = _demo(settings, stack) if settings.demo else lambda settings: settings
    store = Store(about, {})
    accounts = Accounts(store, account_configs(point(settings)), redact)
    exposition = Exposition(
        store, max_staleness=settings.poll_max_staleness, exclude="|".join(settings.metrics_exclude)
    )
    if settings.once:
        accounts.poll_once()
        sys.stdout.buffer.writelines(exposition.page().parts)
        return 0 if all(view.state.polls.up for view in store.read().accounts.values()) else 1
    reload = _Reload(point(settings), lambda: point(read()), store, accounts, redact)
    renderer = Renderer(exposition, store)
    app = application(
        store,
        renderer,
        settings.web_telemetry_path,
        accounts.overdue,
        reload if settings.web_enable_lifecycle else None,
        links=Links(settings.web_console_url, settings.web_grafana_url),
    )
    return _serve(settings, reload, accounts, renderer, app, guard, stack)


def _guard(settings: Settings) -> "Guard | None":
    """What the web configuration asks for; `WebConfigError`, with where the file is named, if it cannot be used."""
    if not settings.web_config_file:
        return None
    from exporter.web.guard import Guard  # here, because without the file nothing of it is needed, nor bcrypt

    try:
        return Guard(settings.web_config_file)
    except WebConfigError as error:
        place = settings.place("web_config_file")
        raise WebConfigError("\n".join(f"{place}: {line}" for line in str(error).splitlines())) from None


def _demo(settings: Settings, stack: ExitStack) -> Callable[[Settings], Settings]:
    """Starts the simulator. Returns what points settings at it."""
    from exporter.simulator import Fleet, Simulator  # here, because only --demo needs it

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


def _serve(
    settings: Settings,
    reload: Callable[[], str | None],
    accounts: Accounts,
    renderer: Renderer,
    app: Application,
    guard: "Guard | None",
    stack: ExitStack,
) -> int:
    sys.setswitchinterval(SWITCH_SECONDS)
    for variable in unknown_variables(os.environ):
        log.warning("unknown environment variable", extra={"variable": variable})
    for address in settings.web_listen_address:
        try:
            server = Server(address, guard.protect(app), guard.context) if guard else Server(address, app)
        except OSError as error:
            log.error("cannot listen", extra={"address": address, "error": error.strerror or str(error)})  # noqa: TRY400 - the message is enough
            return 1
        stack.callback(server.stop)
        log.info("listening", extra={"address": address, "port": server.port, "version": __version__})
    rendering = Loop("render", renderer.run)
    rendering.ensure()
    stack.callback(renderer.stop)
    accounts.start()
    threading.Thread(target=accounts.watch, args=(rendering,), name="watch", daemon=True).start()
    while signal.sigwait(_SIGNALS) == signal.SIGHUP:
        _wait_for_last_hangup()
        reload()
    log.info("stopped")
    return 0


def _wait_for_last_hangup() -> None:
    """Waits until no more SIGHUPs arrive, so that many in a row cause one reload."""
    latest = time.monotonic() + _MAX_QUIET
    while time.monotonic() < latest:
        time.sleep(_QUIET)
        if signal.SIGHUP not in signal.sigpending():
            break
        signal.sigwait([signal.SIGHUP])


class _Reload:
    """Applies what the files contain now; if they are invalid, nothing changes. It returns the error, if any."""

    def __init__(
        self, settings: Settings, read: Callable[[], Settings], store: Store, accounts: Accounts, redact: Redaction
    ) -> None:
        self._settings = settings
        self._read = read
        self._store = store
        self._accounts = accounts
        self._redact = redact
        self._lock = threading.Lock()

    def __call__(self) -> str | None:
        with self._lock:  # one at a time, whether a signal or a request asks for it
            exporter = self._store.read().exporter
            try:
                settings = self._read()
                self._redact.add(*secrets(settings.effective_accounts()))
                self._accounts.configure(account_configs(settings))
            except (ConfigError, BadKeyError) as error:
                message = self._redact(str(error))
                log.error("reload failed, the old configuration remains", extra={"error": message})  # noqa: TRY400 - the message is enough
                self._store.set_exporter(replace(exporter, reload_successful=False))
                return message
            self._accounts.start()
            self._store.set_exporter(replace(exporter, reload_successful=True, reloaded=time.time()))
            log.info("reloaded", extra={"accounts": len(self._store.read().accounts)})
            later = [field for field in _FIXED if getattr(settings, field) != getattr(self._settings, field)]
            if later:
                log.warning("some settings take effect only after a restart", extra={"settings": " ".join(later)})
            self._settings = settings
            return None


_FIXED: Sequence[str] = (
    "demo",
    "log_format",
    "log_level",
    "metrics_exclude",
    "poll_max_staleness",
    "web_config_file",
    "web_console_url",
    "web_enable_lifecycle",
    "web_grafana_url",
    "web_listen_address",
    "web_telemetry_path",
)


if __name__ == "__main__":
    sys.exit(main())
