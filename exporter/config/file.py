"""The YAML file: whatever is in it yields values with their lines, or errors."""

import os
import stat
from pathlib import Path

import yaml
from yaml.composer import ComposerError
from yaml.reader import ReaderError

from exporter.config.errors import ConfigError
from exporter.config.given import Given, Place, dotted
from exporter.config.settings import settings

MAX_BYTES = 2**20
MAX_VALUES = 100_000
"""Without it, a few lines of aliases to aliases make billions of values."""

_TAG = "tag:yaml.org,2002:"
_MERGE, _NULL = f"{_TAG}merge", f"{_TAG}null"
_TAGS = {_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "map", "seq")}
_EXPECTED = "must contain settings, such as poll: {interval: 30s}"


def read_file(path: Path) -> tuple[dict[str, Given], list[str]]:
    """The settings in the file, by field, and an error for each entry that cannot be used.

    Values are the text in the file, as if it came from a flag: `off` is not made a boolean, nor `2020-01-01` a date. A
    key without a value is not given. `ConfigError` if the file as a whole cannot be read.
    """
    document = _Document(path)
    tree = document.read()
    _resolve_paths(tree, path.parent)
    fields: dict[Place, str] = {
        tuple(setting.flag.replace("-", "_").split(".")): setting.field
        for setting in settings()
        if not setting.flag.startswith("config.")
    }
    fields["accounts",] = "accounts"
    found: dict[str, Given] = {}

    def walk(section: dict[str, object], at: Place) -> None:
        for key, value in section.items():
            here = (*at, key)
            if here in fields:
                found[fields[here]] = Given(value, _name(here), document.lines_inside(here))
            elif not any(known[: len(here)] == here for known in fields):
                names = sorted({_name(known[len(at) :][:1]) for known in fields if known[: len(at)] == at})
                document.error(here, f"is not a setting; known here: {', '.join(names)}")
            elif isinstance(value, dict):
                walk(value, here)
            else:
                document.error(here, _EXPECTED)

    walk(tree, ())
    return found, [message for _, message in sorted(document.errors)]


def _name(place: Place) -> str:
    """The place as the docs write it: settings with dashes, what is inside `accounts` with underscores."""
    return dotted(place) if place[:1] == ("accounts",) else dotted(place).replace("_", "-")


def _resolve_paths(tree: dict[str, object], folder: Path) -> None:
    """Makes the files that the file names relative to its own folder."""
    accounts = tree.get("accounts")
    for holder in (tree.get("together"), *(accounts if isinstance(accounts, list) else ())):
        if isinstance(holder, dict) and isinstance(name := holder.get("api_key_file"), str) and name:
            holder["api_key_file"] = str(folder / name)


class _Document:
    """A YAML document as plain values, with the line of each."""

    def __init__(self, path: Path) -> None:
        self.errors: list[tuple[int, str]] = []
        self._path = path
        self._lines: dict[Place, int] = {}
        self._values = 0

    def read(self) -> dict[str, object]:
        """The mapping that the file contains; empty for an empty file."""
        try:
            root = yaml.SafeLoader(_text(self._path)).get_single_node()
            tree = self._plain(root, ()) if root else None
        except ConfigError:
            raise
        except RecursionError:
            raise ConfigError(f"{self._path}: is nested too deeply") from None
        except Exception as error:  # PyYAML has no common error: it raises ValueError for some escapes, for example
            raise ConfigError(_not_yaml(self._path, error)) from None
        if tree is not None and not isinstance(tree, dict):
            self.error((), _EXPECTED)
        return tree if isinstance(tree, dict) else {}

    def error(self, place: Place, message: str) -> None:
        """Adds an error of the entry at that place."""
        line, name = self._lines.get(place, 1), f"{_name(place)}: " if place else ""
        self.errors.append((line, f"{self._path}:{line}: {name}{message}"))

    def lines_inside(self, place: Place) -> dict[Place, str]:
        """The location of the entry at that place, and those of the entries inside it."""
        size = len(place)
        return {key[size:]: f"{self._path}:{line}" for key, line in self._lines.items() if key[:size] == place}

    def _plain(self, node: yaml.Node, at: Place) -> object:
        self._values += 1
        if self._values > MAX_VALUES:
            raise ConfigError(f"{self._path}: has more than {MAX_VALUES:,} values")
        if node.tag not in _TAGS:
            self.error(at, "has a tag that is not supported")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, at)
        if isinstance(node, yaml.SequenceNode):
            return [self._entry(item, item, (*at, index)) for index, item in enumerate(node.value)]
        return None if node.tag == _NULL else node.value

    def _mapping(self, node: yaml.MappingNode, at: Place) -> dict[str, object]:
        merged: dict[str, object] = {}
        found: dict[str, object] = {}
        # Merged mappings come first, so that an entry of the mapping itself has the last word on its line.
        for key_node, value_node in sorted(node.value, key=lambda pair: pair[0].tag != _MERGE):
            if key_node.tag == _MERGE:
                value = self._plain(value_node, at)
                for mapping in value if isinstance(value, list) else [value]:
                    merged = mapping | merged if isinstance(mapping, dict) else merged
            elif isinstance(key_node, yaml.ScalarNode):
                key = key_node.value.replace("-", "_")
                value = self._entry(key_node, value_node, (*at, key))
                if key in found:
                    self.error((*at, key), "is given twice")
                found[key] = value
            else:
                self.error(at, "has a key that is not text")
        return {key: value for key, value in (merged | found).items() if value is not None}

    def _entry(self, start: yaml.Node, node: yaml.Node, place: Place) -> object:
        self._lines[place] = start.start_mark.line + 1
        return self._plain(node, place)


def _not_yaml(path: Path, error: Exception) -> str:
    """The line for a file that is not YAML."""
    if isinstance(error, yaml.MarkedYAMLError):
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = error.problem or ""
        if isinstance(error, ComposerError) or "tag handle" in problem:
            problem = problem.partition("'")[
                0
            ].strip()  # it quotes what follows a `*` or `!`: this may be part of a key
        return f"{path}:{line}: not YAML: {problem}"
    if isinstance(error, ReaderError):
        return f"{path}: not YAML: character U+{error.character:04X} is not allowed"
    return f"{path}: not YAML"


def _text(path: Path) -> str:
    """The text of a regular file; another one, such as a pipe, could block or never end."""
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ConfigError(f"{path}: not a regular file")
            data = file.read(MAX_BYTES + 1)
    except OSError as error:  # without the path, which may be a key in the wrong place
        raise ConfigError(f"--config.file: {error.strerror}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than 1 MiB")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8") from None
