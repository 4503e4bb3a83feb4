"""A tag that is moved to another bundle changes nothing that serves."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from . import images
from .conftest import Cluster, delete_rollout, manifest, serving
from .figures import FIGURES
from .kubectl import apply, items, kubectl
from .load import Load
from .test_canary import held, ready
from .test_traffic import ROW

NAME = "retagged"
IMAGE = "athlete:moved"
HALVES = ("transformer", "predictor")


@pytest.fixture(autouse=True)
def _rollout(cluster: Cluster) -> Iterator[None]:
    images.build_bundle(IMAGE, cluster.trained["v1"].bundle)
    scaling = {half: {"minReplicas": 1, "maxReplicas": 2} for half in HALVES}
    apply([manifest(NAME, cluster.namespace, bundle={"image": IMAGE}, autoscaling=scaling)], cluster.namespace)
    yield
    delete_rollout(cluster, NAME)


def test_pods_that_start_after_a_tag_was_moved_do_not_serve(cluster: Cluster) -> None:
    service = serving(cluster, NAME, "main=100")["variants"][0]["inferenceService"]
    images.build_bundle(IMAGE, cluster.trained["v2"].bundle)
    before = _pods(cluster, service)
    with Load(f"{cluster.gateway}/v1/models/time-estimator:predict", cluster.host(NAME), [ROW], rate=50) as sent:
        held(cluster, service, 2)
        sent.wait_until(lambda: len(_refused(cluster, service) - before) == len(HALVES))
        # the pods that the pin has replaced are ready until they have ended
        sent.wait_until(lambda: set(ready(cluster, service).values()) == {1})
        sent.wait(500)
        assert set(ready(cluster, service).values()) == {1}
        for pod in _refused(cluster, service) - before:
            log = kubectl("-n", cluster.namespace, "logs", pod, "-c", "kserve-container", "--previous")
            assert cluster.trained["v1"].bundle.digest[:8] in log
        images.build_bundle(IMAGE, cluster.trained["v1"].bundle)
        for pod in _pods(cluster, service) - before:
            kubectl("-n", cluster.namespace, "delete", "pod", pod, "--wait=false")
        sent.wait_until(lambda: set(ready(cluster, service).values()) == {2})
        sent.wait(100)
    FIGURES.lost += len(sent.failures)
    FIGURES.add("pods after a tag was moved", f"never ready; {len(sent.failures)} of {len(sent.samples):,} lost", "0")
    assert not sent.failures, sent.failures[:5]
    assert set(sent.shares(0)) == {"v1"}


def _pods(cluster: Cluster, service: str) -> set[str]:
    labels = f"serving.kserve.io/inferenceservice={service}"
    return {pod["metadata"]["name"] for pod in items("pods", cluster.namespace, labels)}


def _refused(cluster: Cluster, service: str) -> set[str]:
    """Pods whose program has ended with an error."""
    labels = f"serving.kserve.io/inferenceservice={service}"
    return {
        pod["metadata"]["name"]
        for pod in items("pods", cluster.namespace, labels)
        if any(
            status.get("lastState", {}).get("terminated", {}).get("exitCode") == 1
            for status in pod["status"].get("containerStatuses", ())
        )
    }
