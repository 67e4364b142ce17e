"""The board of all jobs: what needs attention, what runs, what it costs."""

from grafana_foundation_sdk.builders import bargauge, heatmap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import dashboard as model

from exporter.statuses import STATUSES
from grafana.frame import board, choice, links_of_job
from grafana.look import (
    BLUE,
    DURATION,
    GREEN,
    ORANGE,
    RED,
    STATUS_NUMBERS,
    Property,
    bars,
    buckets,
    by_status,
    colour,
    daily,
    figure,
    grid,
    heat,
    lines,
    now,
    over_time,
    rows,
    stacked,
    status_mappings,
    steps,
    timeline,
)
from grafana.promql import (
    ALERTS_OF_ACCOUNT,
    ONE_JOB,
    accounts,
    active,
    by_model,
    each,
    in_phase,
    increase,
    jobs,
    jobs_by_status,
    metric,
    of,
    quantile,
    recorded,
    spent_each_day,
    status_number,
    titled,
    total,
)

UNSEEN = "No account is watched"
NO_JOBS = "No jobs in the list"
NO_ENDS = "No job was seen to finish"
NO_VERDICT = "No verdict yet"
ALL_MODELS = "Counts all models."
MOST_ACTIVE = 100  # rows of the table of active jobs
ACTIVE = {name: number for name, number in STATUS_NUMBERS.items() if name not in STATUSES or not STATUSES[name].ended}


def fleet() -> model.Dashboard:
    """The board."""
    return board(
        "fleet",
        "Together AI fine-tuning: fleet",
        "All fine-tuning jobs of the selected accounts: what needs attention, what is running and what it costs.",
        "now-24h",
        [
            choice("account", "Account", metric("up") + '{job=~"$job"}', "account"),
            choice("model", "Model", of("model_jobs"), "model"),
        ],
        {
            "Now": [*_counts(), _spend(), _budget()],
            "Jobs": [_attention(), _active_jobs(), _active_over_time()],
            "Over time": [_statuses(), _success(), _queued(), _ran(), _queue_heatmap()],
            "Money": [
                *_daily_spend(),
                _by_model("Jobs by model", "Jobs in the list, by base model. The 15 largest.", "model_jobs", "short"),
                _by_model(
                    "Price by model",
                    "Total price of the jobs in the list, by base model. The 15 largest.",
                    "model_price_usd",
                    "currencyUSD",
                ),
                _tokens(),
            ],
            "Alerts": [_alerts()],
        },
    )


def _counts() -> list[stat.Panel]:
    """Stuck and failed are counted by the exporter: its verdicts outlive an outage of the API, in which job series end,
    and without them the figures are empty rather than 0."""
    phases = {
        "Running": ("Jobs that are training, compressing or uploading.", in_phase("running", "finishing")),
        "Waiting": ("Jobs that are pending or queued.", in_phase("waiting")),
    }
    verdicts = {
        "Stuck": (
            f"Jobs that have made no progress for longer than the threshold of their status. {ALL_MODELS}",
            "stuck_jobs",
            RED,
        ),
        "Failed": (f"Jobs that failed within the failure window, 6 hours by default. {ALL_MODELS}", "failed_jobs", RED),
        "Not judged": (
            f"Active jobs for which there is not enough evidence to tell whether they are stuck. {ALL_MODELS}",
            "unjudged_jobs",
            ORANGE,
        ),
    }
    return [
        *(
            figure(title, about, now(f"sum({jobs_by_status(statuses)})"), empty=UNSEEN, size=(3, 4))
            for title, (about, statuses) in phases.items()
        ),
        *(
            figure(title, about, now(total(name)), empty=NO_VERDICT, size=(3, 4)).thresholds(
                steps(GREEN, (1, severity))
            )
            for title, (about, name, severity) in verdicts.items()
        ),
    ]


def _spend() -> stat.Panel:
    forecast = each("account", recorded("account", "month_price_usd", "forecast"))
    return figure(
        "Spend this month",
        "Price of the jobs created in this calendar month (UTC), the forecast for the whole month, and the budget. The"
        f" forecast needs the recording rules and starts on the fourth day. {ALL_MODELS}",
        now(f"sum({accounts('month_price_usd')})", "spent"),
        now(f"sum({forecast})", "forecast"),
        now(f"sum({accounts('budget_usd')})", "budget"),
        unit="currencyUSD",
        empty="No price reported",
        size=(5, 4),
    )


def _budget() -> bargauge.Panel:
    return bars(
        "Budget used",
        f"Share of the account's monthly budget that is spent. {ALL_MODELS}",
        now(f"{accounts('month_price_usd')} / {accounts('budget_usd')}", "{{account}}"),
        "percentunit",
        (0.8, ORANGE),
        (1, RED),
        empty="No budget configured",
        size=(4, 4),
    ).max(1)


def _attention() -> table.Panel:
    problems = " or ".join(
        f'label_replace({each(f"{ONE_JOB}, status", of(f"job_{problem}"))} == 1, "problem", "{problem}", "", "")'
        for problem in ("stuck", "failed")
    )
    bad = f"topk(100, {problems})"
    since = f"({jobs('job_finished_timestamp_seconds')} or {jobs('job_last_progress_timestamp_seconds')})"
    panel = grid(
        "Needs attention",
        "Jobs that are stuck, and jobs that failed within the failure window. Time is since the failure, or since the"
        f" last sign of progress. {ALL_MODELS}",
        [
            rows(bad),
            rows(f"topk by ({ONE_JOB}) (1, {of('job_info')}) and on ({ONE_JOB}) {bad}"),
            rows(f"time() - {since} and on ({ONE_JOB}) {bad}"),
        ],
        {
            "problem": "Problem",
            "account": "Account",
            "suffix": "Suffix",
            "model": "Model",
            "job_id": "Job",
            "status": "Status",
            "C": "Time",
        },
        empty="No stuck or failed job reported",
        size=(24, 6),
    )
    panel.override_by_name("Problem", [Property("custom.cellOptions", {"type": "color-text"}), colour(RED)])
    return _job_columns(panel, {"Time": DURATION})


def _job_columns(panel: table.Panel, others: dict[str, tuple[Property, ...]]) -> table.Panel:
    looks: dict[str, tuple[Property, ...]] = {
        "Job": (Property("links", links_of_job()),),
        "Status": (Property("mappings", status_mappings()), Property("custom.cellOptions", {"type": "color-text"})),
        **others,
    }
    for name, properties in looks.items():
        panel.override_by_name(name, list(properties))
    return panel


def _active_jobs() -> table.Panel:
    ends = f"({jobs('job_estimated_completion_timestamp_seconds')} - time())"
    queries = [
        each(f"{ONE_JOB}, status", of("job_status")),
        f"topk by ({ONE_JOB}) (1, {of('job_info')})",
        jobs("job_progress_ratio"),
        jobs("job_queue_depth"),
        ends,
        f"(time() - {jobs('job_created_timestamp_seconds')})",
        jobs("job_price_usd"),
    ]
    panel = grid(
        "Active jobs",
        f"Jobs that have not finished, the newest {MOST_ACTIVE}. Stage ends in is the API's estimate for the current"
        " stage; a negative time means overdue. Click a job to open it.",
        [rows(active(query, MOST_ACTIVE)) for query in queries],
        {
            "account": "Account",
            "suffix": "Suffix",
            "model": "Model",
            "job_id": "Job",
            "status": "Status",
            "C": "Progress",
            "D": "Queue position",
            "E": "Stage ends in",
            "F": "Age",
            "G": "Price",
        },
        empty="No active jobs",
    )
    progress = (
        Property("unit", "percentunit"),
        Property("min", 0),
        Property("max", 1),
        Property("custom.cellOptions", {"type": "gauge", "mode": "basic"}),
        colour(BLUE),
    )
    price = (Property("unit", "currencyUSD"), Property("decimals", 2))
    return _job_columns(panel, {"Progress": progress, "Stage ends in": DURATION, "Age": DURATION, "Price": price})


def _active_over_time() -> statetimeline.Panel:
    return timeline(
        "Active jobs over time",
        "Status over time of the jobs that are active at the end of the time range, the newest 30.",
        over_time(titled(active(status_number(ACTIVE), 30, " @ end()")), "{{title}}"),
        status_mappings(),
        empty="No active jobs",
        size=(24, 9),
    )


def _statuses() -> timeseries.Panel:
    panel = lines(
        "Jobs by status",
        "Jobs in the list, by status. Jobs deleted at Together are no longer listed.",
        over_time(jobs_by_status(), "{{status}}"),
        empty=UNSEEN,
        size=(12, 9),
    )
    return by_status(stacked(panel))


def _success() -> timeseries.Panel:
    ended = f"sum by (account) ({increase('jobs_finished_total', '6h', by='status')})"
    good = 'status="completed"'
    completed = f"sum by (account) ({increase('jobs_finished_total', '6h', good, by='status')})"
    return (
        lines(
            "Success rate, 6 hours",
            "Share of the jobs that finished in the last 6 hours that completed, and the lowest rate that the setting"
            f" failure_limit accepts. A gap means that no job finished. {ALL_MODELS}",
            over_time(f"{completed} / ({ended} > 0)", "{{account}}"),
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
        "Queue time, 6 hours",
        "Time from creation to start of the jobs that started in the last 6 hours.",
        increase("job_queue_duration_seconds", "6h", by="le", part="_bucket"),
        "No job was seen to start",
    )


def _ran() -> timeseries.Panel:
    return _durations(
        "Run time, 6 hours",
        "Time from start to finish of the jobs that finished in the last 6 hours.",
        increase("job_run_duration_seconds", "6h", by="status, le", part="_bucket"),
        NO_ENDS,
    )


def _durations(title: str, about: str, observed: str, empty: str) -> timeseries.Panel:
    return lines(
        title,
        f"{about} Estimated from the buckets of a histogram. A gap means that there was no such job. {ALL_MODELS}",
        over_time(quantile(0.5, observed), "p50"),
        over_time(quantile(0.9, observed), "p90"),
        unit="s",
        empty=empty,
        size=(12, 8),
    ).min(0)


def _queue_heatmap() -> heatmap.Panel:
    grown = increase("job_queue_duration_seconds", "$__rate_interval", by="le", part="_bucket")
    return heat(
        "Queue time",
        f"How many jobs started, by the time from their creation to their start. {ALL_MODELS}",
        buckets(f"sum by (le) ({grown})"),
        "s",
        "No job was seen to start",
        (24, 8),
    )


def _daily_spend() -> list[timeseries.Panel]:
    about = (
        "How much the total price of the jobs grew on each of the last 30 days, by {}. A job counts on the day on which"
        " its price becomes known. Deleting jobs makes the figure of that day too low."
    )
    return [
        daily(
            f"Spend per day by {by}",
            about.format(what),
            over_time(f"topk(15, {spent_each_day(by)} > 0)", f"{{{{{by}}}}}"),
            "currencyUSD",
            "No spending seen yet",
            (12, 8),
        )
        for by, what in (("model", "base model"), ("account", "account"))
    ]


def _by_model(title: str, about: str, name: str, unit: str) -> bargauge.Panel:
    largest = now(f"sort_desc(topk(15, {by_model(name)}))", "{{model}}")
    return bars(title, about, largest, unit, empty=NO_JOBS, size=(8, 9))


def _tokens() -> bargauge.Panel:
    return bars(
        "Tokens by status",
        f"Training tokens of the jobs in the list, by status. {ALL_MODELS}",
        now(f"sort_desc({total('tokens', by='status')} > 0)", "{{status}}"),
        empty="No tokens reported",
        size=(8, 9),
    )


def _alerts() -> table.Panel:
    panel = grid(
        "Firing alerts",
        "Firing alerts about these accounts and about the exporter. Also empty if Prometheus has not loaded the"
        " alerting rules.",
        [rows(f"topk(100, max by (alertname, severity, account, job_id, model, status) ({ALERTS_OF_ACCOUNT}))")],
        {
            "alertname": "Alert",
            "severity": "Severity",
            "account": "Account",
            "job_id": "Job",
            "model": "Model",
            "status": "Status",
        },
        empty="No alerts, or no alerting rules",
    )
    severities = {"critical": RED, "warning": ORANGE}
    mapped = {name: {"color": value, "text": name} for name, value in severities.items()}
    severity = (
        Property("mappings", [{"type": "value", "options": mapped}]),
        Property("custom.cellOptions", {"type": "color-text"}),
    )
    return _job_columns(panel, {"Severity": severity})
