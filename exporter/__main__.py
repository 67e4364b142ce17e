"""The command: wires the rooms together, and minds the log, signals and exit codes."""

import gc
import json
import logging
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from importlib.metadata import distribution

from pydantic import SecretStr
from typing_extensions import override

from exporter import __version__
from exporter.api import BadKeyError, Client, KeyFile, clean_key
from exporter.config import PROGRAM, ConfigError, Settings, load, unknown_variables
from exporter.exposition import Exposition
from exporter.poller import Intervals, Poller
from exporter.simulator import Fleet, Simulator
from exporter.snapshot import Board, Exporter
from exporter.web import Server, application

log = logging.getLogger(__name__)

ACCOUNT = "default"

# A list of jobs is many objects and no garbage: with Python's own thresholds the collector goes through all of them
# several times while they are made, which is a third of the time that parsing a long list takes.
GC_THRESHOLDS = (50_000, 10, 10)

_DEMO_KEY = "demo"


def main() -> int:
    """Runs the command. The exit code is 0 for an end that was asked for, 1 for a failure, 2 for a configuration that
    cannot be used."""
    gc.set_threshold(*GC_THRESHOLDS)
    about = Exporter(__version__, _revision(), platform.python_version())
    try:
        version = f"{PROGRAM}, version {about.version} (revision {about.revision}, Python {about.python_version})"
        settings = load(sys.argv[1:], version)
        with ExitStack() as stack:
            if settings.demo:
                settings = _simulated(settings, stack)
            key = _key(settings)
            if settings.config_check:
                print("the configuration is good")
                return 0
            _log_to_stderr(settings)
            return _run(settings, key, about, stack)
    except (ConfigError, BadKeyError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2


def _simulated(settings: Settings, stack: ExitStack) -> Settings:
    fleet = Fleet(
        jobs=settings.simulator_jobs,
        seed=settings.simulator_seed,
        speed=settings.simulator_speed,
        start=time.time(),
    )
    simulator = stack.enter_context(Simulator(fleet, shape=settings.simulator_shape, key=_DEMO_KEY))
    return settings.model_copy(
        update={
            "together_base_url": simulator.url,
            "together_api_key": SecretStr(_DEMO_KEY),
            "together_api_key_file": None,
        }
    )


def _key(settings: Settings) -> Callable[[], str]:
    if settings.together_api_key_file:
        return KeyFile(settings.together_api_key_file)
    if settings.together_api_key:
        key = clean_key(settings.together_api_key.get_secret_value(), "TOGETHER_API_KEY")
        return lambda: key
    raise ConfigError("no API key: set TOGETHER_API_KEY, or --together.api-key-file to a file that holds it")


def _run(settings: Settings, key: Callable[[], str], about: Exporter, stack: ExitStack) -> int:
    board = Board(about, [ACCOUNT])
    client = Client(
        settings.together_base_url,
        key,
        user_agent=f"{PROGRAM}/{about.version}",
        timeout=settings.together_timeout,
    )
    poller = Poller(ACCOUNT, client, board, Intervals(settings.poll_interval, settings.poll_idle_interval))
    exposition = Exposition(board, max_staleness=settings.poll_max_staleness)
    if settings.once:
        poller.cycle()
        sys.stdout.buffer.write(exposition.page().body)
        return 0 if all(account.polls.up for account in board.read().accounts.values()) else 1

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    for variable in unknown_variables(os.environ):
        log.warning("unknown environment variable", extra={"variable": variable})
    app = application(board, exposition, settings.web_telemetry_path)
    for address in settings.web_listen_address:
        try:
            server = Server(address, app)
        except OSError as error:
            log.error("cannot listen", extra={"address": address, "error": error.strerror})  # noqa: TRY400 - says it all
            return 1
        stack.callback(server.stop)
        log.info("listening", extra={"address": address, "port": server.port, "version": about.version})
    # A call under way may last longer than a stop should: the thread is not waited for.
    threading.Thread(target=poller.run, args=(stop,), name=f"poll {ACCOUNT}", daemon=True).start()
    stop.wait()
    log.info("stopped")
    return 0


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
