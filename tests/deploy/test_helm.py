"""The chart and what is rendered from it: checked by Helm, kubeconform, promtool and the exporter itself."""

import functools
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it brings no types
import pytest
import yaml

from exporter import __version__
from exporter.config import load
from exporter.packaged import SOURCES
from tests.deploy.common import ROOT, TOOLS, go_tool, run

CHART = ROOT / "deploy/helm/together-finetune-exporter"
VALUES = {file.name.removesuffix("-values.yaml"): file for file in (CHART / "ci").iterdir()}
RENDERED = ROOT / "deploy/kubernetes"
GROUPS = yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"]
NEWEST = "1.37"
SUPPORTED = ("1.25", NEWEST)
SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"

Object = dict[str, Any]


def template(*arguments: str | Path, version: str = NEWEST) -> list[Object]:
    """The objects that the chart renders."""
    text = run(go_tool("helm"), "template", "release", CHART, f"--kube-version={version}", *arguments)
    return [found for found in yaml.load_all(text, yaml.CSafeLoader) if found]


def refusal(*arguments: str) -> str:
    """Why Helm does not render the chart."""
    command: list[str | Path] = [go_tool("helm"), "template", "release", CHART, f"--kube-version={NEWEST}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    return done.stderr


def one(objects: list[Object], kind: str) -> Object:
    """The only object of a kind."""
    [found] = [found for found in objects if found["kind"] == kind]
    return found


def alerts(objects: list[Object]) -> dict[str, Object]:
    """The alerts of the PrometheusRule, by name."""
    groups = one(objects, "PrometheusRule")["spec"]["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


# ------------------------------------------------------------------------------------------------------------ schemas


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a schema for each version and kind: those of Kubernetes, and those of the Prometheus Operator."""
    folder = tmp_path_factory.mktemp("schemas")
    for version in SUPPORTED:
        strict = SCHEMAS / f"v{version}.0-local-strict"
        (folder / version).mkdir()
        definitions = json.loads(strict.joinpath("_definitions.json").read_text())["$defs"]
        for name in ("configmap-v1", "deployment-apps-v1", "networkpolicy-networking-v1", "secret-v1", "service-v1"):
            schema = json.loads(strict.joinpath(f"{name}.json").read_text()) | {"$defs": definitions}
            schema.pop("$id", None)
            text = json.dumps(schema).replace('"/api/_definitions.json#', '"#')
            (folder / version / f"{name}.json").write_text(text)
        for name, schema in operator_schemas():
            (folder / version / f"{name}.json").write_text(json.dumps(schema))
    return folder


def operator_schemas() -> Iterator[tuple[str, Object]]:
    """The schemas of the Prometheus Operator's kinds, in which a field that is not known is an error."""
    for kind in ("prometheusrule", "scrapeconfig", "servicemonitor") if (TOOLS / "crds").exists() else ():
        file = TOOLS / f"crds/monitoring.coreos.com_{kind}s.yaml"
        [version] = yaml.load(file.read_text(), yaml.CSafeLoader)["spec"]["versions"]
        schema = version["schema"]["openAPIV3Schema"]
        schema["properties"]["metadata"] = {"type": "object"}
        yield f"{kind}-monitoring-{version['name']}", strict(schema)


def strict(schema: Any) -> Any:
    """The schema of a custom resource in which no object takes further fields."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(part) for key, part in schema.items()}
    if isinstance(closed.get("properties"), dict) and "type" in closed:
        closed.setdefault("additionalProperties", False)
    return closed


def kubeconform(schemas: Path, version: str, objects: list[Object], folder: Path) -> None:
    """Fails where an object does not fit its schema."""
    file = folder / "objects.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    location = f"{schemas}/{version}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
    run(go_tool("kubeconform"), "-strict", f"-schema-location={location}", file)


@pytest.mark.parametrize("version", SUPPORTED)
@pytest.mark.parametrize("values", VALUES)
def test_kubernetes_and_the_operator_accept_what_is_rendered(
    values: str, version: str, schemas: Path, tmp_path: Path
) -> None:
    if not (TOOLS / "crds").exists():
        pytest.skip("the Prometheus Operator's resources are missing: make tools (needs Go 1.26)")
    kubeconform(schemas, version, template("--values", VALUES[values], version=version), tmp_path)


def test_the_operator_accepts_the_scrape_config_for_many_accounts(schemas: Path, tmp_path: Path) -> None:
    if not (TOOLS / "crds").exists():
        pytest.skip("the Prometheus Operator's resources are missing: make tools (needs Go 1.26)")
    resource = yaml.safe_load((ROOT / "deploy/scale/scrapeconfig.yaml").read_text())
    kubeconform(schemas, NEWEST, [resource], tmp_path)


def test_a_field_that_does_not_exist_is_found(schemas: Path, tmp_path: Path) -> None:
    if not (TOOLS / "crds").exists():
        pytest.skip("the Prometheus Operator's resources are missing: make tools (needs Go 1.26)")
    objects = template("--values", VALUES["everything"])
    one(objects, "ServiceMonitor")["spec"]["endpoints"][0]["intervall"] = "15s"
    with pytest.raises(AssertionError, match="intervall"):
        kubeconform(schemas, NEWEST, objects, tmp_path)


# ---------------------------------------------------------------------------------------------------------- the chart


@pytest.mark.parametrize("values", VALUES)
def test_helm_finds_nothing_to_complain_about(values: str) -> None:
    run(go_tool("helm"), "lint", "--strict", f"--kube-version={NEWEST}", "--values", VALUES[values], CHART)


def test_the_chart_has_the_version_of_the_exporter() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == __version__


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "set one of secret.existing, secret.create and demo"),
        (("--set", "demo=true,secret.existing=keys"), "set one of secret.existing, secret.create and demo"),
        (("--set", "demo=true,servicemonitor.enabled=true"), "servicemonitor"),
        (("--set", "demo=true,networkPolicy.enabled=yes"), "networkPolicy"),
        (
            ("--set", "demo=true,prometheusRule.enabled=true,prometheusRule.alerts.TogetherFoo.enabled=false"),
            "there is no alert TogetherFoo",
        ),
    ],
)
def test_values_that_make_no_sense_are_refused(arguments: tuple[str, ...], reason: str) -> None:
    assert reason in refusal(*arguments)


@pytest.mark.parametrize("values", VALUES)
def test_the_exporter_accepts_its_rendered_configuration(values: str, tmp_path: Path) -> None:
    config = next(found for found in template("--values", VALUES[values]) if "config.yml" in found.get("data", {}))
    file = tmp_path / "config.yml"
    file.write_text(config["data"]["config.yml"])
    settings = load([f"--config.file={file}"], "")
    keys = "/etc/together-finetune-exporter/keys"
    expected = {"accounts": [f"{keys}/research", f"{keys}/product-2026"], "demo": []}
    found = [] if settings.demo else [str(account.api_key_file) for account in settings.effective_accounts()]
    assert found == expected.get(values, [f"{keys}/api-key"])


def test_probes_ask_the_exporter_unless_it_asks_for_a_password() -> None:
    def probes(objects: list[Object]) -> list[Object]:
        [container] = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
        return [container["livenessProbe"], container["readinessProbe"]]

    open_to_all = probes(template("--values", VALUES["demo"]))
    assert [probe["httpGet"]["path"] for probe in open_to_all] == ["/-/healthy", "/-/ready"]
    behind = probes(template("--values", VALUES["everything"]))
    assert [probe.get("tcpSocket") for probe in behind] == [{"port": "metrics"}] * 2


def test_a_pod_has_no_rights() -> None:
    pod = one(template("--values", VALUES["demo"]), "Deployment")["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


# ------------------------------------------------------------------------------------------------ rules and dashboards


def test_alerts_can_be_left_out_and_given_another_severity_and_labels() -> None:
    found = alerts(template("--values", VALUES["accounts"]))
    assert "TogetherFinetuneBudgetForecast" not in found
    assert found["TogetherFinetuneJobFailed"]["labels"] == {"severity": "warning", "team": "research"}
    assert found["TogetherFinetuneApiFailing"]["labels"] == {"severity": "warning", "team": "ml-platform"}


def test_without_changes_the_alerts_are_those_of_the_rule_file() -> None:
    assert one(template("--values", VALUES["everything"]), "PrometheusRule")["spec"]["groups"] == GROUPS


@pytest.mark.parametrize("values", ["accounts", "everything"])
def test_prometheus_accepts_the_rendered_rules(values: str, promtool: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump(one(template("--values", VALUES[values]), "PrometheusRule")["spec"]))
    run(promtool, "check", "rules", file)
    run(go_tool("promtool"), "check", "rules", file)


def scraped_labels(objects: list[Object]) -> dict[str, str]:
    """The labels that the Prometheus Operator and the ServiceMonitor give to what Prometheus scrapes of one pod."""
    [endpoint] = one(objects, "ServiceMonitor")["spec"]["endpoints"]
    service = one(objects, "Service")["metadata"]["name"]
    labels = {
        "namespace": "ml",
        "service": service,
        "pod": f"{service}-7d4b9c6f5d-x2x7k",
        "container": "exporter",
        "job": service,
        "endpoint": endpoint["port"],
        "instance": "10.0.0.7:10124",
    }
    for step in endpoint["relabelings"]:
        if step.get("action") == "labeldrop":
            labels = {name: value for name, value in labels.items() if not re.fullmatch(step["regex"], name)}
        else:
            labels[step["targetLabel"]] = step["replacement"]
    return labels


def test_a_new_pod_has_the_labels_of_the_old_one() -> None:
    labels = scraped_labels(template("--values", VALUES["everything"]))
    assert labels == {"namespace": "ml", "service": "finetune", "job": "finetune", "instance": "finetune"}


@pytest.mark.parametrize("file", sorted((ROOT / "tests/rules").glob("*.yml")), ids=lambda file: file.stem)
def test_an_alert_works_without_the_labels_that_the_service_monitor_drops(
    file: Path, promtool: str, tmp_path: Path
) -> None:
    objects = template("--values", VALUES["kubernetes"])
    (tmp_path / "rules.yml").write_text(yaml.safe_dump(one(objects, "PrometheusRule")["spec"]))
    text = re.sub(r"^rule_files: .*", "rule_files: [rules.yml]", file.read_text(), flags=re.MULTILINE)
    for name in {"container", "endpoint", "pod"} - scraped_labels(objects).keys():
        text = re.sub(rf',{name}="(?!list|retrieve)[^"]*"', "", text)  # those are endpoints of the API
        text = re.sub(rf"^ +{name}: .*\n", "", text, flags=re.MULTILINE)
        text = text.replace(f",exported_{name}=", f",{name}=")
    assert ',service="' in text
    assert ',endpoint="http"' not in text
    (tmp_path / "test.yml").write_text(text)
    run(promtool, "test", "rules", tmp_path / "test.yml")


# -------------------------------------------------------------------------------------------------- deploy/kubernetes


@functools.cache
def rendered(name: str) -> list[Object]:
    """The objects of a file of deploy/kubernetes."""
    return [found for found in yaml.load_all((RENDERED / name).read_text(), yaml.CSafeLoader) if found]


def test_what_is_rendered_is_in_step_with_the_chart(tmp_path: Path) -> None:
    go_tool("helm")
    run("make", "--silent", "kubernetes", f"KUBERNETES={tmp_path}")
    made = {file.name: file.read_text() for file in tmp_path.iterdir()}
    assert made == {file.name: file.read_text() for file in RENDERED.iterdir()}, "run `make kubernetes`"


def test_the_rendered_alerts_are_those_of_the_rule_file() -> None:
    [rule] = rendered("prometheusrule.yaml")
    assert rule["spec"]["groups"] == GROUPS, "run `make kubernetes`"


def test_the_rendered_dashboards_are_those_of_grafana() -> None:
    found = {name: text for part in rendered("dashboards.yaml") for name, text in part["data"].items()}
    [folder] = SOURCES["dashboards"]
    assert found == {file.name: file.read_text() for file in (ROOT / folder).iterdir()}, "run `make kubernetes`"


@pytest.mark.parametrize("name", ["config", "dashboards", "deployment", "networkpolicy", "service"])
def test_kubernetes_accepts_what_is_in_the_repository(name: str) -> None:
    for found in rendered(f"{name}.yaml"):
        kubernetes_validate.validate(found, NEWEST, strict=True)
