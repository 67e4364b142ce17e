"""Flags and `--help`."""

import shutil
import textwrap
from collections.abc import Sequence
from difflib import get_close_matches

from exporter.config.errors import named
from exporter.config.given import Given
from exporter.config.settings import Setting, settings

PROGRAM = "together-finetune-exporter"

_ABOUT = (
    "Prometheus exporter for Together AI fine-tuning jobs. The API key is read from TOGETHER_API_KEY or from the file"
    " that --together.api-key-file names."
)
_STATUS = (
    "With `status`, it polls once, prints which jobs need attention, as a table or as JSON, and exits with 0 if all is"
    " well, 1 if a job is stuck or has failed, 2 if the configuration is invalid, and 3 if the poll failed."
)
_FILES = (
    "With `rules` or `dashboards`, it writes the packaged alert rules and runbooks, or the dashboards for Grafana, into"
    " FOLDER, by default the current one."
)
_ALSO = (
    "Every flag can also be set by the environment variable in brackets, or in the file by the same name:"
    " poll: {interval: 30s}. Flags override the environment, which overrides the file."
)
_COLUMN = 30


def read_flags(argv: Sequence[str]) -> tuple[dict[str, Given], list[str]]:
    """The settings in the flags, by field, and an error for each argument that cannot be used.

    `--flag=value` or `--flag value`; a switch is `--flag`, `--no-flag` or `--flag=true|false`. Of a flag that is given
    twice the last value counts, unless it is repeatable. Errors never contain the value: it may be a key.
    """
    flags = {f"--{setting.flag}": setting for setting in settings()}
    switches = {f"--no-{setting.flag}": setting for setting in settings() if setting.switch}
    texts: dict[str, list[str]] = {}
    errors: list[str] = []
    waiting = list(reversed(argv))
    while waiting:
        flag, equals, value = waiting.pop().partition("=")
        if flag in switches:
            if equals:
                errors.append(f"{flag}: takes no value")
            texts[switches[flag].field] = ["false"]
            continue
        setting = flags.get(flag)
        follows = not equals and bool(waiting) and not waiting[-1].startswith("--")
        if setting is None:
            errors.append(_unknown(flag, [*flags, *switches]))
            if flag.startswith("--") and follows:
                waiting.pop()
        elif setting.switch and not equals:
            texts[setting.field] = ["true"]
        elif not equals and not follows:
            errors.append(f"{flag}: needs a value ({setting.takes})")
        else:
            value = value if equals else waiting.pop()
            texts[setting.field] = [*(texts.get(setting.field, []) if setting.repeatable else []), value]
    names = {setting.field: (flag, setting) for flag, setting in flags.items()}
    return {
        field: Given(values if names[field][1].repeatable else values[-1], names[field][0])
        for field, values in texts.items()
    }, errors


def _unknown(flag: str, known: list[str]) -> str:
    if not flag.startswith("--") or named(flag) != flag:
        return "there is an argument that is not a flag; see --help"
    similar = get_close_matches(flag, known, n=1)
    return f"{flag}: is not a flag; {f'did you mean {similar[0]}?' if similar else 'see --help'}"


def help_text() -> str:
    """The text of `--help`."""
    width = min(shutil.get_terminal_size().columns, 110)
    rows = [
        ("-h, --help", "Show this help and exit."),
        ("--version", "Show the version and exit."),
        *((_usage(setting), _meaning(setting)) for setting in settings()),
    ]
    flags = "\n".join(_row(usage, meaning, width) for usage, meaning in rows)
    about, status, files, also = (textwrap.fill(text, width) for text in (_ABOUT, _STATUS, _FILES, _ALSO))
    commands = ("[<flags>]", "status [--json] [<flags>]", "rules [FOLDER]", "dashboards [FOLDER]")
    usage = "usage: " + "\n       ".join(f"{PROGRAM} {command}" for command in commands)
    return f"{usage}\n\n{about}\n\n{status}\n\n{files}\n\nFlags:\n{flags}\n\n{also}\n"


def _usage(setting: Setting) -> str:
    return f"--[no-]{setting.flag}" if setting.switch else f"--{setting.flag}={setting.takes}"


def _meaning(setting: Setting) -> str:
    default = f" (default: {setting.default})" if setting.default else ""
    return f"{setting.help}{default} [{', '.join(setting.variables)}]"


def _row(usage: str, meaning: str, width: int) -> str:
    indent = " " * _COLUMN
    lines = textwrap.wrap(
        meaning, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    start = f"  {usage}"
    return f"{start}\n" + "\n".join(lines) if len(start) > _COLUMN - 2 else start + "\n".join(lines)[len(start) :]
