"""The log: one line per record on stderr, as logfmt or JSON, without secrets."""

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from typing_extensions import override

from exporter.redaction import Redaction

log = logging.getLogger(__name__)


def configure(level: str, form: str, redact: Redaction) -> None:
    """Sends the log to stderr: records from `level` on, in the form `logfmt` or `json`, through `redact`.

    Exceptions that nothing handles are logged as well, instead of a traceback on stderr.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Line(_FORMS[form], redact))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    sys.excepthook = lambda _, error, __: _unhandled(error, "main")
    threading.excepthook = lambda args: _unhandled(args.exc_value, args.thread.name if args.thread else "")


def _unhandled(error: BaseException | None, thread: str) -> None:
    log.critical("unhandled exception", extra={"in": thread, "error": repr(error)})
    log.debug("traceback of the unhandled exception", exc_info=error)


class _Line(logging.Formatter):
    _STANDARD = frozenset(vars(logging.makeLogRecord({})))

    def __init__(self, write: Callable[[Mapping[str, Any]], str], redact: Redaction) -> None:
        super().__init__()
        self._write = write
        self._redact = redact

    @override
    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        fields: dict[str, Any] = {
            "ts": f"{stamp}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in self._STANDARD}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return self._redact(self._write(fields)).encode(errors="replace").decode()


def _logfmt(fields: Mapping[str, Any]) -> str:
    return " ".join(f"{name}={_quoted(str(value))}" for name, value in fields.items())


def _quoted(text: str) -> str:
    bare = text and text.isprintable() and not any(character in ' "=' for character in text)
    return text if bare else json.dumps(text, ensure_ascii=False)


def _json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, default=str)


_FORMS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {"logfmt": _logfmt, "json": _json}
