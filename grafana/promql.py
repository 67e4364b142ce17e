"""The queries of the dashboards: names from the table of metrics, and the few shapes that all queries have.

Two exporters may watch the same account, so a figure is the largest that any of them tells (`each`) before figures are
added up.
"""

from exporter.metrics import PREFIX, ROWS
from exporter.statuses import STATUSES, Phase

FAILED = "|".join(name for name, status in STATUSES.items() if status.failed)
ENDED = "|".join(name for name, status in STATUSES.items() if status.ended)
ACCOUNT = 'account=~"$account"'
MODEL = 'model=~"$model"'
JOB = ACCOUNT + ',job_id="$job"'
ALERTS_OF_ACCOUNT = 'ALERTS{alertname=~"TogetherFinetune.*",alertstate="firing",account=~"$account|"}'
"""Those about an account, and those about no account at all."""
_NAMES = {row.name for row in ROWS}


def in_phase(*phases: Phase) -> str:
    """The statuses of these phases, as a regex."""
    return "|".join(name for name, status in STATUSES.items() if status.phase in phases)


def metric(name: str, part: str = "") -> str:
    """The whole name of a metric of the table; `part` is a histogram's `_bucket`, `_count` or `_sum`."""
    if PREFIX + name not in _NAMES:
        raise ValueError(f"no metric is called {PREFIX}{name}")
    return PREFIX + name + part


def of(name: str, *matchers: str, scope: str = ACCOUNT) -> str:
    """The series of a metric within the chosen accounts (or another `scope`)."""
    return f"{metric(name)}{{{','.join((scope, *matchers))}}}"


def of_exporters(series: str) -> str:
    """A series that Prometheus has of every target, of the exporters alone: whatever their scrape job is called."""
    return f"{series} and on (job, instance) last_over_time({metric('exporter_build_info')}[1d])"


def each(by: str, series: str) -> str:
    """One series for each combination of the labels `by`, whichever exporter told it."""
    return f"max by ({by}) ({series})"


def accounts(name: str, *matchers: str) -> str:
    """A metric of accounts, one series each."""
    return each("account", of(name, *matchers))


def this_job(name: str, by: str = "", scope: str = JOB) -> str:
    """A metric of the chosen job: one series, or one for each of the labels `by`."""
    return each(", ".join(filter(None, ("job_id", by))), of(name, scope=scope))


def info(*matchers: str) -> str:
    """One series of names for each job: exporters may disagree for the moment in which a name changes."""
    return f"topk by (account, job_id) (1, {of('job_info', MODEL, *matchers)})"


def of_model(jobs: str) -> str:
    """Those of the jobs whose base model is chosen."""
    return f"{jobs} and on (account, job_id) {of('job_info', MODEL)}"


def with_model(jobs: str) -> str:
    """The jobs' figures with the base model as a label."""
    return f"{jobs} * on (account, job_id) group_left (model) {info()}"


def active(jobs: str) -> str:
    """Those of the jobs that have not ended."""
    not_ended = of("job_status", f'status!~"{ENDED}"')
    return f"{jobs} and on (account, job_id) {not_ended}"


def jobs_by_status(statuses: str = ".*") -> str:
    """How many jobs have a status, by status; 0 where an account that can be seen has none of the chosen models."""
    status = f'status=~"{statuses}"'
    counted = f"sum by (status) ({each('account, model, status', of('model_jobs', MODEL, status))})"
    return f"{counted} or sum by (status) ({of('jobs', status)}) * 0"


def count(jobs: str) -> str:
    """How many series there are; 0 where there are none, as long as any account can be seen."""
    return f"count({jobs}) or sum({of('jobs')}) * 0"


def increase(name: str, over: str, *matchers: str) -> str:
    """By how much the chosen accounts' counter grew."""
    return f"increase({of(name, *matchers)}[{over}])"


def quantile(share: float, histogram: str, over: str, by: str = "") -> str:
    """The duration that a share of what a histogram observed did not exceed."""
    buckets = f"increase({metric(histogram, '_bucket')}{{{ACCOUNT}}}[{over}])"
    return f"histogram_quantile({share:g}, sum by ({', '.join(filter(None, ('le', by)))}) ({buckets}))"


def recorded(level: str, name: str, operation: str) -> str:
    """The series that a recording rule makes of a metric, of the chosen accounts."""
    return f"{level}:{metric(name)}:{operation}{{{ACCOUNT}}}"
