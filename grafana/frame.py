"""What all dashboards share around their panels: variables, links, annotations, the layout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model

from grafana.look import BLUE, DATASOURCE, RED
from grafana.promql import FAILED, each, metric, of, of_exporters

TAG = "together-finetune"
UIDS = {name: f"{TAG}-{name}" for name in ("fleet", "job", "exporter")}
CONSOLE = "https://api.together.ai/fine-tuning/"


def datasource() -> dashboard.DatasourceVariable:
    """The choice of the Prometheus that is asked; at first the default one."""
    return dashboard.DatasourceVariable("datasource").id("datasource").label("Data source").type("prometheus")


def scrape_job() -> Builder[model.VariableModel]:
    """The choice of Prometheus's scrape jobs, which each has its name for: those that scrape an exporter."""
    return choice("job", "Scrape job", metric("exporter_build_info"), "job", all_value=".+")


def choice(
    name: str, label: str, series: str, values: str, *, several: bool = True, all_value: str = ".*"
) -> Builder[model.VariableModel]:
    """A variable with the values of a series' label; of several, all are chosen at first."""
    variable = _query(name, label, 1, f"label_values({series}, {values})").multi(several).include_all(several)
    if several:
        variable.all_value(all_value).current(model.VariableOption(True, "All", "$__all"))
    return variable.sort(model.VariableSort.ALPHABETICAL_ASC)


def choice_of_job(name: str, label: str, titles: str, *, several: bool = False) -> Builder[model.VariableModel]:
    """A variable with the ids of jobs, which are shown by their titles, the first as the query sorts them first; of
    several, all are chosen at first."""
    variable = _query(name, label, 3, f"query_result({titles})").multi(several).include_all(several)
    if several:
        variable.all_value(".+").current(model.VariableOption(True, "All", "$__all"))
    return variable.sort(model.VariableSort.DISABLED).regex('/job_id="(?<value>[^"]+)|title="(?<text>[^"]+)/g')


def _query(name: str, label: str, type_: int, query: str) -> dashboard.QueryVariable:
    # Type 1 are the values of a label, type 3 the series that a query finds, as Grafana itself writes them.
    written: dict[str, object] = {
        "qryType": type_,
        "query": query,
        "refId": "PrometheusVariableQueryEditor-VariableQuery",
    }
    variable = dashboard.QueryVariable(name).id(name).label(label).datasource(DATASOURCE).query(written)
    return variable.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)


def of_job(account: str = "__data.fields.account", job_id: str = "__data.fields.job_id") -> list[dict[str, object]]:
    """The links of a job to its board and to Together, as the property `links` has them; from a row of a table, unless
    these variables have the job."""
    kept = "${datasource:queryparam}&${job:queryparam}&${__url_time_range}"
    job = f"var-account=${{{account}:percentencode}}&var-job_id=${{{job_id}:percentencode}}"
    return [
        {"title": "Show this job", "url": f"/d/{UIDS['job']}?{job}&{kept}", "targetBlank": False},
        {"title": "Open at Together", "url": f"{CONSOLE}${{{job_id}:percentencode}}", "targetBlank": True},
    ]


@dataclass(frozen=True)
class Mark(Builder[model.AnnotationQuery]):
    """An annotation where the value of a series is a time of the chosen range, in unix seconds; as Grafana's own editor
    writes it, which is more than the library knows."""

    name: str
    colour: str
    series: str
    title: str
    text: str

    def build(self) -> model.AnnotationQuery:
        """What the builder of dashboards asks of each."""
        return _Annotation(self)


class _Annotation(model.AnnotationQuery):
    def __init__(self, mark: Mark) -> None:
        expr = f"topk(100, {mark.series} * 1000 > $__from)"
        super().__init__(name=mark.name, datasource=DATASOURCE, icon_color=mark.colour, expr=expr)
        self._formats = {"titleFormat": mark.title, "textFormat": mark.text, "useValueForTime": "on"}

    def to_json(self) -> dict[str, object]:
        return {**super().to_json(), **self._formats}


MARKS = (
    Mark(
        "Failures",
        RED,
        each("account, job_id, status", of("job_finished_timestamp_seconds", f'status=~"{FAILED}"')),
        "{{job_id}} failed",
        "{{status}}, account {{account}}",
    ),
    Mark(
        "Exporter restarts",
        BLUE,
        each("instance", of_exporters("process_start_time_seconds")),
        "Exporter started",
        "{{instance}}",
    ),
)


def board(
    name: str,
    title: str,
    about: str,
    since: str,
    variables: Sequence[Builder[model.VariableModel]],
    content: Mapping[str, Sequence[Builder[model.Panel]]],
    links: Sequence[dashboard.DashboardLink] = (),
) -> model.Dashboard:
    """A dashboard: panels in rows with titles, laid out in their order, and links to the other dashboards."""
    made = dashboard.Dashboard(title).uid(UIDS[name]).description(about).tags([TAG]).readonly()
    made.time(since, "now").refresh("1m").timezone("browser").tooltip(model.DashboardCursorSync.CROSSHAIR)
    for variable in (datasource(), scrape_job(), *variables):
        made.with_variable(variable)
    for mark in MARKS:
        made.annotation(mark)
    for other, uid in UIDS.items():
        if other != name:
            link = dashboard.DashboardLink(f"{other.capitalize()}").type(model.DashboardLinkType.LINK)
            made.link(link.url(f"/d/{uid}").icon("dashboard").include_vars(True).keep_time(True))
    for external in links:
        made.link(external)
    for row, panels in content.items():
        made.with_row(dashboard.Row(row))
        for panel in panels:
            made.with_panel(panel)
    built = made.build()
    for number, part_ in enumerate(built.panels or [], 1):
        part_.id_val = number
    return built
