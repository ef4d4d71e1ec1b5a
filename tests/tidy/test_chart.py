"""The Helm chart, rendered: objects that Kubernetes knows, confined, with settings that the program knows."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from services.liquidator.config import load
from tests.support.process import Unavailable
from tests.support.tools import find_tool
from tests.tidy.tree import ROOT

CHART = ROOT / "deploy" / "helm" / "ringfence"
NEEDED = ("kafka.bootstrap=kafka:9092", "redis.url=redis://ringfence@redis:6379/0")
EVERYTHING = (
    *NEEDED, "secrets.name=ringfence", "secrets.kafkaPassword=kafka-password", "secrets.kafkaCa=ca.crt", "topics.create=true",
    "serviceMonitor.enabled=true", "prometheusRule.enabled=true", "dashboards.enabled=true", "keda.enabled=true", "shadow=true",
)  # fmt: skip
# The oldest release that the chart says it runs on, and the newest of which the schemas are there.
RELEASES = ("1.27.0", "1.37.0")
CUSTOM = {"ServiceMonitor", "PrometheusRule", "ScaledObject"}
SECRETS = "/run/secrets/ringfence"

Object = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm on the chart; the test is skipped where there is none."""
    try:
        program = find_tool("helm")
    except Unavailable as missing:
        pytest.skip(str(missing))
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60, check=False)


def template(values: tuple[str, ...], release: str) -> subprocess.CompletedProcess[str]:
    settings = [part for value in values for part in ("--set", value)]
    return helm("template", "rf", str(CHART), "--namespace", "risk", "--kube-version", release, *settings)


@cache
def rendered(values: tuple[str, ...] = EVERYTHING, release: str = RELEASES[-1]) -> tuple[Object, ...]:
    done = template(values, release)
    assert done.returncode == 0, done.stderr
    return tuple(found for found in yaml.safe_load_all(done.stdout) if found is not None)


def only(kind: str, values: tuple[str, ...] = EVERYTHING) -> Object:
    (found,) = [each for each in rendered(values) if each["kind"] == kind]
    return found


def pods(values: tuple[str, ...] = EVERYTHING) -> list[Object]:
    return [each["spec"]["template"]["spec"] for each in rendered(values) if each["kind"] in ("StatefulSet", "Job")]


def test_lint_has_nothing_to_say() -> None:
    done = helm("lint", "--strict", str(CHART), *(part for value in NEEDED for part in ("--set", value)))
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("values", [NEEDED, EVERYTHING], ids=["least", "everything"])
def test_every_object_is_one_that_kubernetes_knows(values: tuple[str, ...], release: str) -> None:
    checked = 0
    for found in rendered(values, release):
        if found["kind"] not in CUSTOM:
            kubernetes_validate.validate(found, release, strict=True)
            checked += 1
    assert checked >= 6


def test_a_seeded_mistake_is_caught() -> None:
    wrong = json.loads(json.dumps(only("StatefulSet")))
    wrong["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, RELEASES[-1], strict=True)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("replica=3", "replica"),
        ("redis.url=redis://user:secret@host:6379", "redis.url"),
        ("image.tag=latest", "image.tag"),
        ("kafka.bootstrap=", "kafka.bootstrap has to be set"),
    ],
)
def test_wrong_values_are_refused_by_name(value: str, complaint: str) -> None:
    done = template((*NEEDED, value), RELEASES[-1])
    assert done.returncode != 0
    assert complaint in done.stderr


@pytest.mark.parametrize("kind", ["StatefulSet", "Job"])
def test_containers_are_confined(kind: str) -> None:
    pod = only(kind)["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert container["resources"]["limits"]["memory"]


def test_secrets_are_files_of_a_secret_and_never_variables() -> None:
    for pod in pods():
        (container,) = pod["containers"]
        files = [
            each["value"]
            for each in container["env"]
            if each["name"].endswith(("_FILE", "_CAFILE", "CERTFILE", "KEYFILE"))
        ]
        assert sorted(files) == [
            f"{SECRETS}/{name}" for name in ("ca.crt", "kafka-password", "redis-password", "row-key")
        ]
        assert not [each for each in container["env"] if "secretKeyRef" in str(each)]
        (mount,) = [each for each in container["volumeMounts"] if each["name"] == "secrets"]
        assert (mount["mountPath"], mount["readOnly"]) == (SECRETS, True)
        (volume,) = [each for each in pod["volumes"] if each["name"] == "secrets"]
        assert volume["secret"] == {"secretName": "ringfence", "defaultMode": 0o440}


@pytest.mark.parametrize("values", [NEEDED, EVERYTHING], ids=["least", "everything"])
def test_the_workers_settings_are_settings(
    values: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = only("StatefulSet", values)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    for each in container["env"]:
        monkeypatch.setenv(each["name"], each.get("value", "ringfence-0"))
    maps = [each for each in rendered(values) if each["kind"] == "ConfigMap" and "ringfence.toml" in each["data"]]
    file = tmp_path / "ringfence.toml"
    file.write_text(maps[0]["data"]["ringfence.toml"])
    config = load(file)
    assert config.worker.instance == "ringfence-0"
    assert config.worker.static_membership
    assert config.kafka.bootstrap == "kafka:9092"
    assert config.http.port == container["ports"][0]["containerPort"]
    assert pod["terminationGracePeriodSeconds"] * 1000 > config.worker.shutdown_ms
    assert container["args"][:3] == ["liquidator", "--config", "/etc/ringfence/ringfence.toml"]


def test_probes_ask_what_they_are_for() -> None:
    (container,) = only("StatefulSet")["spec"]["template"]["spec"]["containers"]
    asked = {name: container[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert asked == {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}


def test_at_most_one_worker_is_taken_away_and_they_are_spread() -> None:
    budget, spec = only("PodDisruptionBudget")["spec"], only("StatefulSet")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == spec["selector"]
    spread = spec["template"]["spec"]["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    assert all(each["labelSelector"] == spec["selector"] for each in spread)


def test_only_prometheus_and_the_workers_reach_the_listener() -> None:
    policy = only("NetworkPolicy", NEEDED)["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": "http"}]
    assert rule["from"] == [
        {"podSelector": policy["podSelector"]},
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
    ]
    assert sorted({port["port"] for each in policy["egress"] for port in each["ports"]}) == [53, 6379, 9092]


def test_selectors_find_the_workers() -> None:
    labels = only("StatefulSet")["spec"]["template"]["metadata"]["labels"]
    service = only("Service")
    assert service["spec"]["selector"].items() <= labels.items()
    assert only("ServiceMonitor")["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert only("StatefulSet")["spec"]["serviceName"] == service["metadata"]["name"]
    assert only("ScaledObject")["spec"]["scaleTargetRef"]["name"] == only("StatefulSet")["metadata"]["name"]


def test_a_scaled_set_has_no_count_of_its_own() -> None:
    assert "replicas" not in only("StatefulSet")["spec"]
    assert only("StatefulSet", NEEDED)["spec"]["replicas"] == 2


def test_the_rules_are_those_of_the_deployment() -> None:
    source = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    assert only("PrometheusRule")["spec"]["groups"] == source["groups"]


def test_the_dashboards_are_those_of_the_deployment() -> None:
    source = {path.name: path.read_text() for path in (ROOT / "deploy" / "grafana" / "dashboards").glob("*.json")}
    maps = [each for each in rendered() if each["kind"] == "ConfigMap" and "ringfence.toml" not in each["data"]]
    assert {name: text for each in maps for name, text in each["data"].items()} == source
    assert all(each["metadata"]["labels"]["grafana_dashboard"] == "1" for each in maps)


def test_rules_and_dashboards_have_one_source() -> None:
    assert (CHART / "files" / "alerts.yml").resolve() == ROOT / "deploy" / "prometheus" / "alerts.yml"
    assert (CHART / "files" / "dashboards").resolve() == ROOT / "deploy" / "grafana" / "dashboards"


def test_nothing_beyond_the_workers_without_being_asked_for() -> None:
    kinds = sorted(each["kind"] for each in rendered(NEEDED))
    assert kinds == ["ConfigMap", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount", "StatefulSet"]


def test_a_changed_configuration_rolls_the_workers() -> None:
    changed = (*NEEDED, "config=[worker]")
    digests = {
        only("StatefulSet", values)["spec"]["template"]["metadata"]["annotations"]["ringfence/config-digest"]
        for values in (NEEDED, changed)
    }
    assert len(digests) == 2
