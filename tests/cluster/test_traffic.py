"""Weights, switches and pods that come and go, under open-loop load: nothing is lost, and the split is as set."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from . import images
from .conftest import Cluster, delete_rollout, manifest, serving, variants
from .figures import FIGURES
from .kubectl import apply, eventually, get, items, kubectl, run
from .load import Load

NAME = "traffic"
ROW = {"athlete_id": "a17", "current_pace": 345.0, "ts": "2005-04-03T12:00:00Z"}
REQUESTS = 10_000
TOLERANCE = 0.02
SCALING = {half: {"minReplicas": 1, "maxReplicas": 3, "scaleDownAfter": "10s"} for half in ("transformer", "predictor")}


def load(cluster: Cluster, **options: Any) -> Load:
    url = f"{cluster.gateway}/v1/models/time-estimator:predict"
    return Load(url, cluster.host(NAME), [ROW], **options)


def put(cluster: Cluster, **spec: Any) -> None:
    apply([manifest(NAME, cluster.namespace, scaleDownDelay="15s", autoscaling=SCALING, **spec)], cluster.namespace)


def nothing_lost(name: str, sent: Load) -> None:
    lost = [f"{sample.at:.1f} s: {sample.failure}" for sample in sent.failures]
    FIGURES.lost += len(lost)
    FIGURES.add(name, f"{len(lost)} of {len(sent.samples):,} requests lost", "0 of >= 10,000")
    assert not lost, lost[:10]
    assert len(sent.samples) >= REQUESTS


def split_is(sent: Load, since: float, weights: dict[str, float]) -> None:
    measured = sent.shares(since, sent.now)
    text = ", ".join(f"{name} {share:.1%} set, {measured.get(name, 0):.1%} measured" for name, share in weights.items())
    FIGURES.add("split", text, "within 2 points")
    assert all(abs(measured.get(name, 0.0) - share) <= TOLERANCE for name, share in weights.items()), text


@pytest.fixture(scope="module", autouse=True)
def _rollout(cluster: Cluster) -> Iterator[None]:
    put(cluster, variants=variants(v1=90, v2=10))
    serving(cluster, NAME, "v1=90 v2=10")
    yield
    delete_rollout(cluster, NAME)


@pytest.mark.core
def test_weights_move_and_the_split_follows(cluster: Cluster) -> None:
    with load(cluster, rate=250) as sent:
        for v1, v2, requests in ((90, 10, 8_000), (50, 50, 8_000), (0, 100, 2_000), (90, 10, 5_000)):
            put(cluster, variants=variants(v1=v1, v2=v2))
            weights = " ".join(f"{name}={weight}" for name, weight in (("v1", v1), ("v2", v2)) if weight)
            pins_hit(cluster, 25)  # while the gateway changes its mind
            sent.wait_until(lambda weights=weights: bool(serving(cluster, NAME, weights)))  # type: ignore[misc]
            sent.wait(1_250)  # a gateway takes up to three seconds
            since = sent.now
            sent.wait(requests)
            split_is(sent, since, {"v1": v1 / 100, "v2": v2 / 100})
    nothing_lost("90/10, 50/50, 0/100, 90/10", sent)


def test_the_pin_and_versioned_paths_always_hit(cluster: Cluster) -> None:
    pins_hit(cluster, 100)
    FIGURES.add("pinned by header and by path", "100 of 100 each, and 25 each during every change of weights", "always")


def pins_hit(cluster: Cluster, times: int) -> None:
    """Ask for each variant by its header and by the version in the path."""
    for version in ("v1", "v2"):
        for path, headers in (("", ["-H", f"x-model-variant: {version}"]), (f"/versions/{version}", [])):
            assert {_curl(cluster, path, headers) for _ in range(times)} == {version}


def test_an_image_is_rolled_without_a_lost_request(cluster: Cluster) -> None:
    images.build_next_transformer()
    with load(cluster, rate=200) as sent:
        sent.wait(1_000)
        before = {variant["inferenceService"] for variant in serving(cluster, NAME, "v1=90 v2=10")["variants"]}
        put(cluster, variants=variants(v1=90, v2=10), transformer={"image": images.NEXT_TRANSFORMER})
        sent.wait_until(lambda: _serving_names(cluster).isdisjoint(before))
        sent.wait_until(
            lambda: not before & {service["metadata"]["name"] for service in items("isvc", cluster.namespace)}
        )
        # a pod that is going finishes what it has for some seconds after its InferenceService
        sent.wait_until(lambda: _transformer_images(cluster) == {images.NEXT_TRANSFORMER})
        sent.wait(max(1_000, REQUESTS - len(sent.samples)))
    nothing_lost("another image of the transformer for both variants", sent)


def _transformer_images(cluster: Cluster) -> set[str]:
    labels = f"tandem-serving.io/rollout={NAME},component=transformer"
    pods = items("pods", cluster.namespace, labels)
    return {pod["spec"]["containers"][0]["image"] for pod in pods}


def test_pods_go_without_a_lost_request(cluster: Cluster) -> None:
    with load(cluster, rate=200) as sent:
        for half in ("predictor", "transformer"):
            (name,) = {scaled_object["spec"]["scaleTargetRef"]["name"] for scaled_object in _scaled(cluster, half)}
            _pause(cluster, name, "3")
            sent.wait_until(lambda half=half: len(_ready(cluster, half)) == 3)  # type: ignore[misc]
            kubectl("-n", cluster.namespace, "delete", "pod", _ready(cluster, half)[0], "--wait=false")
            sent.wait(1_500)
            _pause(cluster, name, "1")
            sent.wait_until(lambda half=half: len(_ready(cluster, half)) == 1)  # type: ignore[misc]
            kubectl("-n", cluster.namespace, "annotate", "scaledobject", name, "autoscaling.keda.sh/paused-replicas-")
        sent.wait(max(1_000, REQUESTS - len(sent.samples)))
    nothing_lost("pods scaled up and down, one of each half deleted", sent)


@pytest.mark.parametrize("protocol", ["v2", "grpc-v2"])
def test_predictor_pods_get_their_share_within_ten_seconds_and_go_unnoticed(cluster: Cluster, protocol: str) -> None:
    spoken = {} if protocol == "v2" else {"predictor": {"protocol": protocol}}
    put(cluster, variants=variants(v1=90, v2=10), **spoken)
    eventually(lambda: _speak(cluster, protocol), f"predictors are called by {protocol}", 120)
    with load(cluster, rate=150) as sent:
        (name,) = {scaled_object["spec"]["scaleTargetRef"]["name"] for scaled_object in _scaled(cluster, "predictor")}
        _pause(cluster, name, "2")
        sent.wait_until(lambda: len(_ready(cluster, "predictor")) == 2)
        ready = sent.now
        newest = _newest(cluster)
        sent.wait_until(lambda: _answered(cluster, newest) > 50, seconds=30)
        seconds = sent.now - ready
        oldest = _ready(cluster, "predictor")[0]
        kubectl("-n", cluster.namespace, "delete", "pod", oldest, "--wait=false")
        sent.wait_until(lambda: len(_ready(cluster, "predictor")) == 2 and oldest not in _ready(cluster, "predictor"))
        sent.wait(750)
        _pause(cluster, name, "1")
        sent.wait_until(lambda: len(_ready(cluster, "predictor")) == 1)
        sent.wait(750)
    kubectl("-n", cluster.namespace, "annotate", "scaledobject", name, "autoscaling.keda.sh/paused-replicas-")
    FIGURES.add(f"a new predictor pod gets calls by {protocol} after", f"{seconds:.1f} s", "<= 10 s")
    title = f"predictor pods deleted and scaled down, called by {protocol}"
    FIGURES.add(title, f"{len(sent.failures)} of {len(sent.samples):,} requests lost", "0")
    FIGURES.lost += len(sent.failures)
    assert not sent.failures, sent.failures[:5]
    assert seconds <= 10


def test_blue_green_switches_and_back(cluster: Cluster) -> None:
    def coloured(active: str) -> dict[str, Any]:
        both = [{"name": name, "bundle": {"image": f"athlete:{name}"}} for name in ("v1", "v2")]
        return {"variants": both, "strategy": {"blueGreen": {"active": active}}}

    put(cluster, **coloured("v1"))
    serving(cluster, NAME, "v1=100")
    with load(cluster, rate=250) as sent:
        sent.wait(2_000)
        assert set(sent.shares(0)) == {"v1"}
        preview = _curl(cluster, "", [], host=f"preview-{cluster.host(NAME)}")
        for active in ("v2", "v1"):
            put(cluster, **coloured(active))
            sent.wait_until(lambda active=active: bool(serving(cluster, NAME, f"{active}=100")))  # type: ignore[misc]
            sent.wait(500)
            since = sent.now
            sent.wait(2_500)
            assert set(sent.shares(since)) == {active}
        sent.wait(max(100, REQUESTS - len(sent.samples)))
    assert preview == "v2"
    nothing_lost("blue/green switch and back", sent)


def test_sticky_units_never_change_sides_while_a_weight_rises(cluster: Cluster) -> None:
    sticky = {"strategy": {"abTest": {"header": "x-user-id"}}}
    put(cluster, variants=variants(v1=90, v2=10), **sticky)
    serving(cluster, NAME, "v1=90 v2=10")
    with load(cluster, rate=250, header="x-user-id", units=2_000) as sent:
        sent.wait(1_000)  # the policy reaches the gateway
        began = sent.now
        for weight in (10, 30, 50):
            put(cluster, variants=variants(v1=100 - weight, v2=weight), **sticky)
            weights = f"v1={100 - weight} v2={weight}"
            sent.wait_until(lambda weights=weights: bool(serving(cluster, NAME, weights)))  # type: ignore[misc]
            sent.wait(750)
            since = sent.now
            sent.wait(2_250)
            measured = sent.shares(since).get("v2", 0)
            FIGURES.add("sticky split", f"{weight} % set, {measured:.1%} measured of 2,000 units")
            assert abs(measured - weight / 100) <= 0.04
        before = _serving_names(cluster)
        rolled = {"transformer": {"env": [{"name": "ROLLED", "value": "again"}]}}
        put(cluster, variants=variants(v1=50, v2=50), **sticky, **rolled)
        sent.wait_until(lambda: len(_serving_names(cluster) - before) == 2)
        sent.wait(2_500)  # what was replaced leaves the route meanwhile
    history = defaultdict(list)
    for sample in sorted(sent.samples, key=lambda sample: sample.at):
        if sample.at >= began and not sample.failure:
            history[sample.unit].append(sample.variant)
    flipped = [unit for unit, versions in history.items() if sorted(versions) != versions]
    title = "units that left v2 while its weight rose and both versions were replaced"
    FIGURES.add(title, f"{len(flipped)} of {len(history):,}", "0")
    assert not flipped, flipped[:10]
    nothing_lost("sticky 10 %, 30 %, 50 %, new pods for both", sent)


def _curl(cluster: Cluster, path: str, headers: list[str], host: str = "") -> str:
    url = f"{cluster.gateway}/v1/models/time-estimator{path}:predict"
    sent = ["-H", f"host: {host or cluster.host(NAME)}", "-H", "content-type: application/json", *headers]
    text = run("curl", "-s", "-m", "5", url, *sent, "-d", json.dumps({"instances": [ROW]}))
    return str(json.loads(text)["model_version"])


def _serving_names(cluster: Cluster) -> set[str]:
    status = get("inferencerollout", NAME, cluster.namespace).get("status", {})
    return {variant["inferenceService"] for variant in status.get("variants", ()) if variant.get("weight")}


def _speak(cluster: Cluster, protocol: str) -> bool:
    """Whether what serves calls its predictors by a protocol."""
    names = _serving_names(cluster)
    services = [get("inferenceservice", name, cluster.namespace) for name in names]
    flag = f"--predictor_protocol={protocol}"
    serving(cluster, NAME, "v1=90 v2=10")
    return all(flag in service["spec"]["transformer"]["containers"][0]["args"] for service in services)


def _labels(cluster: Cluster, half: str) -> str:
    """Of the pods of a half of what serves v1 now."""
    (name,) = [name for name in _serving_names(cluster) if name.startswith(f"{NAME}-v1-")]
    return f"serving.kserve.io/inferenceservice={name},component={half}"


def _ready(cluster: Cluster, half: str) -> list[str]:
    return [
        pod["metadata"]["name"]
        for pod in sorted(
            items("pods", cluster.namespace, _labels(cluster, half)),
            key=lambda pod: str(pod["metadata"]["creationTimestamp"]),
        )
        if not pod["metadata"].get("deletionTimestamp")
        and any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in pod["status"].get("conditions", ())
        )
    ]


def _newest(cluster: Cluster) -> str:
    pods = items("pods", cluster.namespace, _labels(cluster, "predictor"))
    return str(max(pods, key=lambda pod: str(pod["metadata"]["creationTimestamp"]))["status"]["podIP"])


def _answered(cluster: Cluster, address: str) -> float:
    """Requests that a predictor pod has answered."""
    text = run("curl", "-s", "-m", "3", f"http://{address}:8080/metrics")
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("tandem_predictor_requests_total") and 'code="ok"' in line
    )


def _scaled(cluster: Cluster, half: str) -> list[dict[str, Any]]:
    labels = f"tandem-serving.io/rollout={NAME},tandem-serving.io/variant=v1"
    serving_now = _serving_names(cluster)
    return [
        scaled_object
        for scaled_object in items("scaledobject", cluster.namespace, labels)
        if scaled_object["metadata"]["name"].endswith(half)
        and scaled_object["metadata"]["name"].removesuffix(f"-{half}") in serving_now
    ]


def _pause(cluster: Cluster, name: str, replicas: str) -> None:
    paused = f"autoscaling.keda.sh/paused-replicas={replicas}"
    kubectl("-n", cluster.namespace, "annotate", "scaledobject", name, paused, "--overwrite")
