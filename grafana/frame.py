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
    """The Prometheus that is queried, at first the default one."""
    return dashboard.DatasourceVariable("datasource").id("datasource").label("Data source").type("prometheus")


def choice(
    name: str, label: str, series: str, values: str, *, several: bool = True, everything: str = ".*"
) -> Builder[model.VariableModel]:
    """A variable with the values of a series' label. `everything` is the regex for all of several."""
    variable = _variable(name, label, 1, f"label_values({series}, {values})", everything if several else None)
    return variable.sort(model.VariableSort.ALPHABETICAL_ASC)


def choice_of_job(name: str, label: str, titled: str, *, several: bool = False) -> Builder[model.VariableModel]:
    """A variable with the ids of jobs, which are shown by their titles in the order in which the query finds them."""
    variable = _variable(name, label, 3, f"query_result({titled})", ".+" if several else None)
    return variable.sort(model.VariableSort.DISABLED).regex('/job_id="(?<value>[^"]+)|title="(?<text>[^"]+)/g')


def _variable(name: str, label: str, kind: int, query: str, everything: str | None) -> dashboard.QueryVariable:
    """Kind 1 is the values of a label, kind 3 the series that a query finds, as Grafana's own editor writes them."""
    written: dict[str, object] = {
        "qryType": kind,
        "query": query,
        "refId": "PrometheusVariableQueryEditor-VariableQuery",
    }
    variable = dashboard.QueryVariable(name).id(name).label(label).datasource(DATASOURCE).query(written)
    variable.refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
    variable.multi(everything is not None).include_all(everything is not None)
    if everything is not None:
        variable.all_value(everything).current(model.VariableOption(True, "All", "$__all"))
    return variable


def links_of_job() -> list[dict[str, object]]:
    """From a row of a table to the board of its job and to Together, as the property `links` has them."""
    account, job_id = (f"${{__data.fields.{name}:percentencode}}" for name in ("account", "job_id"))
    kept = "${datasource:queryparam}&${job:queryparam}&${__url_time_range}"
    return [
        {
            "title": "Show this job",
            "url": f"/d/{UIDS['job']}?var-account={account}&var-job_id={job_id}&{kept}",
            "targetBlank": False,
        },
        {"title": "Open at Together", "url": f"{CONSOLE}{job_id}", "targetBlank": True},
    ]


@dataclass(frozen=True)
class Mark(Builder[model.AnnotationQuery]):
    """An annotation at each time within the time range that is the value of a series, in unix seconds."""

    name: str
    colour: str
    series: str
    title: str
    text: str

    def build(self) -> model.AnnotationQuery:
        """The annotation with all that Grafana's own editor writes, which is more than the library knows."""
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
    scrape_job = choice("job", "Scrape job", metric("exporter_build_info"), "job", everything=".+")
    for variable in (datasource(), scrape_job, *variables):
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
