"""`helm install` of both charts, and answers that are right by every protocol."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from . import images
from .ask import by_grpc, by_v1, by_v2, rows
from .conftest import SYSTEM, Cluster, delete_rollout, serving, variants
from .figures import FIGURES
from .kubectl import get, items, kubectl, run

NAME = "time-estimator"

pytestmark = pytest.mark.core


@pytest.fixture(scope="module")
def installed(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    values = {
        "name": NAME,
        "spec": {
            "model": NAME,
            "variants": variants(v1=90, v2=10),
            "store": {"url": "redis://store:6379/0"},
            "transformer": {"args": ["--explain"]},
        },
        "test": {"image": images.TRANSFORMER, "gateway": cluster.gateway, "timeout": 60},
    }
    file = Path(tmp_path_factory.mktemp("values")) / "values.json"
    file.write_text(json.dumps(values))
    chart = str(images.ROOT / "charts/model")
    run("helm", "upgrade", "--install", "model", chart, "-n", cluster.namespace, "-f", str(file))
    serving(cluster, NAME, "v1=90 v2=10")
    return cluster


def test_predictions_are_right_and_vectors_equal_bit_for_bit(installed: Cluster) -> None:
    from checks import check_answers
    from races import read_races

    races = read_races().sample(2_000, random_state=3, ignore_index=True)
    instances = rows(installed.trained["v1"].bundle, races)
    answers = asyncio.run(by_v1(installed.gateway, installed.host(NAME), instances))
    for line in check_answers(installed.trained, races, answers):
        FIGURES.add("V1 through the gateway", line)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_every_protocol_gives_the_same_predictions(installed: Cluster, version: str) -> None:
    from races import read_races

    instances = rows(installed.trained[version].bundle, read_races().head(20))
    host = installed.host(NAME)
    answers = asyncio.run(by_v1(installed.gateway, host, instances, x_model_variant=version))
    expected = [answer.prediction["predicted_time_s"] for answer in answers]
    by_rest = asyncio.run(by_v2(installed.gateway, host, instances, version=version))
    by_rpc = asyncio.run(by_grpc(installed.gateway, host, instances, variant=version))
    assert by_rest[0] == by_rpc[0] == version
    # ONNX Runtime's last bits differ with the size of a batch
    np.testing.assert_allclose(by_rest[1], expected, rtol=1e-5)
    np.testing.assert_allclose(by_rpc[1], expected, rtol=1e-5)


def test_helm_test_passes(installed: Cluster) -> None:
    run("helm", "test", "model", "-n", installed.namespace, "--timeout=120s")


def test_the_pods_are_admitted_as_restricted_and_ready_in_time(installed: Cluster) -> None:
    seconds = [
        _seconds_to_ready(pod) for pod in items("pods", installed.namespace, f"tandem-serving.io/rollout={NAME}")
    ]
    assert len(seconds) == 4
    FIGURES.add("pods ready after their containers started", f"{max(seconds):g} s at most", "<= 5 s")
    FIGURES.single["ready_s"] = max(seconds)
    assert max(seconds) <= 5


def test_the_transformer_image_is_small(installed: Cluster) -> None:
    (pod, *_) = items("pods", installed.namespace, "component=transformer")
    used = kubectl("-n", installed.namespace, "exec", pod["metadata"]["name"], "--", "du", "-sm", "/opt/tandem")
    megabytes = int(used.split()[0])
    FIGURES.add("transformer image beyond its base", f"{megabytes} MB", "<= 180 MB")
    FIGURES.single["transformer_mb"] = megabytes
    assert megabytes <= 180


def test_the_controller_has_restarted_never(installed: Cluster) -> None:
    (pod,) = items("pods", SYSTEM, "app.kubernetes.io/component=controller")
    assert [status["restartCount"] for status in pod["status"]["containerStatuses"]] == [0]


def test_uninstalling_leaves_nothing(installed: Cluster) -> None:
    run("helm", "uninstall", "model", "-n", installed.namespace, "--wait")
    delete_rollout(installed, NAME)
    assert not items("httproute", installed.namespace)
    assert not items("scaledobject", installed.namespace)


def _seconds_to_ready(pod: dict[str, object]) -> float:
    status = get("pod", pod["metadata"]["name"], pod["metadata"]["namespace"])["status"]  # type: ignore[index]
    started = max(_time(container["state"]["running"]["startedAt"]) for container in status["containerStatuses"])
    (ready,) = [condition["lastTransitionTime"] for condition in status["conditions"] if condition["type"] == "Ready"]
    return (_time(ready) - started).total_seconds()


def _time(stamp: str) -> datetime:
    return datetime.fromisoformat(stamp)
