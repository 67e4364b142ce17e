"""The board of all jobs: what runs, what it costs, what is stuck or failed."""

from grafana_foundation_sdk.builders import bargauge, stat, table, timeseries
from grafana_foundation_sdk.models import dashboard as model

from grafana.look import (
    BLUE,
    GREEN,
    ORANGE,
    RED,
    Property,
    bars,
    board,
    by_status,
    choice,
    colour,
    datasource,
    figure,
    grid,
    lines,
    now,
    over_time,
    rows,
    stacked,
    status_mappings,
    steps,
    to_job,
)
from grafana.promql import (
    ALERTS_OF_ACCOUNT,
    FAILED,
    MODEL,
    accounts,
    active,
    count,
    each,
    in_phase,
    increase,
    info,
    jobs_by_status,
    metric,
    of,
    of_model,
    quantile,
    recorded,
    with_model,
)

UNSEEN = "no account seen"
NO_JOBS = "no jobs in the list"
NO_ENDS = "no job was seen to end"


def fleet() -> model.Dashboard:
    """The board."""
    return board(
        "fleet",
        "Together AI fine-tuning: fleet",
        "All fine-tuning jobs of the selected accounts: how many, how long, how expensive, and which failed.",
        "now-24h",
        [
            datasource(),
            choice("account", "Account", f"label_values({metric('up')}, account)"),
            choice("model", "Model", f"label_values({of('job_info')}, model)"),
        ],
        {
            "Now": [*_counts(), _spend(), _budget()],
            "Active jobs": [_active_jobs()],
            "Over time": [_statuses(), _success(), _queued(), _ran()],
            "Models": [
                _by_model("Jobs by model", "Listed jobs of each base model.", "job_status", "short"),
                _by_model("Tokens by model", "Tokens of the listed jobs' training.", "job_tokens", "short"),
                _by_model("Price by model", "Price of the listed jobs.", "job_price_usd", "currencyUSD"),
            ],
            "Alerts": [_alerts()],
        },
    )


def _counts() -> list[stat.Panel]:
    failed = of("job_finished_timestamp_seconds", f'status=~"{FAILED}"')
    failed_today = f"{each('account, job_id', f'last_over_time({failed}[1d])')} > time() - 86400"
    names_today = f"last_over_time({of('job_info', MODEL)}[1d])"
    return [
        figure(
            "Running",
            "Jobs that are training, compressing or uploading.",
            now(f"sum({jobs_by_status(in_phase('running', 'finishing'))})"),
            empty=UNSEEN,
            size=(3, 4),
        ),
        figure(
            "Waiting",
            "Jobs that are pending or queued.",
            now(f"sum({jobs_by_status(in_phase('waiting'))})"),
            empty=UNSEEN,
            size=(3, 4),
        ),
        figure(
            "Stuck",
            "Jobs without progress for longer than their threshold.",
            now(count(of_model(f"({each('account, job_id', of('job_stuck'))} == 1)"))),
            empty=UNSEEN,
            size=(3, 4),
        ).thresholds(steps(GREEN, (1, RED))),
        figure(
            "Failed in 24 hours",
            "Jobs that failed in the 24 hours before the end of the time range.",
            now(count(f"{failed_today} and on (account, job_id) {names_today}")),
            empty=UNSEEN,
            size=(3, 4),
        ).thresholds(steps(GREEN, (1, RED))),
    ]


def _spend() -> stat.Panel:
    forecast = each("account", recorded("account", "month_price_usd", "forecast"))
    return figure(
        "Spend this month",
        "Price of the jobs created in this calendar month (UTC), what it will be at the month's end if it goes on so"
        " (needs the recording rules), and the budget. All models together.",
        now(f"sum({accounts('month_price_usd')})", "spent"),
        now(f"sum({forecast})", "forecast"),
        now(f"sum({accounts('budget_usd')})", "budget"),
        unit="currencyUSD",
        empty="no price known",
        size=(7, 4),
    )


def _budget() -> bargauge.Panel:
    return bars(
        "Budget used",
        "Spent part of the account's monthly budget, all models together.",
        now(f"{accounts('month_price_usd')} / {accounts('budget_usd')}", "{{account}}"),
        "percentunit",
        (0.8, ORANGE),
        (1, RED),
        empty="no budget set",
        size=(5, 4),
    ).max(1)


def _active_jobs() -> table.Panel:
    one = "account, job_id"
    ends = each(one, of("job_estimated_completion_timestamp_seconds"))
    created = each(one, of("job_created_timestamp_seconds"))
    queries = [
        active(of_model(each(f"{one}, status", of("job_status")))),
        active(f"{each(f'{one}, model, suffix', info())}"),
        active(of_model(each(one, of("job_progress_ratio")))),
        active(of_model(each(one, of("job_queue_depth")))),
        active(of_model(f"({ends} - time())")),
        active(of_model(f"(time() - {created})")),
        active(of_model(each(one, of("job_price_usd")))),
    ]
    columns = {
        "account": "Account",
        "job_id": "Job",
        "model": "Model",
        "suffix": "Suffix",
        "status": "Status",
        "C": "Progress",
        "D": "Queue place",
        "E": "Stage ends in",
        "F": "Age",
        "G": "Price",
    }
    panel = grid(
        "Active jobs",
        "Jobs that have not ended. The end is the API's estimate for the job's current stage; a negative time is how"
        " long it is overdue. Click a job to see it alone.",
        [rows(query) for query in queries],
        columns,
        empty="no active jobs",
    )
    progress: list[tuple[str, object]] = [
        ("unit", "percentunit"),
        ("min", 0),
        ("max", 1),
        ("custom.cellOptions", {"type": "gauge", "mode": "basic"}),
    ]
    looks: dict[str, list[tuple[str, object]]] = {
        "Job": [("links", to_job("${__data.fields.account}", "${__value.raw}"))],
        "Status": [("mappings", status_mappings()), ("custom.cellOptions", {"type": "color-text"})],
        "Progress": [*progress, ("color", {"mode": "fixed", "fixedColor": BLUE})],
        "Stage ends in": [("unit", "dtdurations")],
        "Age": [("unit", "dtdurations")],
        "Price": [("unit", "currencyUSD"), ("decimals", 2)],
    }
    for name, properties in looks.items():
        panel.override_by_name(name, [Property(key, value) for key, value in properties])
    return panel


def _statuses() -> timeseries.Panel:
    panel = lines(
        "Jobs by status",
        "Listed jobs by status. Jobs that were deleted are no longer listed.",
        over_time(jobs_by_status(), "{{status}}"),
        empty=UNSEEN,
        size=(12, 9),
    )
    return by_status(stacked(panel))


def _success() -> timeseries.Panel:
    ended = increase("jobs_finished_total", "6h")
    completed = increase("jobs_finished_total", "6h", 'status="completed"')
    return (
        lines(
            "Success rate, 6 hours",
            "The part of the jobs seen to end in the last 6 hours that completed, and the least that the setting"
            " failure_limit allows. A gap: no job ended. All models together.",
            over_time(f"sum by (account) ({completed}) / (sum by (account) ({ended}) > 0)", "{{account}}"),
            over_time(f"1 - max({of('failure_limit_ratio')})", "limit"),
            unit="percentunit",
            empty=NO_ENDS,
            size=(12, 9),
        )
        .min(0)
        .max(1)
        .override_by_name("limit", [colour(RED), Property("custom.lineStyle", {"fill": "dash", "dash": [8, 8]})])
    )


def _queued() -> timeseries.Panel:
    return _durations(
        "Time in the queue, 6 hours",
        "Time from creation to start, of jobs that started in the last 6 hours.",
        "job_queue_duration_seconds",
        "no job was seen to start",
    )


def _ran() -> timeseries.Panel:
    return _durations(
        "Time to run, 6 hours",
        "Time from start to end, of jobs that finished in the last 6 hours.",
        "job_run_duration_seconds",
        NO_ENDS,
    )


def _durations(title: str, about: str, histogram: str, empty: str) -> timeseries.Panel:
    return lines(
        title,
        f"{about} As exact as the histogram's buckets. A gap: there was none. All models together.",
        over_time(quantile(0.5, histogram, "6h"), "median"),
        over_time(quantile(0.9, histogram, "6h"), "9 of 10 within"),
        unit="s",
        empty=empty,
        size=(12, 8),
    ).min(0)


def _by_model(title: str, about: str, name: str, unit: str) -> bargauge.Panel:
    figures = with_model(each("account, job_id", of(name)))
    return bars(
        title,
        f"{about} The 15 largest.",
        now(f"sort_desc(topk(15, sum by (model) ({figures})))", "{{model}}"),
        unit,
        empty=NO_JOBS,
        size=(8, 9),
    )


def _alerts() -> table.Panel:
    panel = grid(
        "Firing alerts",
        "Firing alerts about these accounts and about the exporter. Needs the alerting rules.",
        [rows(f"max by (alertname, severity, account, job_id, model, status) ({ALERTS_OF_ACCOUNT})")],
        {
            "alertname": "Alert",
            "severity": "Severity",
            "account": "Account",
            "job_id": "Job",
            "model": "Model",
            "status": "Status",
        },
        empty="no alert fires",
    )
    severities = {"critical": RED, "warning": ORANGE}
    mapped = {name: {"color": value, "text": name} for name, value in severities.items()}
    panel.override_by_name("Job", [Property("links", to_job("${__data.fields.account}", "${__value.raw}"))])
    return panel.override_by_name(
        "Severity",
        [
            Property("mappings", [{"type": "value", "options": mapped}]),
            Property("custom.cellOptions", {"type": "color-text"}),
        ],
    )
