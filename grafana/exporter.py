"""The board of the exporter itself: whether what the other boards show can be trusted."""

from grafana_foundation_sdk.builders import stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import dashboard as model

from grafana.look import (
    GREEN,
    ORANGE,
    RED,
    UP_OR_DOWN,
    Property,
    board,
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
    steps,
    timeline,
    words,
)
from grafana.promql import accounts, each, metric, of, of_exporters, quantile

GOOD = 'code=~"2.."'
NO_EXPORTER = "no exporter is scraped"
NO_ACCOUNT = "no account is polled"


def exporter() -> model.Dashboard:
    """The board."""
    return board(
        "exporter",
        "Together AI fine-tuning: exporter",
        "Whether the exporter works: its polls, the API's responses, what it rejected, and what it uses.",
        "now-6h",
        [datasource(), choice("account", "Account", f"label_values({metric('up')}, account)")],
        {
            "Now": [*_state(), _polls()],
            "Polls": [_staleness(), _poll_seconds(), _rate_limit()],
            "API": [_requests(), _latency(), _failures()],
            "Rejected": [_rejected(), _unknown_values(), _unexported()],
            "The process": [*_process(), _builds()],
        },
    )


def _state() -> list[stat.Panel]:
    age = f"time() - {accounts('last_successful_poll_timestamp_seconds')}"
    return [
        figure(
            "Exporters",
            "Whether Prometheus can scrape them.",
            now(of_exporters("up"), "{{instance}}"),
            empty=NO_EXPORTER,
            size=(6, 4),
        ).mappings(UP_OR_DOWN),
        figure(
            "Accounts",
            "Whether the last poll of the account succeeded.",
            now(accounts("up"), "{{account}}"),
            empty=NO_ACCOUNT,
            size=(6, 4),
        ).mappings(UP_OR_DOWN),
        figure(
            "Oldest metrics",
            "Time since the last successful poll, of the account where it is longest.",
            now(f"max({age})"),
            unit="dtdurations",
            empty="no successful poll yet",
            size=(6, 4),
        ).thresholds(steps(GREEN, (180, ORANGE), (600, RED))),
        figure(
            "Configuration",
            "Whether the last reload of the configuration succeeded. If not, the one before remains in effect.",
            now(f"min({metric('exporter_config_last_reload_successful')})"),
            empty=NO_EXPORTER,
            size=(6, 4),
        ).mappings(words(_1=("valid", GREEN), _0=("invalid", RED))),
    ]


def _polls() -> statetimeline.Panel:
    return timeline(
        "Accounts over time",
        "Whether the account's polls succeeded. In a gap no exporter was scraped.",
        over_time(accounts("up"), "{{account}}"),
        UP_OR_DOWN,
        empty=NO_ACCOUNT,
        size=(24, 6),
    )


def _staleness() -> timeseries.Panel:
    return lines(
        "Age of the metrics",
        "Time since the last successful poll. Beyond the setting poll.max-staleness the account's metrics disappear.",
        over_time(f"time() - {accounts('last_successful_poll_timestamp_seconds')}", "{{account}}"),
        unit="s",
        empty="no successful poll yet",
    ).min(0)


def _poll_seconds() -> timeseries.Panel:
    return lines(
        "Polls",
        "Duration of the last poll, and the time to the next: longer while no job is active or the API fails.",
        over_time(accounts("poll_duration_seconds"), "{{account}} took"),
        over_time(accounts("poll_interval_seconds"), "{{account}} waits"),
        unit="s",
        empty=NO_ACCOUNT,
    ).min(0)


def _rate_limit() -> timeseries.Panel:
    return lines(
        "Requests left",
        "Requests that the API still allows, if it reports them.",
        over_time(accounts("api_rate_limit_remaining"), "{{account}}"),
        empty="the API does not report it",
    ).min(0)


def _requests() -> timeseries.Panel:
    return stacked(
        lines(
            "Requests by result",
            "Requests to the API per minute, by HTTP status or reason of failure.",
            over_time(f"sum by (code) (rate({of('api_requests_total')}[$__rate_interval])) * 60", "{{code}}"),
            empty="no requests",
        )
    ).override_by_name("200", [colour(GREEN)])


def _latency() -> timeseries.Panel:
    return lines(
        "Latency",
        "The p90 of the duration of requests, by endpoint; as exact as the histogram's buckets.",
        over_time(quantile(0.9, "api_request_duration_seconds", "$__rate_interval", by="endpoint"), "{{endpoint}}"),
        unit="s",
        empty="no requests",
    ).min(0)


def _failures() -> timeseries.Panel:
    every = f"sum by (account) (rate({of('api_requests_total')}[$__rate_interval]))"
    good = f"sum by (account) (rate({of('api_requests_total', GOOD)}[$__rate_interval]))"
    return (
        lines(
            "Failed requests",
            "Ratio of requests to the API that did not succeed.",
            over_time(f"1 - ({good} or {every} * 0) / ({every} > 0)", "{{account}}"),
            unit="percentunit",
            empty="no requests",
        )
        .min(0)
        .max(1)
    )


def _rejected() -> timeseries.Panel:
    return lines(
        "Rejected jobs",
        "Objects in the last list that could not be used, by reason.",
        over_time(f"sum by (reason) ({each('account, reason', of('rejected_jobs'))})", "{{reason}}"),
        empty="none rejected",
    ).min(0)


def _unknown_values() -> timeseries.Panel:
    return lines(
        "Unknown values",
        "Values that this version of the exporter does not know, by field.",
        over_time(f"sum by (field) ({each('account, field', of('unknown_values_total'))})", "{{field}}"),
        empty="none unknown",
    ).min(0)


def _unexported() -> timeseries.Panel:
    return lines(
        "Jobs without series",
        "Jobs without series of their own, by reason: the settings jobs.retention and jobs.limit.",
        over_time(f"sum by (reason) ({each('account, reason', of('unexported_jobs'))})", "{{reason}}"),
        empty=NO_ACCOUNT,
    ).min(0)


def _process() -> list[timeseries.Panel]:
    panels = {
        "Series": ("Samples in a scrape.", "scrape_samples_scraped", "short"),
        "Scrape time": ("Duration of a scrape.", "scrape_duration_seconds", "s"),
        "Memory": ("Resident memory of the process.", "process_resident_memory_bytes", "bytes"),
    }
    made = [
        lines(title, about, over_time(of_exporters(name), "{{instance}}"), unit=unit, empty=NO_EXPORTER, size=(6, 8))
        for title, (about, name, unit) in panels.items()
    ]
    busy = of_exporters("rate(process_cpu_seconds_total[$__rate_interval])")
    about = "CPU time of the process, as a ratio of one CPU."
    made.append(
        lines("CPU", about, over_time(busy, "{{instance}}"), unit="percentunit", empty=NO_EXPORTER, size=(6, 8))
    )
    return [panel.min(0) for panel in made]


def _builds() -> table.Panel:
    since = of_exporters("process_start_time_seconds")
    build = metric("exporter_build_info")
    panel = grid(
        "Builds",
        "Running versions, and for how long.",
        [
            rows(f"max by (instance, version, revision, python_version) ({build})"),
            rows(f"max by (instance) (time() - ({since}))"),
        ],
        {
            "instance": "Exporter",
            "version": "Version",
            "revision": "Revision",
            "python_version": "Python",
            "B": "Running since",
        },
        empty=NO_EXPORTER,
        size=(24, 5),
    )
    return panel.override_by_name("Running since", [Property("unit", "dtdurations")])
