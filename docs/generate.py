"""Writes what follows from the code: docs/metrics.md, docs/configuration.md and the tables of README.md."""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import yaml

from exporter.config import AccountEntry, Setting, settings
from exporter.metrics import PREFIX, ROWS, Row, Scope, samples
from exporter.models import parse_job, parse_jobs, parse_training
from exporter.simulator import Plan, job, live, training_rows
from exporter.snapshot import JobState, detailed, listed, trained

HERE = Path(__file__).parent
README = HERE.parent / "README.md"

ACCOUNTS = (HERE / "accounts.yml").read_text()

SCOPES = {
    Scope.ACCOUNT: "All jobs of an account together. They vanish `--poll.max-staleness` after the last good poll.",
    Scope.JOB: "One job each. They vanish likewise, and with the job when it leaves the list.",
    Scope.POLL: "An account's polls, its settings, and what was seen to happen. They are always there.",
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
    parts.append(
        "\n## What a job costs\n\n"
        "Series of one running job; `--jobs.retention`, `--jobs.limit` and `--metrics.exclude` bound them all.\n\n"
        + _table(("asked of the API", "series"), ((kind, str(count)) for kind, count in cost_of_a_job().items()))
    )
    return "".join(parts)


def cost_of_a_job() -> dict[str, int]:
    """How many series a running job has, by what is asked of the API: one of the simulator's, in the live shape."""
    plan = Plan(id="ft-1", created=0.0, train=3600.0, n_evals=10)
    now = 2400.0
    [in_list] = parse_jobs(json.dumps({"data": [live(job(plan, now))]}).encode()).jobs
    [in_detail] = parse_job(json.dumps(job(plan, now)).encode()).jobs
    from_list = listed(in_list.fields, now, None, details=False)
    with_details = detailed(from_list, in_detail.fields, now)
    rows = parse_training(json.dumps({"metrics": training_rows(plan, now)}).encode())
    with_training = trained(with_details, rows, now)
    return {
        "from the list": _series(from_list),
        "with details": _series(with_details),
        "with training metrics": _series(with_training),
    }


def _series(state: JobState) -> int:
    return sum(len(list(samples(row, row.read(state)))) for row in ROWS if row.scope is Scope.JOB)


def _metric_table(rows: Iterable[Row]) -> str:
    cells = ((f"`{row.name}`", row.type, " ".join(f"`{label}`" for label in row.labels), row.help) for row in rows)
    return _table(("metric", "type", "labels", "meaning"), cells)


def _configuration() -> str:
    cells = (
        (
            f"`--{setting.flag}`",
            f"`{setting.takes}`".replace("|", "` `") if setting.takes else "",
            _default(setting),
            setting.help,
            " ".join(f"`{variable}`" for variable in setting.variables),
        )
        for setting in settings()
    )
    return (
        "# Configuration\n\n"
        "Generated from `exporter/config/settings.py` by `make docs`. Flags override environment variables, which\n"
        "override the file, which overrides the defaults.\n\n"
        "- The file is YAML with the same names: `poll: {interval: 30s}`.\n"
        "- A switch is `--flag`, `--no-flag` or `--flag=true|false`.\n"
        "- A repeatable flag takes several values from one variable, separated by spaces, or from a list in the file.\n"
        "  For `--alerts.stuck-after` these are `queued=3h,running=90m` and a mapping:\n"
        "  `alerts: {stuck-after: {queued: 3h, running: 90m}}`.\n"
        "- Durations are written as in Prometheus: `90s`, `1h30m`, `7d`. The longest is `10y`.\n"
        "- The API key is only read from `TOGETHER_API_KEY` or from a file.\n\n"
        "`--config.check` reports every error with the flag, the variable, or the file and line. `--poll.interval`\n"
        "and `--poll.idle-interval` must not be longer than `--poll.max-staleness`, and `--poll.interval` must not be\n"
        "longer than a threshold of `--alerts.stuck-after` or than `--alerts.failure-window`.\n\n"
        + _table(("flag", "takes", "default", "meaning", "environment variable"), cells)
        + "\n## Accounts\n\n"
        "Several accounts can only be set in the file. Each has its own thread, connections, backoff and budget of\n"
        "requests. Paths are relative to the file. SIGHUP reloads the files: accounts are added, removed and changed,\n"
        "the others keep their state, and an invalid file changes nothing.\n\n"
        f"```yaml\n{ACCOUNTS}```\n\n"
        + _table(
            ("key of an account", "meaning"),
            ((f"`{name}`", field.description or "") for name, field in AccountEntry.model_fields.items()),
        )
    )


def _default(setting: Setting) -> str:
    return f"`{setting.default}`".replace(",", "` `") if setting.default else ""


def _readme(text: str) -> str:
    flags = _table(
        ("flag", "default", "meaning"),
        ((f"`--{setting.flag}`", _default(setting), setting.help) for setting in settings()),
    )
    by_name = {row.name: row for row in ROWS}
    metrics = _table(
        ("metric", "labels", "meaning"),
        (
            (f"`{row.name}`", " ".join(f"`{label}`" for label in row.labels), row.help)
            for row in (by_name[PREFIX + name] for name in MAIN_METRICS)
        ),
    )
    for name, table in (("flags", flags), ("metrics", metrics), ("alerts", _alerts())):
        text = re.sub(f"(<!-- {name} -->\n).*(<!-- /{name} -->\n)", rf"\g<1>{table}\g<2>", text, flags=re.DOTALL)
    return text


def _alerts() -> str:
    groups = yaml.safe_load((HERE.parent / "deploy/prometheus/rules.yml").read_text())["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    about = {rule["alert"]: (HERE / f"runbooks/{rule['alert']}.md").read_text() for rule in alerts}
    return _table(
        ("alert", "severity", "for", "meaning"),
        (
            (
                f"[{name}](docs/runbooks/{name}.md)",
                rule["labels"]["severity"],
                rule.get("for", "0m"),
                _meaning(about[name]),
            )
            for rule in alerts
            for name in [rule["alert"]]
        ),
    )


def _meaning(runbook: str) -> str:
    """The first sentence of a runbook's section `Meaning`."""
    text = " ".join(runbook.partition("## Meaning")[2].partition("\n## ")[0].split())
    return re.split(r"(?<=\.) (?=[A-Z])", text, maxsplit=1)[0].replace("|", "\\|")


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    for path, text in documents().items():
        path.write_text(text)
