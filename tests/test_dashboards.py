"""The dashboards: every query on a real Prometheus that holds a simulated day, the layout, the provisioning."""

import json
import math
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, count
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode

import pytest
import yaml
from _pytest.mark import ParameterSet

from exporter.api import Client
from exporter.exposition import Exposition
from exporter.metrics import PREFIX, ROWS
from exporter.poller import Poller, Schedule
from exporter.simulator import Fault, Fleet, Plan, Shape, Simulator
from exporter.state import AccountSettings, Store
from grafana.build import DASHBOARDS, documents
from grafana.frame import UIDS
from grafana.look import STATUS_COLOURS, STATUS_NUMBERS
from grafana.promql import metric
from tests.conftest import need
from tests.programs import Prometheus, fetch
from tests.support import ABOUT, KEY, NOW, SimulatorAdapter, job

ROOT = Path(__file__).parent.parent
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
PROVISIONING = ROOT / "grafana" / "provisioning"
BOARDS = {name: json.loads((DASHBOARDS / f"{name}.json").read_text()) for name in UIDS}
ACCOUNTS: dict[str, Shape] = {"R&D": "live", "reference": "reference"}
BUDGETS = {"reference": 2000.0}

STEP, HOUR, DAY = 180, 3600, 86400  # from scrape to scrape, in seconds
END = int(NOW // HOUR) * HOUR
BEGIN = END - DAY
LAST = END - STEP  # the last scrape
TARGETS = [f'job="together-finetune",instance="{host}:10124"' for host in ("one", "two")]
MOST_SERIES = 50

EMPTY = {"Firing alerts": "promtool backfills recording rules only"}
"""The panels whose queries may find nothing, with the reason."""
UNTOLD = {
    "R&D": ("budget_usd",),
    "reference": (
        "job_refund_usd",
        "job_estimated_completion_timestamp_seconds",
        "job_steps",
        "job_steps_completed",
        "job_evals_completed",
    ),
}
"""Metrics without a sample in an account: one has no budget, the other has jobs in the shape of the API's reference,
which has no such fields."""

# ------------------------------------------------------------------------------------------------- the simulated day


@dataclass(frozen=True)
class Jobs:
    """A random fleet, and a job that waits when the day ends."""

    fleet: Fleet

    def plans(self, now: float) -> list[Plan]:
        """The plans at a moment."""
        waiting = Plan(id=f"ft-waits-{self.fleet.seed}", created=LAST - HOUR / 2, queued=HOUR, suffix="next")
        return [*self.fleet.plans(now), *([waiting] if waiting.created <= now else [])]


class Day:
    """An exporter of two accounts, one for each shape of the list, that is scraped for a day; in its last minutes a
    second exporter reports the same."""

    def __init__(self) -> None:
        self.now = float(BEGIN)
        self.apis = {account: self._api(shape, seed) for seed, (account, shape) in enumerate(ACCOUNTS.items())}
        store = Store(ABOUT, {account: AccountSettings(budget_usd=BUDGETS.get(account)) for account in self.apis})
        self._exposition = Exposition(store, clock=self._clock)
        ticks = count()
        schedule = Schedule(active=STEP, idle=STEP, training=True)
        self._pollers = [
            Poller(
                Client(SimulatorAdapter.url, lambda: KEY, user_agent="test/1", adapter=SimulatorAdapter(api)),
                store.publisher(account),
                schedule,
                clock=self._clock,
                stopwatch=lambda: self.now + next(ticks) / 1000,  # so that calls take some time, but none of ours
                random=lambda: 0.5,
            )
            for account, api in self.apis.items()
        ]

    def _api(self, shape: Shape, seed: int) -> Simulator:
        fleet = Jobs(Fleet(start=BEGIN, jobs=12, seed=seed, speed=2))
        return Simulator(fleet, key=KEY, shape=shape, clock=self._clock, requests_per_minute=1000)

    def _clock(self) -> float:
        return self.now

    def samples(self) -> Iterator[str]:
        """The lines of all scrapes, as OpenMetrics with times."""
        for moment in range(BEGIN, LAST + 1, STEP):
            self.now = moment
            for api in self.apis.values():
                api.faults[:] = faults(moment - BEGIN)
            for poller in self._pollers:
                poller.poll()
                poller.settle()
            series = [line for line in self._exposition.page().body.decode().splitlines() if line[0] != "#"]
            for line in [*series, "up 1", "scrape_duration_seconds 0.01", f"scrape_samples_scraped {len(series)}"]:
                name_and_labels, _, value = line.rpartition(" ")
                name, _, labels = name_and_labels.partition("{")
                for target in TARGETS if moment > LAST - 4 * STEP else TARGETS[:1]:
                    own = f"{labels.removesuffix('}')},{target}" if labels else target
                    yield f"{name}{{{own}}} {value} {moment}\n"


def faults(since: float) -> list[Fault]:
    """What goes wrong in the course of the day: the API fails for half an hour; for another it lists what no exporter
    can know."""
    if 12 * HOUR <= since < 12.5 * HOUR:
        return [Fault("list", 500)]
    if 15 * HOUR <= since < 15.5 * HOUR:
        return [Fault("list", 200, body=json.dumps({"data": [7, job("ft-odd", "dreaming")]}).encode())]
    return []


class History(Prometheus):
    """A Prometheus that holds a day and scrapes nothing."""

    def __init__(self, program: str, folder: Path) -> None:
        config = folder / "prometheus.yml"
        config.write_text("{}")
        super().__init__(
            program,
            config,
            folder / "data",
            "--storage.tsdb.retention.time=100y",
            # Backfilled series have no marks where they end: they would outlive it by five minutes.
            f"--query.lookback-delta={STEP - 1}s",
        )

    def ask(self, path: str, **parameters: object) -> list[dict[str, Any]]:
        """The result of a query, which must not fail."""
        try:
            answer = json.loads(fetch(f"{self.url}/api/v1/{path}?{urlencode(parameters)}"))
        except HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error
        found: list[dict[str, Any]] = answer["data"]["result"]
        return found


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    prometheus, promtool = need("prometheus", "prometheus"), need("promtool", "prometheus")
    folder = tmp_path_factory.mktemp("day")
    data, text = folder / "data", folder / "day.om"

    def backfill(*arguments: str) -> None:
        subprocess.run([promtool, "tsdb", "create-blocks-from", *arguments], check=True, capture_output=True)

    with text.open("w") as file:
        file.writelines(Day().samples())
        file.write("# EOF\n")
    backfill("openmetrics", str(text), str(data))
    text.unlink()
    rules = folder / "rules.yml"
    rules.write_text(re.sub(r"interval: \w+", "interval: 1m", RULES.read_text()))  # half the work, as good
    with History(prometheus, folder) as server:
        times = (f"--start={BEGIN}", f"--end={LAST}", f"--url={server.url}")
        backfill("rules", *times, f"--output-dir={folder / 'recorded'}", str(rules))
    for block in (folder / "recorded").iterdir():
        block.rename(data / block.name)
    with History(prometheus, folder) as server:
        yield server


# --------------------------------------------------------------------------------------------------- every query


@dataclass(frozen=True)
class Found:
    """What a query of a panel found: the series, each with its labels and its points."""

    query: Mapping[str, Any]
    series: list[tuple[dict[str, str], list[tuple[float, float]]]]


def panels(board: str) -> list[dict[str, Any]]:
    """The panels of a board, without the titles of its rows."""
    return [panel for panel in BOARDS[board]["panels"] if panel["type"] != "row"]


FLEET = {panel["title"]: panel for panel in panels("fleet")}
TITLED = ("job_id", "compare")  # variables of jobs


def filled(expression: str, variables: Mapping[str, str]) -> str:
    """An expression as Grafana sends it to Prometheus."""
    return re.sub(r"\$([a-z_]\w*)", lambda match: variables[match[1]], expression)


def answers(history: History, expression: str, step: int = 0, at: float = LAST, **chosen: str) -> list[dict[str, Any]]:
    """What an expression finds with these variables: at a time, by default the end of the day; with a step, over it."""
    everything = {"job": ".+", "account": ".*", "model": ".*", "compare": ".+"}
    known = {**everything, "__rate_interval": f"{4 * STEP}s", "__from": str(BEGIN * 1000), **chosen}
    if step:
        times = {"start": BEGIN // step * step, "end": LAST // step * step, "step": step}
        return history.ask("query_range", query=filled(expression, known), **times)
    return history.ask("query", query=filled(expression, known), time=at)


def as_grafana_escapes(value: str) -> str:
    """A variable's value within a regex within a string of PromQL."""
    return re.sub(r"[\\^$*+?.()|{}\[\]]", r"\\\\\g<0>", value)


def run(history: History, query: Mapping[str, Any], **variables: str) -> Found:
    """Runs a query as its panel does, at the end of the day or over the day."""
    step = DAY if query.get("interval") == "1d" else STEP
    found = answers(history, query["expr"], 0 if query["instant"] else step, LAST, **variables)
    points = [(one["metric"], one["values"] if "values" in one else [one["value"]]) for one in found]
    return Found(query, [(labels, [(at, float(value)) for at, value in values]) for labels, values in points])


def told(query: Mapping[str, Any], account: str) -> bool:
    """Whether an account has what a query asks for."""
    untold = {metric(name) for name in UNTOLD.get(account, ())}
    return untold.isdisjoint(re.findall(r"\w+", query["expr"]))


def check(panel: Mapping[str, Any], found: Found) -> None:
    """Fails unless what a query found is of a shape that its panel can show."""
    query, series = found.query, found.series
    assert len(series) <= MOST_SERIES
    legend = query.get("legendFormat", "")
    wanted = set(re.findall(r"{{(\w+)}}", legend))
    assert all(wanted <= labels.keys() for labels, _ in series), "a label of the legend is missing"
    if panel["type"] not in ("table", "xychart"):
        names = [tuple(labels[name] for name in sorted(wanted)) for labels, _ in series]
        assert len(set(names)) == len(names), "two series of the same name"
        assert wanted or len(series) <= 1, "several series without a name"
    values = [value for _, points in series for _, value in points]
    if panel["type"] == "gauge" or panel["fieldConfig"]["defaults"].get("unit") == "percentunit":
        assert all(0 <= value <= 1 or math.isnan(value) for value in values)
    if panel["type"] in ("stat", "gauge", "bargauge"):
        assert not any(map(math.isnan, values))
    if shown := panel["fieldConfig"]["defaults"].get("mappings"):
        assert {f"{value:g}" for value in values} <= shown[0]["options"].keys()


def check_table(panel: Mapping[str, Any], found: list[Found]) -> None:
    """Fails unless the queries of a table fill its columns, and make one row of what belongs together."""
    several = len(found) > 1
    [_, organize] = panel["transformations"]
    columns = set(organize["options"]["renameByName"])
    values = {f"Value #{each.query['refId']}" if several else "Value" for each in found}
    labels = {name for each in found for one, _ in each.series for name, text in one.items() if text}
    optional = {"suffix", "validation_file", "from_checkpoint", "output_name", "wandb_url"}  # few jobs have them
    assert columns - optional <= labels | values
    found = [each for each in found if each.series]
    shared = set.intersection(*({name for one, _ in each.series for name in one} for each in found))
    for each in found:
        keys = [tuple(one.get(name) for name in sorted(shared)) for one, _ in each.series]
        assert len(set(keys)) == len(keys), "two rows for the same thing"


def cases(*boards: str) -> list[ParameterSet]:
    """The panels of boards, as parameters of a test."""
    return [pytest.param(panel, id=f"{board}: {panel['title']}") for board in boards for panel in panels(board)]


@pytest.mark.parametrize("account", [*ACCOUNTS, ".*"])
@pytest.mark.parametrize("panel", cases("fleet", "exporter"))
def test_every_query_of_the_boards_of_many_jobs_finds_what_its_panel_shows(
    panel: dict[str, Any], account: str, history: History
) -> None:
    found = [run(history, query, account=account) for query in panel["targets"]]
    if panel["title"] in EMPTY:
        return
    for each in found:
        assert bool(each.series) is told(each.query, account), f"found: {each}"
        check(panel, each)
        if any("job_id" in labels for labels, _ in each.series):
            assert re.search(r"topk\(\d+", each.query["expr"]), "a fleet may have thousands of jobs"
    if panel["type"] == "table":
        check_table(panel, found)


@pytest.mark.parametrize("account", ACCOUNTS)
@pytest.mark.parametrize("panel", cases("job"))
def test_every_query_of_the_board_of_a_job_finds_what_its_panel_shows(
    panel: dict[str, Any], account: str, history: History
) -> None:
    """Each is asked about all jobs of the last hours, and must know something of one."""
    listed = history.ask("query", query=f'{metric("job_info")}{{account="{account}"}}', time=LAST)
    for query in panel["targets"]:
        found = [run(history, query, account=account, job_id=one["metric"]["job_id"]) for one in listed]
        assert any(each.series for each in found) is told(query, account), query["expr"]
        for each in found:
            check(panel, each)
            if panel["type"] == "table" and each.series:
                check_table(panel, [each])


@pytest.mark.parametrize("board", BOARDS)
def test_every_variable_has_values_to_choose(board: str, history: History) -> None:
    for variable in BOARDS[board]["templating"]["list"]:
        if variable["type"] == "query" and variable["name"] not in TITLED:
            [(series, label)] = re.findall(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            found = {answer["metric"][label] for answer in answers(history, series)}
            assert len(found) > 1 or variable["name"] == "job"
            assert found >= set(ACCOUNTS) or variable["name"] != "account"


@pytest.mark.parametrize("name", TITLED)
def test_jobs_to_choose_are_shown_by_suffix_model_and_the_end_of_their_id_the_newest_first(
    name: str, history: History
) -> None:
    [variable] = [one for one in BOARDS["job"]["templating"]["list"] if one["name"] == name]
    [query] = re.findall(r"query_result\((.+)\)", variable["query"]["query"])
    found = answers(history, query, account="R&D")
    created = [float(answer["value"][1]) for answer in found]
    assert created == sorted(created, reverse=True)
    assert len(created) > 1
    shown = dict(as_grafana_reads(answer, variable["regex"]) for answer in found)
    for labels in (one["metric"] for one in answers(history, f'{metric("job_info")}{{account="R&D"}}')):
        parts = (labels.get("suffix"), labels["model"].rpartition("/")[2], labels["job_id"][-8:])
        assert shown[labels["job_id"]] == " · ".join(filter(None, parts))


def as_grafana_reads(answer: Mapping[str, Any], regex: str) -> tuple[str, str]:
    """The value and the text that Grafana takes from a series that query_result() found."""
    labels = ",".join(f' {name}="{value}"' for name, value in answer["metric"].items())
    pattern = regex.removeprefix("/").removesuffix("/g").replace("(?<", "(?P<")
    groups = [match.groupdict() for match in re.finditer(pattern, f"{{{labels}}} {answer['value'][1]} {LAST}000")]
    return (
        next(group["value"] for group in groups if group["value"]),
        next(group["text"] for group in groups if group["text"]),
    )


@pytest.mark.parametrize("mark", BOARDS["fleet"]["annotations"]["list"], ids=lambda mark: str(mark["name"]))
def test_every_annotation_has_times_of_the_day_and_all_labels_of_its_texts(
    mark: dict[str, Any], history: History
) -> None:
    assert mark["datasource"]["uid"] == "${datasource}"
    assert mark["useValueForTime"]
    found = answers(history, mark["expr"], STEP)
    assert found
    for answer in found:
        assert set(re.findall(r"{{(\w+)}}", mark["titleFormat"] + mark["textFormat"])) <= answer["metric"].keys()
        assert all(float(value) >= BEGIN * 1000 for _, value in answer["values"])


def test_losses_of_several_jobs_can_be_compared_by_step(history: History) -> None:
    [panel] = [panel for panel in panels("job") if panel["type"] == "xychart"]
    [this, *_] = answers(history, metric("job_training_step"))
    steps, losses = (
        run(history, query, job_id=this["metric"]["job_id"], account=this["metric"]["account"])
        for query in panel["targets"]
    )
    titles = [labels["title"] for labels, _ in steps.series]
    assert titles == [labels["title"] for labels, _ in losses.series]
    assert 1 < len(titles) <= 11
    for (_, xs), (_, ys) in zip(steps.series, losses.series, strict=True):
        assert [at for at, _ in xs] == [at for at, _ in ys]


def test_money_spent_in_a_day_is_what_the_price_grew_by_in_it(history: History) -> None:
    """Of the day that begins at midnight, the second that is watched."""
    midnight = LAST // DAY * DAY
    price = "sum by (account, model) (max by (account, model, status) (together_finetune_model_price_usd))"
    grown = 0.0
    for one in history.ask("query_range", query=price, start=midnight - HOUR + 600, end=LAST, step=600):
        before = [0.0, *(float(dollars) for at, dollars in one["values"] if at <= midnight)]
        during = [float(dollars) for at, dollars in one["values"] if at > midnight]
        grown += max(0.0, during[-1] - before[-1]) if during else 0.0
    assert grown > 0
    for by in ("model", "account"):
        found = run(history, FLEET[f"Spend per day by {by}"]["targets"][0])
        assert {at for _, points in found.series for at, _ in points} == {midnight}
        assert sum(points[-1][1] for _, points in found.series) == pytest.approx(grown)


def test_the_choice_of_a_model_leaves_the_others_out(history: History) -> None:
    [(one, _), *_] = run(history, FLEET["Jobs by model"]["targets"][0]).series
    every, chosen = (
        {
            title: sum(points[-1][1] for _, points in run(history, FLEET[title]["targets"][0], **model).series)
            for title in ("Jobs by status", "Jobs by model", "Running", "Price by model", "Spend per day by account")
        }
        for model in ({}, {"model": as_grafana_escapes(one["model"])})
    )
    assert all(chosen[title] <= every[title] for title in every)
    assert all(0 < chosen[title] < every[title] for title in ("Jobs by status", "Jobs by model", "Price by model"))
    assert every["Jobs by model"] == every["Jobs by status"]


def test_figures_that_can_be_counted_are_right(history: History) -> None:
    def value(title: str, **variables: str) -> float:
        return run(history, FLEET[title]["targets"][0], **variables).series[0][1][-1][1]

    for account in ACCOUNTS:
        jobs = history.ask("query", query=f'{metric("job_status")}{{account="{account}"}}', time=LAST)
        statuses = {job["metric"]["job_id"]: job["metric"]["status"] for job in jobs}.values()
        assert value("Running", account=account) == sum(
            status in ("running", "compressing", "uploading") for status in statuses
        )
        assert value("Waiting", account=account) == sum(status in ("pending", "queued") for status in statuses)
        assert value("Stuck", account=account) >= 1, "the first job of the fleet hangs"
    assert value("Running") == sum(value("Running", account=account) for account in ACCOUNTS)
    for title in ("Stuck", "Failed", "Not judged"):
        assert value(title) == sum(value(title, account=account) for account in ACCOUNTS)


@pytest.mark.parametrize("panel", cases("fleet", "exporter"))
def test_no_figure_is_shown_where_no_exporter_is_scraped(panel: dict[str, Any], history: History) -> None:
    for query in panel["targets"]:
        assert answers(history, query["expr"], at=BEGIN - HOUR) == []


def test_stuck_and_failed_jobs_are_counted_on_through_an_outage_of_the_api(history: History) -> None:
    before, within = BEGIN + 12 * HOUR - STEP, BEGIN + 12.4 * HOUR
    assert answers(history, FLEET["Running"]["targets"][0]["expr"], at=before)
    assert answers(history, FLEET["Running"]["targets"][0]["expr"], at=within) == []
    for title in ("Stuck", "Failed", "Not judged"):
        (one,), (other,) = (answers(history, FLEET[title]["targets"][0]["expr"], at=at) for at in (before, within))
        assert one["value"][1] == other["value"][1]


# ------------------------------------------------------------------------------------------------------- the layout


def test_the_json_is_what_the_code_builds() -> None:
    built = documents()
    assert {path.name for path in built} == {path.name for path in DASHBOARDS.iterdir()}
    for path, text in built.items():
        assert path.read_text() == text, "run `make docs`"


@pytest.mark.parametrize("board", BOARDS)
def test_the_panels_fill_the_grid(board: str) -> None:
    cells: dict[tuple[int, int], int] = {}
    for panel in BOARDS[board]["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in cells, f"{panel['title']} lies on another"
                cells[x, y] = panel["id"]
    height = 1 + max(y for _, y in cells)
    assert set(cells) == {(x, y) for x in range(24) for y in range(height)}
    ids = [panel["id"] for panel in BOARDS[board]["panels"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("panel", cases(*BOARDS))
def test_every_panel_says_what_it_shows_and_what_it_means_when_it_is_empty(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["noValue"]
    assert panel["type"] in {"stat", "gauge", "bargauge", "timeseries", "state-timeline", "table", "heatmap", "xychart"}
    assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    refs = [target["refId"] for target in panel["targets"]]
    assert len(set(refs)) == len(refs)


@pytest.mark.parametrize("board", BOARDS)
def test_titles_are_there_once(board: str) -> None:
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)


def test_uids_never_change_as_links_from_outside_name_them() -> None:
    assert {name: board["uid"] for name, board in BOARDS.items()} == {
        "fleet": "together-finetune-fleet",
        "job": "together-finetune-job",
        "exporter": "together-finetune-exporter",
    }


@pytest.mark.parametrize("board", BOARDS)
def test_links_lead_to_dashboards_that_exist_and_name_variables_that_they_have(board: str) -> None:
    by_uid = {other["uid"]: other for other in BOARDS.values()}
    text = json.dumps(BOARDS[board])
    linked = re.findall(r'"/d/([\w-]+)\??([^"]*)"', text)
    assert {uid for uid, _ in linked} >= by_uid.keys() - {BOARDS[board]["uid"]}
    for uid, query in linked:
        variables = {variable["name"] for variable in by_uid[uid]["templating"]["list"]}
        assert set(re.findall(r"var-(\w+)=", query)) <= variables


@pytest.mark.parametrize("board", BOARDS)
def test_whatever_a_link_carries_is_encoded_so_that_an_account_may_have_any_name(board: str) -> None:
    urls = re.findall(r'"url": "([^"]*)"', json.dumps(BOARDS[board]))
    carried = {variable for url in urls for variable in re.findall(r"\$(?:{[^}]+}|\w+)", url)}
    encoded = {variable for variable in carried if variable.endswith((":percentencode}", ":queryparam}"))}
    assert carried - encoded <= {"${__url_time_range}", "${__value.raw:raw}"}  # the latter is a URL itself


@pytest.mark.parametrize("panel", cases(*BOARDS))
def test_every_metric_is_in_the_table_or_recorded(panel: dict[str, Any]) -> None:
    endings = {"histogram": ("_bucket", "_count", "_sum")}
    known = {row.name + ending for row in ROWS for ending in endings.get(row.type, ("",))}
    known |= {rule["record"] for rule in rules() if "record" in rule}
    known |= {"up", "ALERTS", "scrape_duration_seconds", "scrape_samples_scraped"}
    known |= {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_start_time_seconds"}
    for target in panel["targets"]:
        names = re.findall(r"(?<![\w:])([a-zA-Z_:][\w:]*)(?=\{)", target["expr"])
        names += re.findall(rf"[\w:]*{PREFIX}[\w:]*", target["expr"])
        assert names
        assert set(names) <= known


def test_every_variable_in_a_query_is_one_of_the_board_or_of_grafana() -> None:
    for board in BOARDS.values():
        variables = {variable["name"] for variable in board["templating"]["list"]}
        assert len({variable["id"] for variable in board["templating"]["list"]}) == len(variables)
        used = set(re.findall(r"\$([a-z_]\w*)", "".join(re.findall(r'"expr": (".*")', json.dumps(board, indent=1)))))
        assert used <= variables | {"__rate_interval", "__from"}


def rules() -> list[dict[str, Any]]:
    """All rules of the rules file."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def test_an_unknown_metric_is_refused() -> None:
    assert metric("jobs") == "together_finetune_jobs"
    with pytest.raises(ValueError, match="no metric is called together_finetune_jops"):
        metric("jops")


# ------------------------------------------------------------------------------------------------------- the colours

# What people with a colour blindness see, as matrices of linear RGB (Machado, Oliveira and Fernandes, 2009).
SIGHTS = {
    "all colours": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "no green": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "no blue": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}


def seen(colour: str, sight: str) -> tuple[float, ...]:
    """A colour of the form #RRGGBB as it is seen, in CIELAB."""
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    linear = [max(0.0, sum(a * b for a, b in zip(row, linear, strict=True))) for row in SIGHTS[sight]]
    to_xyz = ((0.4339, 0.3762, 0.1899), (0.2126, 0.7152, 0.0722), (0.0178, 0.1095, 0.8730))  # by the white of D65
    xyz = (sum(a * b for a, b in zip(row, linear, strict=True)) for row in to_xyz)
    x, y, z = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("sight", SIGHTS)
def test_whoever_looks_can_tell_statuses_apart(sight: str) -> None:
    for (one, colour), (other, another) in combinations(STATUS_COLOURS.items(), 2):
        assert math.dist(seen(colour, sight), seen(another, sight)) > 10, f"{one} looks like {other}"


def test_a_status_looks_the_same_everywhere() -> None:
    for board in BOARDS.values():
        for found in re.findall(r'\{"color": "(#\w+)", "index": \d+, "text": "([\w ]+)"\}', json.dumps(board)):
            colour, text = found
            if (status := text.replace(" ", "_")) in STATUS_NUMBERS:
                assert STATUS_COLOURS[status] == colour
    overrides = FLEET["Jobs by status"]["fieldConfig"]["overrides"]
    assert {one["matcher"]["options"]: one["properties"][0]["value"]["fixedColor"] for one in overrides} == dict(
        STATUS_COLOURS
    )


# --------------------------------------------------------------------------------------------------- provisioning


def test_the_data_source_is_prometheus() -> None:
    config = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yml").read_text())
    assert config["apiVersion"] == 1
    [source] = config["datasources"]
    assert source["type"] == "prometheus"
    assert source["url"] == "http://localhost:9091"  # as in README.md
    assert source["uid"] == "together-finetune-prometheus"
    assert "isDefault" not in source  # two defaults, and Grafana does not start
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["global"]
    assert source["jsonData"]["timeInterval"] == scraped["scrape_interval"]


def test_the_provider_reads_the_dashboards_from_where_its_comment_says() -> None:
    text = (PROVISIONING / "dashboards" / "together-finetune.yml").read_text()
    config = yaml.safe_load(text)
    assert config["apiVersion"] == 1
    [provider] = config["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"].startswith("/")
    assert "grafana/dashboards" in text.partition("apiVersion")[0]
    assert "options.path" in text.partition("apiVersion")[0]
