"""What the configuration raises, and how text that somebody else wrote is shown in it."""

import re

from typing_extensions import override

_LONGEST_LINE = 500
_LONGEST_VALUE = 16  # keys are longer
_NAME = re.compile(r"[A-Za-z0-9._-]{1,16}|[A-Za-z._-]{1,60}")  # and have digits


class ConfigError(Exception):
    """Settings that cannot be used. `lines` has one line per error: the place, and the values it accepts."""

    def __init__(self, *lines: str) -> None:
        super().__init__(*lines)
        self.lines = tuple(map(_one_line, lines))

    @override
    def __str__(self) -> str:
        return "\n".join(self.lines)


def _one_line(text: str) -> str:
    text = text if len(text) <= _LONGEST_LINE else f"{text[:_LONGEST_LINE]}…"
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def named(text: str) -> str:
    """What somebody wrote in place of a name; `…` if it may be a secret."""
    return text if _NAME.fullmatch(text) else "…"


def shown(value: object) -> str:
    """`, not 'value'`, the end of an error; empty if the value is unprintable or may be a secret."""
    showable = isinstance(value, str) and len(value) <= _LONGEST_VALUE and value.isprintable() and "@" not in value
    return f", not {value!r}" if showable else ""
