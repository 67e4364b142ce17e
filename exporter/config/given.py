"""What flags, variables or the file say, before it is validated."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from exporter.config.errors import named

Place = tuple[str | int, ...]
"""The way to a value inside another: keys and indices."""


def dotted(place: Place) -> str:
    """The place as a user writes it: `accounts[1].name`."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{named(key)}" for key in place).removeprefix(".")


@dataclass(frozen=True, slots=True)
class Given:
    """The value of a setting as it was given: text, or lists and mappings of text.

    `name` is what the user calls it there: `--poll.interval` or `poll.interval`. `lines` are the locations in the file
    (`exporter.yml:3`) of the value, at `()`, and of the values inside it.
    """

    value: object
    name: str
    lines: Mapping[Place, str] = field(default_factory=dict)

    def place(self, inside: Place = ()) -> str:
        """Where the value is, or one inside it: `--poll.interval` or `exporter.yml:7: accounts[1].name`."""
        if not self.lines:
            return dotted((self.name, *(key for key in inside if isinstance(key, str))))
        nearest = next(inside[:end] for end in range(len(inside), -1, -1) if inside[:end] in self.lines)
        return f"{self.lines[nearest]}: {dotted((self.name, *inside))}"
