"""A CronJob of the chart predicts for the rows of a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pyarrow import parquet

from . import images
from .conftest import EXAMPLE, Cluster
from .figures import FIGURES
from .kubectl import eventually, get, items, kubectl, run

NAME = "nightly"
JOB = f"{NAME}-now"


@pytest.fixture
def cron_job(cluster: Cluster, tmp_path: Path) -> Iterator[Cluster]:
    """The CronJob that the chart makes, with the example's tables in a ConfigMap."""
    images.build(images.CLI, images.ROOT / "cli/Dockerfile", images.ROOT)
    tables = [f"--from-file={EXAMPLE / 'data' / name}.parquet" for name in ("races", "training_load", "profile")]
    kubectl("-n", cluster.namespace, "create", "configmap", "tables", *tables)
    arguments = ["--spine=/tables/races.parquet", "--timezone=UTC", "--to=/tmp/predictions"]
    arguments += [f"--table={view}=/tables/{view}.parquet" for view in ("training_load", "profile")]
    job = {
        "schedule": "0 0 1 1 *",
        "suspend": True,
        "arguments": arguments,
        "backoffLimit": 0,
        "resources": {"limits": {"memory": "2Gi"}},
        "volumes": [{"name": "tables", "configMap": {"name": "tables"}}],
        "volumeMounts": [{"name": "tables", "mountPath": "/tables"}],
    }
    values = {"spec": {"bundle": {"image": "athlete:v1"}}, "batch": {"image": images.CLI, "jobs": {NAME: job}}}
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump({"name": "e2e", **values}))
    chart = str(images.ROOT / "charts/model")
    only = ("--show-only", "templates/batch.yaml")
    rendered = run("helm", "template", "e2e", chart, "-n", cluster.namespace, "-f", str(file), *only)
    kubectl("-n", cluster.namespace, "apply", "-f", "-", stdin=rendered)
    yield cluster
    kubectl("-n", cluster.namespace, "delete", "cronjob", f"e2e-{NAME}", "--wait=true")
    kubectl("-n", cluster.namespace, "delete", "configmap", "tables")


def test_a_job_predicts_for_every_row_of_a_table(cron_job: Cluster) -> None:
    namespace = cron_job.namespace
    kubectl("-n", namespace, "create", "job", JOB, f"--from=cronjob/e2e-{NAME}")

    def ended() -> bool:
        return any(
            condition["status"] == "True" for condition in get("job", JOB, namespace)["status"].get("conditions", ())
        )

    eventually(ended, "the job has ended", 180)
    status = get("job", JOB, namespace)["status"]
    (pod,) = items("pods", namespace, f"batch.kubernetes.io/job-name={JOB}")
    log = kubectl("-n", namespace, "logs", pod["metadata"]["name"], "-c", "batch")
    assert status.get("succeeded") == 1, log
    # what a person would see goes to standard error, before the document
    summary = json.loads(log[log.index("{") :])
    rows = parquet.read_metadata(EXAMPLE / "data/races.parquet").num_rows
    assert (summary["rows"], summary["rowsWritten"]) == (rows, rows)
    assert summary["digest"] == cron_job.trained["v1"].bundle.digest
    FIGURES.add("CronJob of the chart", f"{rows:,} rows in {summary['seconds']:.1f} s")
