"""The queries of the dashboards: names from the table of metrics, and the few shapes that all queries have.

Two exporters may watch the same account, so figures are reduced to the largest that any of them reports (`each`) before
they are added up.
"""

from exporter.metrics import PREFIX, ROWS
from exporter.statuses import STATUSES, Phase

FAILED = "|".join(name for name, status in STATUSES.items() if status.failed)
ENDED = "|".join(name for name, status in STATUSES.items() if status.ended)
SCRAPED = 'job=~"$job"'
ACCOUNT = f'{SCRAPED},account=~"$account"'
MODEL = 'model=~"$model"'
JOB = f'{ACCOUNT},job_id="$job_id"'
COMPARED = f'{ACCOUNT},job_id=~"$job_id|$compare"'
ONE_JOB = "account, job_id"  # what tells jobs apart
ALERTS_OF_ACCOUNT = (
    'ALERTS{job=~"$job|",alertname=~"TogetherFinetune.*",alertstate="firing",account=~"$account|"}'  # or of none
)
_NAMES = {row.name for row in ROWS}


def in_phase(*phases: Phase) -> str:
    """The statuses of these phases, as a regex."""
    return "|".join(name for name, status in STATUSES.items() if status.phase in phases)


def metric(name: str, part: str = "") -> str:
    """The whole name of a metric of the table; `part` is a histogram's `_bucket`, `_count` or `_sum`."""
    if PREFIX + name not in _NAMES:
        raise ValueError(f"no metric is called {PREFIX}{name}")
    return PREFIX + name + part


def of(name: str, *matchers: str, scope: str = ACCOUNT, part: str = "") -> str:
    """The series of a metric within the chosen accounts (or another `scope`)."""
    return f"{metric(name, part)}{{{','.join((scope, *matchers))}}}"


def of_exporters(name: str, over: str = "") -> str:
    """Series that Prometheus has of every target, of the exporters alone; `over` is a function of a range."""
    series = f"{name}{{{SCRAPED}}}"
    series = f"{over}({series}[$__rate_interval])" if over else series
    return f"{series} and on (job, instance) last_over_time({of('exporter_build_info', scope=SCRAPED)}[1d])"


def each(by: str, series: str) -> str:
    """One series for each combination of the labels `by`, whichever exporter reports it."""
    return f"max by ({by}) ({series})"


def accounts(name: str, *matchers: str) -> str:
    """A metric of accounts, one series each."""
    return each("account", of(name, *matchers))


def jobs(name: str, *matchers: str, scope: str = ACCOUNT) -> str:
    """A metric of jobs, one series each."""
    return each(ONE_JOB, of(name, *matchers, scope=scope))


def total(name: str, *matchers: str, by: str = "") -> str:
    """The sum of a metric that has a series for each status of an account, all of it or by one of these labels."""
    return f"sum by ({by}) ({each('account, status', of(name, *matchers))})"


def this_job(name: str, by: str = "") -> str:
    """A metric of the chosen job: one series, or one for each of the labels `by`."""
    return each(", ".join(filter(None, ("job_id", by))), of(name, scope=JOB))


def status_number(numbers: dict[str, int], scope: str = ACCOUNT) -> str:
    """Jobs' statuses as numbers: a value that changes over time, unlike a label, stays in one series."""
    matchers = ((f'status="{status}"', number) for status, number in numbers.items())
    parts = (f"{of('job_status', matcher, scope=scope)} * {number}" for matcher, number in matchers)
    return each(ONE_JOB, " or ".join(parts))


def names(scope: str = ACCOUNT) -> str:
    """One series for each job, with what it is called in the label `title`: suffix, model and the end of its id.

    As of the end of the time range, which is when all jobs that matter still have names. Exporters may disagree for the
    moment in which a name changes, hence the topk."""
    named = f"topk by ({ONE_JOB}) (1, {of('job_info', MODEL, scope=scope)} @ end())"
    named = f'label_replace({named}, "short", "$1", "model", "(?:.*/)?(.*)")'
    named = f'label_replace({named}, "end", "$1", "job_id", ".*?(.{{1,8}})")'
    named = f'label_join({named}, "title", " · ", "suffix", "short", "end")'
    return f'label_replace({named}, "title", "$1", "title", " · (.*)")'


def titled(series: str, scope: str = ACCOUNT) -> str:
    """Series of jobs with the label `title` of `names`."""
    return f"{series} * on ({ONE_JOB}) group_left (title) {names(scope)}"


def active(series: str, most: int, at: str = "") -> str:
    """Those of the jobs that are active (`at` a time), the newest so and so many of the chosen models."""
    created, status, info = (
        f"{selector}{at}"
        for selector in (
            of("job_created_timestamp_seconds"),
            of("job_status", f'status!~"{ENDED}"'),
            of("job_info", MODEL),
        )
    )
    newest = f"topk({most}, {each(ONE_JOB, f'{created} and on ({ONE_JOB}) {status} and on ({ONE_JOB}) {info}')})"
    return f"({series} and on ({ONE_JOB}) {newest})"


def jobs_by_status(statuses: str = ".*") -> str:
    """How many jobs have a status, by status; 0 where an account that can be seen has none of the chosen models."""
    status = f'status=~"{statuses}"'
    counted = f"sum by (status) ({each('account, model, status', of('model_jobs', MODEL, status))})"
    return f"{counted} or sum by (status) ({of('jobs', status)}) * 0"


def by_model(name: str) -> str:
    """The sum by model of a metric that has a series for each model and status of an account."""
    return f"sum by (model) ({each('account, model, status', of(name, MODEL))})"


def spent_each_day(by: str) -> str:
    """What the price of the jobs grew by in the day that begins at each step, so far if it is today.

    A model's first job counts in full, a day that begins without prices not at all: what was spent in it is unknown. A
    price that falls, because jobs were deleted, is no refund."""
    one = "account, model"
    price = f"sum by ({one}) ({each('account, model, status', of('model_price_usd', MODEL))})"
    later = f"last_over_time(({price})[1d:10m] offset -1d)"
    before = f"last_over_time(({price})[1h:10m])"
    first = f"{later} * 0 and on (account) last_over_time({of('jobs')}[1h])"
    return f"sum by ({by}) (clamp_min({later} - ({before} or {first}), 0))"


def increase(name: str, over: str, *matchers: str, by: str, part: str = "") -> str:
    """By how much a counter of the chosen accounts grew, whichever exporter counted it."""
    return each(f"account, {by}", f"increase({of(name, *matchers, part=part)}[{over}])")


def quantile(share: float, buckets: str, by: str = "") -> str:
    """The duration that a share of what a histogram observed did not exceed."""
    return f"histogram_quantile({share:g}, sum by ({', '.join(filter(None, ('le', by)))}) ({buckets}))"


def recorded(level: str, name: str, operation: str) -> str:
    """The series that a recording rule makes of a metric, of the chosen accounts."""
    return f"{level}:{metric(name)}:{operation}{{{ACCOUNT}}}"
