"""The board of the exporter itself: whether what the other boards show can be trusted."""

from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import dashboard as model

from grafana.frame import board, choice
from grafana.look import (
    DURATION,
    GREEN,
    ORANGE,
    RED,
    UP_OR_DOWN,
    colour,
    figure,
    grid,
    lines,
    now,
    over_time,
    rows,
    stacked,
    steps,
    timeline,
    words,
)
from grafana.promql import SCRAPED, accounts, each, metric, of, of_exporters, quantile

GOOD = 'code=~"2.."'
NO_EXPORTER = "No exporter is scraped"
NO_ACCOUNT = "No account is polled"
NO_POLL = "No successful poll yet"
NO_REQUESTS = "No requests"


def exporter() -> model.Dashboard:
    """The board."""
    return board(
        "exporter",
        "Together AI fine-tuning: exporter",
        "Whether the exporter works: its polls, the API's responses, what it rejects and the resources it uses.",
        "now-6h",
        [choice("account", "Account", metric("up") + '{job=~"$job"}', "account")],
        {
            "Now": [*_state(), _polls()],
            "Polls": [_staleness(), _poll_seconds(), _rate_limit()],
            "API": [_requests(), _latency(), _failures()],
            "Rejected": _rejected(),
            "Process": [*_process(), _builds()],
        },
    )


def _state() -> list[stat.Panel]:
    reloaded = of("exporter_config_last_reload_successful", scope=SCRAPED)
    return [
        figure(
            "Exporters",
            "Whether Prometheus can scrape each exporter.",
            now(of_exporters("up"), "{{instance}}"),
            empty=NO_EXPORTER,
            size=(6, 4),
        ).mappings(UP_OR_DOWN),
        figure(
            "Accounts",
            "Whether the last poll of each account succeeded.",
            now(accounts("up"), "{{account}}"),
            empty=NO_ACCOUNT,
            size=(6, 4),
        ).mappings(UP_OR_DOWN),
        figure(
            "Oldest data",
            "Time since the last successful poll of the account where it is longest ago.",
            now(f"max({_age()})"),
            unit="dtdurations",
            empty=NO_POLL,
            size=(6, 4),
        ).thresholds(steps(GREEN, (180, ORANGE), (600, RED))),
        figure(
            "Configuration",
            "Whether the last reload of the configuration succeeded. If not, the previous one stays in effect.",
            now(f"min({reloaded})"),
            empty=NO_EXPORTER,
            size=(6, 4),
        ).mappings(words(_1=("valid", GREEN), _0=("invalid", RED))),
    ]


def _age() -> str:
    return f"time() - {accounts('last_successful_poll_timestamp_seconds')}"


def _polls() -> statetimeline.Panel:
    return timeline(
        "Accounts over time",
        "Whether the polls of each account succeeded. A gap means that no exporter was scraped.",
        over_time(accounts("up"), "{{account}}"),
        UP_OR_DOWN,
        empty=NO_ACCOUNT,
        size=(24, 6),
    )


def _staleness() -> timeseries.Panel:
    return lines(
        "Age of the data",
        "Time since the last successful poll. Beyond poll.max-staleness, the metrics of the account's jobs disappear.",
        over_time(_age(), "{{account}}"),
        unit="s",
        empty=NO_POLL,
    ).min(0)


def _poll_seconds() -> timeseries.Panel:
    return lines(
        "Polls",
        "How long the last poll took, and how long the exporter waits until the next one. It waits longer while no job"
        " is active and while the API fails.",
        over_time(accounts("poll_duration_seconds"), "{{account}} duration"),
        over_time(accounts("poll_interval_seconds"), "{{account}} interval"),
        unit="s",
        empty=NO_ACCOUNT,
    ).min(0)


def _rate_limit() -> timeseries.Panel:
    return lines(
        "Requests left",
        "Requests that the API's rate limit still allows, if the API reports it.",
        over_time(accounts("api_rate_limit_remaining"), "{{account}}"),
        empty="Not reported by the API",
    ).min(0)


def _requests() -> timeseries.Panel:
    return stacked(
        lines(
            "Requests by result",
            "Requests to the API per minute, by HTTP status or reason of failure.",
            over_time(f"sum by (code) (rate({of('api_requests_total')}[$__rate_interval])) * 60", "{{code}}"),
            unit="reqpm",
            empty=NO_REQUESTS,
        )
    ).override_by_name("200", [colour(GREEN)])


def _latency() -> timeseries.Panel:
    observed = f"rate({of('api_request_duration_seconds', part='_bucket')}[$__rate_interval])"
    return lines(
        "Latency",
        "Duration of requests by endpoint, median and 90th percentile, estimated from the buckets of a histogram.",
        *(
            over_time(quantile(share, observed, by="endpoint"), f"{{{{endpoint}}}} p{share * 100:g}")
            for share in (0.5, 0.9)
        ),
        unit="s",
        empty=NO_REQUESTS,
    ).min(0)


def _failures() -> timeseries.Panel:
    every, good = (
        f"sum by (account) (rate({series}[$__rate_interval]))"
        for series in (of("api_requests_total"), of("api_requests_total", GOOD))
    )
    return (
        lines(
            "Failed requests",
            "Share of the requests to the API that failed.",
            over_time(f"1 - ({good} or {every} * 0) / ({every} > 0)", "{{account}}"),
            unit="percentunit",
            empty=NO_REQUESTS,
        )
        .min(0)
        .max(1)
    )


def _rejected() -> list[timeseries.Panel]:
    panels = {
        "Rejected jobs": (
            "Objects in the last list that the exporter could not use, by reason.",
            "rejected_jobs",
            "reason",
            "None rejected",
        ),
        "Unknown values": (
            "Values that this version of the exporter does not know, since it started, by field.",
            "unknown_values_total",
            "field",
            "None unknown",
        ),
        "Jobs without series": (
            "Jobs that have no series of their own, because of the settings jobs.retention and jobs.limit. Totals"
            " include them.",
            "unexported_jobs",
            "reason",
            NO_ACCOUNT,
        ),
    }
    return [
        lines(
            title,
            about,
            over_time(f"sum by ({by}) ({each(f'account, {by}', of(name))})", f"{{{{{by}}}}}"),
            empty=empty,
        ).min(0)
        for title, (about, name, by, empty) in panels.items()
    ]


def _process() -> list[timeseries.Panel]:
    panels = {
        "Series": ("Number of samples in a scrape.", of_exporters("scrape_samples_scraped"), "short"),
        "Scrape time": ("How long a scrape took.", of_exporters("scrape_duration_seconds"), "s"),
        "Memory": ("Resident memory of the process.", of_exporters("process_resident_memory_bytes"), "bytes"),
        "CPU": (
            "CPU time of the process, as a share of one core.",
            of_exporters("process_cpu_seconds_total", "rate"),
            "percentunit",
        ),
    }
    return [
        lines(title, about, over_time(query, "{{instance}}"), unit=unit, empty=NO_EXPORTER, size=(6, 8)).min(0)
        for title, (about, query, unit) in panels.items()
    ]


def _builds() -> table.Panel:
    since = of_exporters("process_start_time_seconds")
    panel = grid(
        "Builds",
        "Versions that are running, and how long ago they were started.",
        [
            rows(f"max by (instance, version, revision, python_version) ({of('exporter_build_info', scope=SCRAPED)})"),
            rows(f"max by (instance) (time() - ({since}))"),
        ],
        {
            "instance": "Exporter",
            "version": "Version",
            "revision": "Revision",
            "python_version": "Python",
            "B": "Uptime",
        },
        empty=NO_EXPORTER,
        size=(24, 5),
    )
    return panel.override_by_name("Uptime", list(DURATION))
