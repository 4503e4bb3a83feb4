"""The chart ``model``: StatefulSets that predict for streams."""

from __future__ import annotations

import re
from typing import Any

import helm_python
import pytest
from charts.model_schema import schema
from tests.charts.rendered import CHARTS, Objects, charts, one, template
from typer.testing import CliRunner

from tandem_cli.__main__ import app

BUNDLE = {"image": "registry.example.com/athlete/time-estimator:v1"}
RACES = {"source": "kafka://kafka:9092/races", "sink": "kafka://kafka:9092/times"}


def model(worker: dict[str, Any], **spec: Any) -> Objects:
    values = {"name": "time-estimator", "spec": {"bundle": BUNDLE, **spec}, "stream": {"workers": {"races": worker}}}
    return template("model", values)


def container(objects: Objects) -> dict[str, Any]:
    (only,) = one(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def test_the_command_of_a_worker_is_one_that_the_command_line_takes() -> None:
    for stateful_set in (
        manifest for manifest in charts()["model/stream-values.yaml"] if manifest["kind"] == "StatefulSet"
    ):
        (worker,) = stateful_set["spec"]["template"]["spec"]["containers"]
        arguments = [argument for argument in worker["args"] if not argument.startswith("--kafka-properties=")]
        result = CliRunner().invoke(app, arguments)
        # options that do not exist would be named first
        assert "'/mnt/models' does not exist" in " ".join(result.output.split())


def test_a_worker_reads_the_store_of_the_rollout() -> None:
    assert "--store=redis://valkey:6379/0" in container(model(RACES, store={"url": "redis://valkey:6379/0"}))["args"]
    secret = container(model(RACES, store={"url": "redis://:secret@valkey:6379/0"}))
    assert not [argument for argument in secret["args"] if "secret" in argument or "--store=" in argument]
    (variable,) = secret["env"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "time-estimator-store", "key": "url"}
    reference = {"name": "valkey", "key": "address"}
    own = container(model(RACES | {"env": [{"name": "A", "value": "b"}]}, store={"urlFrom": reference}))
    assert [entry["name"] for entry in own["env"]] == ["TANDEM_STORE", "A"]
    assert own["env"][0]["valueFrom"]["secretKeyRef"] == reference


def test_the_lag_of_the_group_that_a_worker_joins_scales_its_stateful_set() -> None:
    objects = model(RACES | {"scaling": {"maxReplicas": 4}})
    scaled, stateful_set = one(objects, "ScaledObject")["spec"], one(objects, "StatefulSet")
    assert scaled["scaleTargetRef"]["name"] == stateful_set["metadata"]["name"]
    assert "replicas" not in stateful_set["spec"]
    (trigger,) = scaled["triggers"]
    lag = trigger["metadata"]
    assert (lag["bootstrapServers"], lag["topic"], lag["lagThreshold"]) == ("kafka:9092", "races", "10000")
    assert f"--group={lag['consumerGroup']}" in container(objects)["args"]
    assert not [manifest for manifest in model(RACES | {"replicas": 0}) if manifest["kind"] == "ScaledObject"]
    assert one(model(RACES | {"replicas": 0}), "StatefulSet")["spec"]["replicas"] == 0


def test_services_and_monitors_select_the_pods_of_workers() -> None:
    objects = charts()["model/stream-values.yaml"]
    for stateful_set in (manifest for manifest in objects if manifest["kind"] == "StatefulSet"):
        labels = stateful_set["spec"]["template"]["metadata"]["labels"].items()
        service = one(objects, "Service", stateful_set["spec"]["serviceName"])
        for selector in (
            stateful_set["spec"]["selector"]["matchLabels"],
            service["spec"]["selector"],
            one(objects, "PodMonitor")["spec"]["selector"]["matchLabels"],
        ):
            assert selector.items() <= labels
    selectors = [tuple(manifest["spec"]["selector"].items()) for manifest in objects if manifest["kind"] == "Service"]
    assert len(set(selectors)) == len(selectors) == 2


@pytest.mark.parametrize(
    ("worker", "reason"),
    [
        ({"source": RACES["source"]}, "sink"),
        (RACES | {"sink": "times"}, "sink"),
        (RACES | {"scaling": {"minReplicas": 1}}, "maxReplicas"),
        (RACES | {"bundle": {"uri": "s3://models/v1"}}, "uri"),
    ],
)
def test_a_worker_that_cannot_run_is_refused(worker: dict[str, Any], reason: str) -> None:
    with pytest.raises(helm_python.HelmValuesError, match=reason):
        model(worker)


def test_every_field_of_jobs_and_workers_is_described() -> None:
    text = (CHARTS / "model" / "README.md.gotmpl").read_text()
    described = set(re.findall(r"`([a-zA-Z]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", text, re.MULTILINE))))
    properties = schema()["properties"]
    (job,) = properties["batch"]["properties"]["jobs"]["patternProperties"].values()
    (worker,) = properties["stream"]["properties"]["workers"]["patternProperties"].values()
    assert described == job["properties"].keys() | worker["properties"].keys()
