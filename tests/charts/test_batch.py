"""The chart ``model``: CronJobs that predict in batch."""

from __future__ import annotations

import re
from typing import Any

import helm_python
import pytest
from tests.charts.rendered import Objects, charts, one, template
from typer.testing import CliRunner

from tandem_cli.__main__ import app

BUNDLE = {"image": "registry.example.com/athlete/time-estimator:v1"}
DAILY = {"schedule": "15 3 * * *", "arguments": ["--latest", "--to=/data"]}


def model(job: dict[str, Any], *, name: str = "daily", spec: dict[str, Any] | None = None) -> Objects:
    values = {"name": "time-estimator", "spec": spec or {"bundle": BUNDLE}, "batch": {"jobs": {name: job}}}
    return template("model", values)


def pod(objects: Objects) -> dict[str, Any]:
    spec: dict[str, Any] = one(objects, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return spec


def test_a_job_predicts_with_the_version_of_the_rollout_or_its_own() -> None:
    assert pod(model(DAILY))["initContainers"][0]["image"] == BUNDLE["image"]
    assert pod(model(DAILY | {"bundle": {"image": "athlete:v0"}}))["initContainers"][0]["image"] == "athlete:v0"
    claimed = pod(model(DAILY | {"bundle": {"pvc": {"claimName": "models", "path": "v0"}}}))
    assert "initContainers" not in claimed
    mount = claimed["containers"][0]["volumeMounts"][0]
    assert mount == {"name": "bundle", "mountPath": "/mnt/models", "readOnly": True, "subPath": "v0"}


def test_the_command_of_a_job_is_one_that_the_command_line_takes() -> None:
    for cron_job in (manifest for manifest in charts()["model/batch-values.yaml"] if manifest["kind"] == "CronJob"):
        (container,) = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
        result = CliRunner().invoke(app, container["args"])
        # options that do not exist would be named first
        assert "'/mnt/models' does not exist" in result.output


def test_a_run_that_fails_is_started_again_unless_its_command_line_is_invalid() -> None:
    job = one(model(DAILY), "CronJob")["spec"]["jobTemplate"]["spec"]
    assert job["backoffLimit"] == 3
    (rule,) = job["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["values"]) == ("FailJob", [2])
    assert one(model(DAILY | {"backoffLimit": 0}), "CronJob")["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0


def test_only_a_job_with_a_service_account_gets_a_token() -> None:
    assert pod(model(DAILY))["automountServiceAccountToken"] is False
    assert pod(model(DAILY | {"serviceAccountName": "tables"}))["automountServiceAccountToken"] is True


def test_each_job_has_an_alert_for_its_own_series() -> None:
    objects = charts()["model/batch-values.yaml"]
    rule = one(objects, "PrometheusRule")
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    (group,) = rule["spec"]["groups"]
    hours = {}
    for alert in group["rules"]:
        (cron_job,) = set(re.findall(r'cronjob="([^"]*)"', alert["expr"]))
        hours[cron_job] = int(alert["expr"].rsplit(maxsplit=1)[1]) / 3600
    assert hours == {"time-estimator-daily": 26, "time-estimator-weekly": 170}
    assert hours.keys() == {manifest["metadata"]["name"] for manifest in objects if manifest["kind"] == "CronJob"}


@pytest.mark.parametrize(
    ("job", "spec", "reason"),
    [
        ({"schedule": "@daily"}, None, "arguments"),
        (DAILY | {"parallelism": 2}, None, "parallelism"),
        (DAILY | {"bundle": {"uri": "s3://models/v1"}}, None, "uri"),
        (DAILY, {"bundle": {"uri": "s3://models/v1"}}, r"batch\.jobs\.daily\.bundle: give image or pvc"),
        (DAILY, {"variants": [{"name": "v1", "bundle": BUNDLE}]}, r"batch\.jobs\.daily\.bundle is required"),
    ],
)
def test_a_job_that_cannot_run_is_refused(job: dict[str, Any], spec: dict[str, Any] | None, reason: str) -> None:
    with pytest.raises((helm_python.HelmValuesError, helm_python.HelmRenderError), match=reason):
        model(job, spec=spec)


def test_the_name_of_a_cron_job_is_as_long_as_kubernetes_allows() -> None:
    longest = template("model", {"name": "m" * 22, "spec": {"bundle": BUNDLE}, "batch": {"jobs": {"j" * 28: DAILY}}})
    # Kubernetes adds 11 characters to the names of Jobs
    assert len(one(longest, "CronJob")["metadata"]["name"]) <= 52
    with pytest.raises(helm_python.HelmRenderError, match="more than 28 characters"):
        model(DAILY, name="j" * 29)
