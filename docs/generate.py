"""Writes what follows from the code: docs/metrics.md, docs/configuration.md and the tables of README.md."""

import re
from collections.abc import Iterable
from pathlib import Path

from exporter.config import settings
from exporter.metrics import PREFIX, ROWS, Row, Scope

HERE = Path(__file__).parent
README = HERE.parent / "README.md"

SCOPES = {
    Scope.ACCOUNT: "All jobs of an account together. They vanish `--poll.max-staleness` after the last good poll.",
    Scope.JOB: "One job each. They vanish likewise, and with the job when it leaves the list.",
    Scope.POLL: "How the polls of an account go. They are always there once there was a poll.",
    Scope.EXPORTER: "The exporter itself. Beside it stand the standard `process_*` metrics.",
}
MAIN_METRICS = (
    "up",
    "jobs",
    "queue_depth",
    "price_usd",
    "month_price_usd",
    "tokens",
    "epochs_completed",
    "job_info",
    "job_status",
    "job_progress_ratio",
    "job_estimated_completion_timestamp_seconds",
    "job_price_usd",
    "job_queue_depth",
    "rejected_jobs",
    "api_requests_total",
)


def documents() -> dict[Path, str]:
    """The text of each generated file."""
    return {
        HERE / "metrics.md": _metrics(),
        HERE / "configuration.md": _configuration(),
        README: _readme(README.read_text()),
    }


def _metrics() -> str:
    parts = [
        "# Metrics\n\n"
        "Generated from the table in `exporter/metrics.py` by `make docs`. In brackets: the field of the API that a\n"
        "figure is from. What the API does not say is no sample, never 0.\n"
    ]
    for scope, about in SCOPES.items():
        rows = [row for row in ROWS if row.scope is scope]
        parts.append(f"\n## {scope.value.capitalize()}\n\n{about}\n\n{_metric_table(rows)}")
    return "".join(parts)


def _metric_table(rows: Iterable[Row]) -> str:
    cells = ((f"`{row.name}`", row.type, " ".join(f"`{label}`" for label in row.labels), row.help) for row in rows)
    return _table(("metric", "type", "labels", "meaning"), cells)


def _configuration() -> str:
    cells = (
        (
            f"`--{setting.flag}`",
            f"`{setting.takes}`".replace("|", "` `") if setting.takes else "",
            f"`{setting.default}`" if setting.default else "",
            _sentence(setting.help),
            " ".join(f"`{variable}`" for variable in setting.variables),
        )
        for setting in settings()
    )
    return (
        "# Configuration\n\n"
        "Generated from `exporter/config.py` by `make docs`. Flag wins over environment variable over file over\n"
        "default. In the file named by `--config.file` the same names stand as YAML: `poll: {interval: 30s}`. A\n"
        "repeatable flag's variable holds its values apart by spaces. Durations are written as Prometheus\n"
        "writes them: `90s`, `1h30m`, `7d`. The API key is only ever in `TOGETHER_API_KEY` or in a file.\n\n"
        + _table(("flag", "takes", "default", "meaning", "environment variable"), cells)
    )


def _readme(text: str) -> str:
    flags = _table(
        ("flag", "default", "meaning"),
        (
            (f"`--{setting.flag}`", f"`{setting.default}`" if setting.default else "", _sentence(setting.help))
            for setting in settings()
        ),
    )
    by_name = {row.name: row for row in ROWS}
    metrics = _table(
        ("metric", "labels", "meaning"),
        (
            (f"`{row.name}`", " ".join(f"`{label}`" for label in row.labels), row.help)
            for row in (by_name[PREFIX + name] for name in MAIN_METRICS)
        ),
    )
    for name, table in (("flags", flags), ("metrics", metrics)):
        text = re.sub(f"(<!-- {name} -->\n).*(<!-- /{name} -->\n)", rf"\g<1>{table}\g<2>", text, flags=re.DOTALL)
    return text


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text)
