"""The controller is killed at many moments, and another goes on: the end is the same, and clients notice nothing."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from .conftest import SYSTEM, Cluster, delete_rollout, manifest, serving, variants
from .figures import FIGURES
from .kubectl import CommandError, apply, eventually, get, items, kubectl
from .load import Load
from .test_traffic import ROW

NAME = "killed"
PODS = "app.kubernetes.io/component=controller"
KILLS = 8

CONTROLLER = "tandem-controller"
"""Name of the Deployment, and of the Lease."""

PROMOTED = "handed-over"
FAILOVER_S = 20.0
"""Within so many seconds after a leader was killed another controller leads."""

AWAY_S = 30.0
"""Within so many seconds after a leader was killed a variant whose pods are gone has no weight any more."""


@pytest.fixture(scope="module", autouse=True)
def _rollout(cluster: Cluster) -> Iterator[None]:
    put(cluster, variants(v1=90, v2=10))
    serving(cluster, NAME, "v1=90 v2=10")
    yield
    delete_rollout(cluster, NAME)


def put(cluster: Cluster, of: list[dict[str, Any]], **spec: Any) -> None:
    apply([manifest(NAME, cluster.namespace, variants=of, scaleDownDelay="5s", **spec)], cluster.namespace)


def kill() -> None:
    """Kill the controller; its Deployment starts another."""
    for pod in items("pods", SYSTEM, PODS):
        kubectl("-n", SYSTEM, "delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force")


def weighted_backends(cluster: Cluster) -> set[str]:
    route = get("httproute", NAME, cluster.namespace)
    (split,) = [rule for rule in route["spec"]["rules"] if rule["name"] == "split"]
    return {backend["name"] for backend in split["backendRefs"] if backend["weight"]}


def without_endpoints(cluster: Cluster) -> set[str]:
    """Services with weight and without a ready endpoint."""
    names = set()
    for name in weighted_backends(cluster):
        slices = items("endpointslices", cluster.namespace, f"kubernetes.io/service-name={name}")
        ready = [
            end
            for endpoint_slice in slices
            for end in endpoint_slice.get("endpoints") or ()
            if end["conditions"].get("ready")
        ]
        if not ready:
            names.add(name)
    return names & weighted_backends(cluster)


def test_a_controller_that_is_killed_again_and_again(cluster: Cluster) -> None:
    rng = random.Random(3)
    url = f"{cluster.gateway}/v1/models/time-estimator:predict"
    with Load(url, cluster.host(NAME), [ROW], rate=100) as sent:
        for number in range(KILLS):
            # new pods for both variants, other weights, and no controller half-way through
            put(
                cluster,
                variants(v1=90 - number, v2=10 + number),
                transformer={"env": [{"name": "N", "value": str(number)}]},
            )
            for _ in range(rng.randint(0, 60)):
                sent.wait(5)
                assert not without_endpoints(cluster)
                if rng.random() < 0.1:
                    break
            kill()
        last = f"v1={90 - KILLS + 1} v2={10 + KILLS - 1}"
        sent.wait_until(lambda: bool(serving(cluster, NAME, last)))
        sent.wait(200)
    assert not without_endpoints(cluster)
    labels = f"tandem-serving.io/rollout={NAME}"
    eventually(lambda: len(items("isvc", cluster.namespace, labels)) == 2, "earlier versions are gone", 120)
    FIGURES.lost += len(sent.failures)
    FIGURES.add(
        f"controller killed {KILLS} times", f"{len(sent.failures)} of {len(sent.samples):,} requests lost, same end"
    )
    assert not sent.failures, sent.failures[:5]


# two controllers, of which one is the leader


@pytest.fixture
def two(cluster: Cluster) -> Iterator[None]:
    """A second controller, which waits for its turn."""
    scale(2)
    eventually(lambda: get("deployment", CONTROLLER, SYSTEM)["status"].get("readyReplicas") == 2, "two are ready", 90)
    yield
    scale(1)


def scale(replicas: int) -> None:
    kubectl("-n", SYSTEM, "scale", f"deployment/{CONTROLLER}", f"--replicas={replicas}")


def leader() -> str:
    """Identity of the leader: the name of its pod and a part of its own; empty where there is none."""
    return str(get("lease", CONTROLLER, SYSTEM)["spec"].get("holderIdentity", ""))


def crash(process: str) -> float:
    """Have the kernel kill the process of a leader, which gets no signal before; returns when it was dead.

    A deleted pod, even by force, is told by SIGTERM to end. Nor can anybody in a container kill its first process: but
    the kernel does, once it has used more processor time than it may, and others of its user may say how much that is.
    """
    code = (
        "import resource, urllib.request\n"
        "resource.prlimit(1, resource.RLIMIT_CPU, (1, 1))\n"
        "while True: urllib.request.urlopen('http://127.0.0.1:8080/metrics').read()"
    )
    pod, _, _ = process.rpartition("_")
    with pytest.raises(CommandError):  # it ends with the container
        kubectl("-n", SYSTEM, "exec", pod, "--", "python", "-c", code)
    return time.monotonic()


def next_leader(process: str) -> str:
    """The leader after another one."""

    def look() -> str | None:
        now = leader()
        return now if now not in ("", process) else None

    return eventually(look, "another one leads", 60)


def test_a_leader_that_is_killed_in_mid_promotion(cluster: Cluster, two: None) -> None:
    steps = [{"weight": 10, "minDuration": "15s"}, {"weight": 50, "minDuration": "15s"}]
    spec = {"scaleDownDelay": "5s", "strategy": {"canary": {"steps": steps, "bake": "15s"}}}

    def ship(version: str) -> None:
        bundle = {"image": f"athlete:{version}"}
        apply([manifest(PROMOTED, cluster.namespace, bundle=bundle, **spec)], cluster.namespace)

    def run() -> dict[str, Any]:
        return dict(get("inferencerollout", PROMOTED, cluster.namespace).get("status", {}).get("run") or {})

    url = f"{cluster.gateway}/v1/models/time-estimator:predict"
    try:
        ship("v1")
        serving(cluster, PROMOTED, "main=100")
        with Load(url, cluster.host(PROMOTED), [ROW], rate=100) as sent:
            ship("v2")
            sent.wait_until(lambda: run().get("weight") == 10)
            before = leader()
            killed = crash(before)
            after = next_leader(before)
            failover = time.monotonic() - killed
            weight, number = run().get("weight"), run()["number"]
            sent.wait_until(lambda: run().get("state") in ("Promoted", "Aborted", "Paused"))
            outcome = run()
            sent.wait(500)
            since = sent.now
            sent.wait(500)
            shares = sent.shares(since)
    finally:
        delete_rollout(cluster, PROMOTED)
    FIGURES.lost += len(sent.failures)
    lost = f"{len(sent.failures)} of {len(sent.samples):,} requests lost"
    FIGURES.add(
        "leader killed in mid-promotion", f"another one leads after {failover:.1f} s; {lost}", "<= 20 s, 0 lost"
    )
    assert weight in (10, 50)  # it was in the middle
    assert (outcome["state"], outcome["number"]) == ("Promoted", number), outcome
    assert set(shares) == {"v2"}
    assert after.rpartition("_")[0] != before.rpartition("_")[0]
    assert not sent.failures, sent.failures[:5]
    assert failover <= FAILOVER_S


def test_weights_leave_a_variant_without_pods_although_the_leader_has_crashed(cluster: Cluster, two: None) -> None:
    put(cluster, variants(v1=90, v2=10))
    status = serving(cluster, NAME, "v1=90 v2=10")
    (service,) = [
        variant["inferenceService"]
        for variant in status["variants"]
        if variant["name"] == "v2" and variant.get("weight")
    ]
    halves = [f"{service}-{half}" for half in ("transformer", "predictor")]
    killed = crash(leader())
    try:
        for half in halves:
            pause = "autoscaling.keda.sh/paused-replicas=0"
            kubectl("-n", cluster.namespace, "annotate", "scaledobject", half, pause, "--overwrite")
            kubectl("-n", cluster.namespace, "scale", f"deployment/{half}", "--replicas=0")
        eventually(lambda: without_endpoints(cluster) or len(weighted_backends(cluster)) == 1, "v2 has no pods", 60)
        gone = time.monotonic()
        eventually(lambda: len(weighted_backends(cluster)) == 1, "weights are away", 90)
        moved = time.monotonic()
        assert not without_endpoints(cluster)
    finally:
        for half in halves:
            pause = "autoscaling.keda.sh/paused-replicas-"
            kubectl("-n", cluster.namespace, "annotate", "scaledobject", half, pause)
    FIGURES.add(
        "weights away from a variant without pods",
        f"{moved - killed:.1f} s after its leader's crash, {moved - gone:.1f} s after the last pod",
        f"<= {AWAY_S:g} s",
    )
    assert moved - killed <= AWAY_S
    # and back, when there are pods again
    serving(cluster, NAME, "v1=90 v2=10")


def test_a_leader_that_is_stopped_is_followed_at_once(cluster: Cluster, two: None) -> None:
    before = leader()
    pod, _, _ = before.rpartition("_")
    kubectl("-n", SYSTEM, "delete", "pod", pod, "--wait=false")
    # no longer than it takes the kubelet to say so, and the one who waits to look
    eventually(lambda: leader() != before, "the leader ends", 60)
    released = time.monotonic()
    next_leader(before)
    FIGURES.add("leader stopped", f"another one leads after {time.monotonic() - released:.1f} s", "about 1 s")
