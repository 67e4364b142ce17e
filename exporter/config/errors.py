"""What the configuration raises, and how text that somebody else wrote is shown in it."""

from typing_extensions import override

_LONGEST_LINE = 500
_LONGEST_VALUE = 80


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


def shown(value: object) -> str:
    """`, not 'value'`, the end of an error; empty if the value is long, unprintable or may contain a password."""
    showable = isinstance(value, str) and len(value) <= _LONGEST_VALUE and value.isprintable() and "@" not in value
    return f", not {value!r}" if showable else ""
