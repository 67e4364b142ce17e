"""API keys and the files that hold them."""

import logging
import os
import stat
from pathlib import Path

log = logging.getLogger(__name__)

_MAX_FILE_BYTES = 4096


class BadKeyError(Exception):
    """There is no usable API key; the message says where, and never shows the content."""


def clean_key(text: str, source: str) -> str:
    """The API key in `text`, without surrounding white space; `BadKeyError`, naming `source`, if there is none."""
    key = text.strip()
    if not key:
        raise BadKeyError(f"{source} is empty")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise BadKeyError(f"{source} holds something other than one word of printable ASCII")
    return key


class KeyFile:
    """A file with an API key, read at every call, so that a rotated key is picked up.

    While the file cannot be used, the last key stays. `BadKeyError`, naming `source` and not the path, which may be a
    key in the wrong place, if there is none to begin with.
    """

    def __init__(self, path: Path, source: str) -> None:
        self._path = path
        self._source = source
        self._key, public = self._read()
        self._problem = ""
        if public:
            log.warning("the API key file is readable by every user", extra={"file": str(path)})

    def __call__(self) -> str:
        problem = ""
        try:
            self._key, _ = self._read()
        except BadKeyError as error:
            problem = str(error)
        if problem and problem != self._problem:
            log.warning("the API key file cannot be used, the last good key stays in use", extra={"error": problem})
        self._problem = problem
        return self._key

    def _read(self) -> tuple[str, bool]:
        """The key, and whether every user of the machine can read it."""
        try:
            with open(self._path, "rb", buffering=0, opener=_open_without_waiting) as file:
                mode = os.fstat(file.fileno()).st_mode
                if not stat.S_ISREG(mode):
                    raise BadKeyError(f"{self._source}: not a regular file")
                content = file.read(_MAX_FILE_BYTES + 1)
        except OSError as error:
            raise BadKeyError(f"{self._source}: {error.strerror}") from None
        except ValueError as error:  # a NUL in the path
            raise BadKeyError(f"{self._source}: {error}") from None
        if len(content) > _MAX_FILE_BYTES:
            raise BadKeyError(f"{self._source}: larger than {_MAX_FILE_BYTES} bytes")
        return clean_key(content.decode(errors="replace"), self._source), bool(mode & stat.S_IROTH)


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a FIFO would wait for a writer
