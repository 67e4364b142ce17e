"""Puts flags, environment and file together, validates them, and says what is wrong where."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from exporter.config.command import help_text, read_flags
from exporter.config.environment import read_environment
from exporter.config.errors import ConfigError, shown
from exporter.config.given import Given, Place, dotted
from exporter.config.settings import ENV_PREFIX, AccountEntry, Settings
from exporter.config.settings import settings as all_settings
from exporter.config.validators import file_path, write_duration

log = logging.getLogger(__name__)

_MESSAGES = {
    "missing": "is required",
    "extra_forbidden": f"is not a setting of an account; known: {', '.join(AccountEntry.model_fields)}",
    "string_type": "must be one value",
    "tuple_type": "must be a list",
    "dict_type": "must contain keys and values",
    "model_type": "must contain keys and values",
}


def load(argv: Sequence[str], version: str, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings from the flags in `argv`, the environment, and the file that one of these names.

    Raises `ConfigError`, and nothing else, with a line for each error. `--help` and `--version`, which prints
    `version`, exit.
    """
    _answer(argv, version)
    try:
        return _load(argv, environ)
    except ConfigError:
        raise
    except Exception as error:
        log.debug("unexpected error in the configuration", exc_info=True)
        raise ConfigError(f"internal error while reading the configuration ({type(error).__name__})") from None


def _answer(argv: Sequence[str], version: str) -> None:
    if {"-h", "--help"} & set(argv):
        print(help_text(), end="", flush=True)
    elif "--version" in argv:
        print(version, flush=True)
    else:
        return
    raise SystemExit(0)


def _load(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    flags, errors = read_flags(argv)
    given = read_environment(environ) | flags
    if environ.get(f"{ENV_PREFIX}ACCOUNTS"):
        errors.append(f"{ENV_PREFIX}ACCOUNTS: accounts can only be set in the file that --config.file names")
    from_file, file_errors, complete = _from_file(given.get("config_file"))
    given = from_file | given
    settings, value_errors, invalid = _validate(given)
    errors += [*file_errors, *value_errors]
    if complete:  # what the file would have said could be the very thing that is missing
        errors += [*_conflicts(settings, given, invalid), *_same_names(settings, given)]
        errors += _missing_keys(settings, given, invalid, environ)
    if errors:
        raise ConfigError(*errors)
    given.pop("together_api_key", None)  # the places are wanted, not the key
    return settings.model_copy(update={"given": given})


def _from_file(file: Given | None) -> tuple[dict[str, Given], list[str], bool]:
    """The settings of the file, its errors, and whether it could be read."""
    if file is None:
        return {}, [], True
    from exporter.config.file import read_file  # here, because only a file needs PyYAML

    try:
        return *read_file(file_path(file.value)), True
    except ConfigError as error:
        return {}, list(error.lines), False
    except ValueError:
        return {}, [], False  # the path is no path: an invalid value like any other


def _validate(given: Mapping[str, Given]) -> tuple[Settings, list[str], set[str]]:
    """The settings, with defaults in place of invalid values; an error for each of these, and their fields."""
    values = {field: item.value for field, item in given.items()}
    try:
        return Settings.model_validate(values), [], set()
    except ValidationError as error:
        problems = error.errors(include_url=False)
    invalid = {str(problem["loc"][0]) for problem in problems}
    valid = {field: value for field, value in values.items() if field not in invalid}
    return Settings.model_validate(valid), [_line(problem, given) for problem in problems], invalid


def _line(problem: ErrorDetails, given: Mapping[str, Given]) -> str:
    field, *inside = problem["loc"]
    place = given[str(field)].place(tuple(key for key in inside if key != "[key]"))
    message = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    # Among the values of accounts and key files may be a key that is misplaced.
    value = "" if field in ("accounts", "together_api_key_file") else shown(problem["input"])
    return f"{place}: {_MESSAGES.get(problem['type'], message)}{value}"


def _conflicts(settings: Settings, given: Mapping[str, Given], invalid: set[str]) -> Iterator[str]:
    """An error for each two durations that contradict each other."""
    values: Any = settings.model_dump()
    flags = {setting.field: setting.flag for setting in all_settings()}

    def seconds(place: Place) -> float:
        return float(reduce(lambda value, key: value[key], place, values))

    def written(place: Place) -> str:
        field, inside = str(place[0]), place[1:]
        if field == "accounts":
            return given[field].place(inside)
        if field in given:
            return f"{given[field].place(inside)} ({write_duration(seconds(place))})"
        return f"{dotted((flags[field], *inside))} ({write_duration(seconds(place))} by default)"

    for short, long in _orders(settings):
        if not {short[0], long[0]} & invalid and seconds(short) > seconds(long):
            # An error starts with something that was given.
            if short[0] in given:
                yield f"{written(short)} must not be longer than {written(long)}"
            else:
                yield f"{written(long)} must not be shorter than {written(short)}"


def _orders(settings: Settings) -> Iterator[tuple[Place, Place]]:
    """Pairs of durations of which the first must not be longer than the second."""
    # Otherwise the metrics would disappear between two polls ...
    yield ("poll_interval",), ("poll_max_staleness",)
    yield ("poll_idle_interval",), ("poll_max_staleness",)
    # ... and a job would be stuck, or its failure over, before the next poll.
    yield ("poll_interval",), ("alerts_failure_window",)
    for status in settings.alerts_stuck_after:
        yield ("poll_interval",), ("alerts_stuck_after", status)
    for index, account in enumerate(settings.accounts):
        if account.failure_window:
            yield ("poll_interval",), ("accounts", index, "failure_window")
        for status in account.stuck_after:
            yield ("poll_interval",), ("accounts", index, "stuck_after", status)


def _missing_keys(
    settings: Settings, given: Mapping[str, Given], invalid: set[str], environ: Mapping[str, str]
) -> Iterator[str]:
    """An error for each account without a key."""
    if settings.demo or {"accounts", "together_api_key_file"} & invalid:
        return
    for index, account in enumerate(settings.accounts):
        if account.api_key_env and not environ.get(account.api_key_env):
            yield f"{given['accounts'].place((index, 'api_key_env'))}: the environment variable is not set"
    if not settings.accounts and not settings.together_api_key_file and not settings.together_api_key:
        yield (
            "no API key: set TOGETHER_API_KEY, --together.api-key-file to a file that holds it, or `accounts:` in"
            " --config.file"
        )


def _same_names(settings: Settings, given: Mapping[str, Given]) -> Iterator[str]:
    """An error for each account that has the name of an earlier one."""
    names: set[str] = set()
    for index, account in enumerate(settings.accounts):
        if account.name in names:
            yield f"{given['accounts'].place((index, 'name'))}: is the name of another account"
        names.add(account.name)
