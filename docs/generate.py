"""Writes what follows from the code: docs/metrics.md, docs/configuration.md and the table of docs/alerting.md."""

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import yaml

from exporter.config import AccountEntry, Setting, settings
from exporter.config.validators import write_duration
from exporter.metrics import ROWS, Row, Scope, samples
from exporter.models import parse_job, parse_jobs, parse_training
from exporter.simulator import Plan, job, live, training_rows
from exporter.state import AccountView, Call, DetailsAnswered, Event, ListAnswered, RowsAnswered
from exporter.statuses import STATUSES, UNKNOWN

HERE = Path(__file__).parent

ACCOUNTS = (HERE / "accounts.yml").read_text()

_STALE = "They disappear `--poll.max-staleness` after the last successful poll."
SECTIONS: Mapping[tuple[Scope, bool], tuple[str, str]] = {
    (Scope.ACCOUNT, False): ("Jobs of an account", _STALE),
    (Scope.JOB, False): ("Single jobs", _STALE),
    (Scope.JOB, True): ("Verdicts", "They freeze while polls fail, so that no alert resolves because the API is down."),
    (Scope.ACCOUNT, True): ("Accounts", "Polls, settings, verdicts and observations. They are always present."),
    (Scope.EXPORTER, True): ("Exporter", "The standard `process_*` metrics are exported too."),
}
"""By scope and whether the metrics are lasting: the title, and when they are present."""


def documents() -> dict[Path, str]:
    """The text of each generated file."""
    return {
        HERE / "metrics.md": _metrics(),
        HERE / "configuration.md": _configuration(),
        HERE / "alerting.md": _alerting((HERE / "alerting.md").read_text()),
    }


def _metrics() -> str:
    parts = [
        "# Metrics\n\n"
        "This page lists every metric, its labels, and the field of the API that it is read from.\n\n"
        "Generated from `exporter/metrics/table.py` and `exporter/statuses.py` by `make docs`. The API's field is in\n"
        "parentheses. A value that the API does not give has no sample; it is never 0.\n\n"
        "`job_info` has the names of a job. Join it to add them to another metric:\n\n"
        "```promql\n"
        "together_finetune_job_progress_ratio\n"
        "  * on (account, job_id, instance) group_left (model, suffix) together_finetune_job_info\n"
        "```\n\n"
        "[Metrics by question](questions.md) has more queries.\n"
    ]
    for (scope, lasting), (title, about) in SECTIONS.items():
        rows = [row for row in ROWS if (row.scope, row.lasting) == (scope, lasting)]
        parts.append(f"\n## {title}\n\n{about}\n\n{_metric_table(rows)}")
    parts.append(f"\n## Statuses\n\nValues of the label `status`.\n\n{_status_table()}")
    parts.append(
        "\n## Series per job\n\n"
        "Series of one running job. `--jobs.retention`, `--jobs.limit` and `--metrics.exclude` limit the total.\n\n"
        + _table(("requested", "series"), ((kind, str(count)) for kind, count in series_of_a_job().items()))
    )
    return "".join(parts)


def _status_table() -> str:
    cells = (
        (
            f"`{status.name}`",
            status.phase,
            "yes" if status.failed else "no",
            f"`{write_duration(status.stuck_after)}`" if status.stuck_after else "",
        )
        for status in (*STATUSES.values(), UNKNOWN)
    )
    return _table(("status", "phase", "failure", "stuck after (default)"), cells)


def series_of_a_job() -> dict[str, int]:
    """The number of series of a running job of the simulator, by what is requested."""
    now = 1_800_000_000.0
    plan = Plan(id="ft-1", created=now - 2400, train=3600.0, n_evals=10)

    def call(endpoint: Literal["list", "retrieve", "metrics"]) -> Call:
        return Call(now, endpoint, "200", 0.1, plan.id)

    listed = parse_jobs(json.dumps({"data": [live(job(plan, now))]}).encode())
    details = parse_job(json.dumps(job(plan, now)).encode(), plan.id)
    rows = parse_training(json.dumps({"metrics": training_rows(plan, now)}).encode())
    events: dict[str, Event] = {
        "the list": ListAnswered(call("list"), listed, 30.0),
        "details": DetailsAnswered(call("retrieve"), details.jobs[0]),
        "training metrics": RowsAnswered(call("metrics"), rows),
    }
    view, counts = AccountView(), {}
    for kind, event in events.items():
        view = AccountView(view.settings, view.state.after(event, view.settings))
        counts[kind] = sum(len(list(samples(row, row.read(view.shown[0])))) for row in ROWS if row.scope is Scope.JOB)
    return counts


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
        "This page lists every setting, with its flag, environment variable, default and key in the file.\n\n"
        "Generated from `exporter/config/settings.py` by `make docs`. Flags override environment variables, which\n"
        "override the file, which overrides the defaults.\n\n"
        "- The file is YAML with the same names: `--poll.interval=30s` is `poll: {interval: 30s}`. Dashes and\n"
        "  underscores in keys are the same.\n"
        "- The variable of a flag is its name in upper case: `--poll.interval` is `TOGETHER_EXPORTER_POLL_INTERVAL`.\n"
        "  An empty variable is not set.\n"
        "- A switch is `--flag`, `--no-flag` or `--flag=true|false`.\n"
        "- A repeatable flag takes several values from one variable, separated by spaces, or from a list in the file.\n"
        "  For `--alerts.stuck-after` these are `queued=3h,running=90m` and a mapping:\n"
        "  `alerts: {stuck-after: {queued: 3h, running: 90m}}`.\n"
        "- Durations are written as in Prometheus: `90s`, `1h30m`, `7d`. The longest is `10y`.\n"
        "- The API key is only read from `TOGETHER_API_KEY` or from a file.\n"
        "- [command.md](command.md#environment-variables) has the variables that are not settings, such as proxies.\n\n"
        "```yaml\n"
        "poll: {interval: 1m}\n"
        "training: {enabled: true}\n"
        "alerts:\n"
        "  stuck-after: {queued: 3h, running: 90m}\n"
        "  budget-usd-per-month: 5000\n"
        "web:\n"
        "  listen-address: [':10124', '[::1]:10125']\n"
        "```\n\n"
        "`--config.check` reports every error with the flag, the variable, or the file and line, and warns of\n"
        "variables that start with `TOGETHER_EXPORTER_…` and are no settings. `--poll.interval`\n"
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


def _alerting(text: str) -> str:
    return re.sub("(<!-- alerts -->\n).*(<!-- /alerts -->\n)", rf"\g<1>{_alerts()}\g<2>", text, flags=re.DOTALL)


def _alerts() -> str:
    groups = yaml.safe_load((HERE.parent / "deploy/prometheus/rules.yml").read_text())["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    about = {rule["alert"]: (HERE / f"runbooks/{rule['alert']}.md").read_text() for rule in alerts}
    return _table(
        ("alert", "severity", "for", "meaning"),
        (
            (
                f"[{name}](runbooks/{name}.md)",
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
