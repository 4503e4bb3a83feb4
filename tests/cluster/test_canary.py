"""Canaries on the cluster, decided on what Prometheus has counted, under open-loop load."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from faults import SLOW_FINISH_S

from tandem import Bundle
from tandem_rollout.analysis.window import ROUTE_DELAY_S
from tandem_rollout.api.analysis import Metric
from tandem_rollout.simulation.forecast import predicted_requests
from tandem_rollout.simulation.traffic import EventRates, Traffic, tilted

from . import images, prometheus
from .ask import by_v2, rows
from .conftest import EXAMPLE, SYSTEM, Cluster, delete_rollout, manifest, serving
from .figures import FIGURES
from .kubectl import apply, get, items, kubectl, run
from .load import Load

NAME = "shipped"
RATE = 120
PODS = 2
"""Pods of each half of stable."""

KNOWN = 6_000
"""Requests of stable that Prometheus has counted before a version is shipped: 5,000 tell what a slow one is."""

FIRST, SECOND = 10, 50
STEPS = [{"weight": FIRST, "minDuration": "45s"}, {"weight": SECOND, "minDuration": "15s"}]
INTERVAL_S, WARMUP_S = 5.0, 10.0
SCRAPES_S = 5.0
"""Seconds between two scrapes of the cluster's Prometheus."""

GATES: list[dict[str, Any]] = [
    {"type": "errors"},
    {"type": "errors", "where": "pods"},
    {"type": "latency"},
    {"type": "degraded"},
    # by default it takes 1,000 rows, of which there are fewer before the second step: the first is to find it
    {"type": "drift", "minRequests": 300},
]
ANALYSIS = {
    "interval": f"{INTERVAL_S:g}s",
    "warmup": f"{WARMUP_S:g}s",
    "timeout": "6m",
    "onTimeout": "abort",
    "metrics": GATES,
}
STRATEGY = {"canary": {"steps": STEPS, "bake": "15s", "progressDeadline": "3m"}}
SCALING = {half: {"minReplicas": 1, "maxReplicas": 3, "scaleDownAfter": "10s"} for half in ("transformer", "predictor")}

ERRORS = 0.05
"""Share of the requests that the version v2-errors answers with 500."""

DELAY_S = 0.02
"""What the version v2-latency waits for each batch: three times what an answer takes."""


REPORTED = [metric if metric["type"] == "latency" else {**metric, "gate": False} for metric in GATES]
"""Only latency decides."""

BURST = 15
"""Answers of 500 in the second after a step."""


def put(cluster: Cluster, version: str, gates: list[dict[str, Any]] = GATES) -> None:
    """Ask for a version."""
    spec = {
        "bundle": {"image": f"athlete:{version}"},
        "strategy": STRATEGY,
        "analysis": {**ANALYSIS, "metrics": gates},
        "autoscaling": SCALING,
        "scaleDownDelay": "5s",
    }
    apply([manifest(NAME, cluster.namespace, **spec)], cluster.namespace)


@pytest.fixture(scope="module")
def instances(cluster: Cluster) -> list[dict[str, Any]]:
    """Rows of real finishers, in an order that does not matter."""
    from races import read_races

    return rows(cluster.trained["v1"].bundle, read_races().sample(3_000, random_state=5, ignore_index=True))


@pytest.fixture(scope="module", autouse=True)
def _stable(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Version v1 serves, and there are images of the faulty ones."""
    bundles = tmp_path_factory.mktemp("faulty")
    # another process: what it trains is of another source than what was trained here
    build = [str(EXAMPLE / "faults.py"), str(bundles), "errors", "latency", "drift", f"--delay-s={DELAY_S}"]
    subprocess.run([sys.executable, *build], check=True, cwd=EXAMPLE)
    for path in sorted(Path(bundles).iterdir()):
        bundle = Bundle.open(path)
        images.build_bundle(f"athlete:{bundle.version}", bundle)
    put(cluster, "v1")
    serving(cluster, NAME, "main=100")
    yield
    prometheus.scale(1)
    controller(cluster, 1)
    delete_rollout(cluster, NAME)


@dataclass
class Watched:
    """A run, and what was seen of it.

    Attributes:
        cluster: The cluster.
        sent: The load.
        states: States with their weights, in order.
        pods: Fewest ready pods of a half of stable, by state.
        before: The version that served before.
    """

    cluster: Cluster
    sent: Load
    before: str = ""
    states: list[str] = field(default_factory=list)
    pods: dict[str, int] = field(default_factory=dict)

    @property
    def run(self) -> dict[str, Any]:
        """Status of the run."""
        status = get("inferencerollout", NAME, self.cluster.namespace).get("status", {})
        run_status: dict[str, Any] = status.get("run") or {}
        return run_status

    def look(self) -> dict[str, Any]:
        """Look at the run, and at what stable has."""
        run_status = self.run
        state = f"{run_status.get('state')} {run_status.get('weight', 0)}"
        if self.states[-1:] != [state]:
            self.states.append(state)
        if run_status:
            least = min(ready(self.cluster, run_status["stable"]).values())
            self.pods[run_status["state"]] = min(self.pods.get(run_status["state"], least), least)
        return run_status

    def until(self, *states: str, seconds: float = 300.0) -> dict[str, Any]:
        """The run, once it is in one of some states.

        Raises:
            TimeoutError: if it takes longer; the message has the story so far.
        """
        try:
            self.sent.wait_until(lambda: self.look().get("state") in states, seconds)
        except TimeoutError:
            story = kubectl("-n", self.cluster.namespace, "get", "irl", NAME, "-o", "yaml")
            raise TimeoutError(f"{states} not within {seconds:g} s: {self.states}\n{story}") from None
        return self.run


def ready(cluster: Cluster, service: str) -> dict[str, int]:
    """Ready pods of each half of an InferenceService."""
    counts = dict.fromkeys(("transformer", "predictor"), 0)
    for pod in items("pods", cluster.namespace, f"serving.kserve.io/inferenceservice={service}"):
        if any(
            condition["type"] == "Ready" and condition["status"] == "True"
            for condition in pod["status"].get("conditions", ())
        ):
            counts[pod["metadata"]["labels"]["component"]] += 1
    return counts


def held(cluster: Cluster, service: str, replicas: int | None) -> None:
    """Have both halves keep so many pods, whatever KEDA would have; None to let it go on."""
    for half in ("transformer", "predictor"):
        suffix = "paused-replicas-" if replicas is None else f"paused-replicas={replicas}"
        name = f"{service}-{half}"
        annotation = f"autoscaling.keda.sh/{suffix}"
        kubectl("-n", cluster.namespace, "annotate", "scaledobject", name, annotation, "--overwrite")


def load(cluster: Cluster, instances: list[dict[str, Any]]) -> Load:
    return Load(f"{cluster.gateway}/v1/models/time-estimator:predict", cluster.host(NAME), instances, rate=RATE)


def controller(cluster: Cluster, replicas: int) -> None:
    """Have so many controllers."""
    kubectl(
        "-n", SYSTEM, "scale", "deployment", "-l", "app.kubernetes.io/component=controller", f"--replicas={replicas}"
    )


def tandem(*arguments: str) -> str:
    """Output of the command line."""
    return run(str(Path(sys.executable).with_name("tandem")), *arguments)


def report(cluster: Cluster, directory: Path) -> dict[str, Any]:
    """The last run's report, which must be there in all forms and have all parts."""
    for form in ("md", "html"):
        tandem("rollout", "report", NAME, "-n", cluster.namespace, "--output", str(directory / f"report.{form}"))
    text = (directory / "report.md").read_text()
    content: dict[str, Any] = json.loads(tandem("rollout", "report", NAME, "-n", cluster.namespace, "--format", "json"))
    assert content["evidence"] and content["sampleCount"] and content["samples"] and content["decisions"], text
    assert {entry["name"] for entry in content["questions"]} == {entry["name"] for entry in content["metrics"]}
    assert all(question["queries"] for question in content["questions"])
    assert content["run"]["message"] in text
    assert "<svg" in (directory / "report.html").read_text()
    return content


def serves(cluster: Cluster) -> dict[str, Any]:
    """The variant that has all requests."""
    variants = get("inferencerollout", NAME, cluster.namespace)["status"]["variants"]
    (variant,) = [entry for entry in variants if entry.get("weight") == 100]
    return dict(variant)


def ship(
    cluster: Cluster, sent: Load, version: str, *, without: bool = False, gates: list[dict[str, Any]] = GATES
) -> Watched:
    """Begin to ship a version, while stable has two pods of each half, and wait for its first weight.

    Args:
        cluster: The cluster.
        sent: The load.
        version: The version.
        without: Whether Prometheus is stopped first.
        gates: Metrics of the analysis.
    """
    stable = serves(cluster)
    service = stable["inferenceService"]
    watched = Watched(cluster, sent, before=stable["version"])
    number = watched.run.get("number", 0)
    held(cluster, service, PODS)
    sent.wait_until(lambda: set(ready(cluster, service).values()) == {PODS})
    sent.wait_until(lambda: prometheus.requests(cluster, service) >= KNOWN)
    if without:
        prometheus.scale(0)
        sent.wait_until(lambda: not items("pods", "monitoring", "app.kubernetes.io/managed-by=prometheus-operator"))
    put(cluster, version, gates)
    sent.wait_until(lambda: watched.run.get("number") == number + 1)
    watched.until("Analyzing")
    held(cluster, service, None)
    return watched


def own_failures_only(sent: Load, name: str, *, faulty: bool = False) -> None:
    """Nothing was lost, but what a faulty canary itself has answered with 500."""
    lost = [
        sample
        for sample in sent.failures
        if not (faulty and sample.arm == "canary" and sample.failure.startswith("500:"))
    ]
    FIGURES.lost += len(lost)
    own = len(sent.failures) - len(lost)
    note = f"; {own:,} errors of the canary" if own else ""
    FIGURES.add(name, f"{len(lost)} of {len(sent.samples):,} requests lost{note}", "0 beyond the canary's own")
    assert not lost, [f"{sample.at:.1f} s: {sample.arm} {sample.failure}" for sample in lost[:10]]


@pytest.mark.core
def test_a_good_canary_is_promoted(cluster: Cluster, instances: list[dict[str, Any]], tmp_path: Path) -> None:
    with load(cluster, instances) as sent:
        watched = ship(cluster, sent, "v2")
        began = sent.now
        watched.until("Promoted", "Aborted", "Paused", seconds=420)
        seconds = sent.now - began
        sent.wait(RATE * 5)
        since = sent.now
        sent.wait(RATE * 5)
        assert set(sent.shares(since)) == {"v2"}
    result = report(cluster, tmp_path)
    median = statistics.median(sample.seconds for sample in sent.samples) * 1000
    FIGURES.add("seen by the client", f"median {median:.1f} ms")
    assert result["run"]["outcome"] == "Promoted", result["run"]["message"]
    assert [metric["verdict"] for metric in result["metrics"]] == ["pass"] * len(GATES)
    FIGURES.add("a good canary is promoted", f"{seconds:.0f} s after its first request; {', '.join(watched.states)}")
    own_failures_only(sent, "a good canary, promoted")


@pytest.mark.parametrize(
    ("version", "metrics"),
    [
        pytest.param("v2-errors", {"errors", "errors-in-pods"}, marks=pytest.mark.core),
        ("v2-latency", {"latency"}),
        ("v2-drift", {"drift"}),
    ],
)
def test_a_faulty_canary_is_aborted(
    cluster: Cluster, instances: list[dict[str, Any]], tmp_path: Path, version: str, metrics: set[str]
) -> None:
    with load(cluster, instances) as sent:
        watched = ship(cluster, sent, version)
        began = sent.now
        watched.until("Aborted", "Promoted", "Paused")
        seconds = sent.now - began
        # the decision is recorded before the route changes, and the gateway takes a moment to follow
        sent.wait(RATE * 5)
        since = sent.now
        sent.wait(RATE * 10)
        assert set(sent.shares(since)) == {watched.before}
        requests = sum(sample.arm == "canary" for sample in sent.samples)
    result = report(cluster, tmp_path)
    assert result["run"]["outcome"] == "Aborted"
    failed = {metric["name"] for metric in result["metrics"] if metric["verdict"] == "fail"}
    assert failed and failed <= metrics, result["run"]["message"]
    table = kubectl("-n", cluster.namespace, "get", "inferencerollout", NAME)
    assert "Aborted" in table, table
    predicted = forecast(version, result)
    FIGURES.add(
        f"{version} is aborted",
        f"after {requests:,} requests of the canary, {predicted:,.0f} predicted; {seconds:.0f} s",
        "2 x predicted",
    )
    fewest = min(watched.pods.values())
    FIGURES.add(f"fewest ready pods of stable, {version}", f"{fewest} of {PODS}", "never fewer")
    own_failures_only(sent, f"{version}, aborted", faulty=version == "v2-errors")
    assert requests <= 2 * predicted
    assert fewest == PODS, watched.pods


def fast_and_slow(
    cluster: Cluster, instances: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows that v2-errors answers, and rows that it answers with 500, by what stable predicts."""
    _, seconds = asyncio.run(by_v2(cluster.gateway, cluster.host(NAME), instances))
    pairs = list(zip(instances, seconds, strict=True))
    return [row for row, predicted in pairs if predicted < 0.9 * SLOW_FINISH_S], [
        row for row, predicted in pairs if predicted > 1.15 * SLOW_FINISH_S
    ]


async def failures(cluster: Cluster, slow: Sequence[dict[str, Any]], count: int) -> int:
    """Ask for slow rows, which only v2-errors fails to answer, until so many have failed."""
    url = f"{cluster.gateway}/v1/models/time-estimator:predict"
    failed = 0
    async with aiohttp.ClientSession(headers={"host": cluster.host(NAME)}) as session:
        for row in itertools.cycle(slow):
            async with session.post(url, json={"instances": [row]}) as response:
                failed += response.status >= 500
            if failed == count:
                return failed
    raise AssertionError("there is no slow row")


def canary_events(cluster: Cluster) -> dict[str, float]:
    """Failed answers of the canary in the ticks of the last run, by metric."""
    content = json.loads(tandem("rollout", "report", NAME, "-n", cluster.namespace, "--format", "json"))
    return {
        metric: sum(tick["metrics"].get(metric, {}).get("canaryEvents", 0.0) for tick in content["samples"])
        for metric in ("errors", "errors-in-pods")
    }


def test_what_fails_in_the_second_after_a_step_and_never_again_is_evidence(
    cluster: Cluster, instances: list[dict[str, Any]]
) -> None:
    fast, slow = fast_and_slow(cluster, instances)
    with load(cluster, fast) as sent:
        watched = ship(cluster, sent, "v2-errors", gates=REPORTED)
        sent.wait_until(lambda: watched.look().get("weight") == SECOND, 240)
        failed = asyncio.run(failures(cluster, slow, BURST))
        everything = {"errors": float(failed), "errors-in-pods": float(failed)}
        try:
            sent.wait_until(lambda: canary_events(cluster) == everything, 90)
        finally:
            FIGURES.add("failed after a step, in the evidence", f"{canary_events(cluster)} of {failed}", "all")
            tandem("rollout", "abort", NAME, "-n", cluster.namespace, "--reason", "test")
        watched.until("Aborted")
        sent.wait(RATE)
    assert canary_events(cluster) == everything


def test_without_prometheus_it_holds_and_without_a_controller_traffic_goes_on(
    cluster: Cluster, instances: list[dict[str, Any]]
) -> None:
    try:
        with load(cluster, instances) as sent:
            version = "v1" if serves(cluster)["version"] == "v2" else "v2"
            watched = ship(cluster, sent, version, without=True)
            since = sent.now
            sent.wait_until(functools.partial(_says, cluster, "provider-error"))
            sent.wait(RATE * 60)  # longer than the hold of its step
            assert watched.look()["weight"] == FIRST
            assert watched.run["state"] == "Analyzing"
            controller(cluster, 0)
            sent.wait_until(lambda: not items("pods", SYSTEM, "app.kubernetes.io/component=controller"))
            sent.wait(RATE * 20)
            share = sent.shares(since).get(version, 0.0)
            prometheus.scale(1)
            controller(cluster, 1)
            watched.until("Promoted", "Aborted", "Paused", seconds=420)
            assert watched.run["state"] == "Promoted", watched.run["reason"]
            sent.wait(RATE)
    finally:
        prometheus.scale(1)
        controller(cluster, 1)
    FIGURES.add("Prometheus down, then the controller too", f"{share:.1%} of the requests go to a canary of {FIRST} %")
    own_failures_only(sent, "a canary without Prometheus and controller, promoted when both are back")
    assert abs(share - FIRST / 100) <= 0.02


def _says(cluster: Cluster, verdict: str) -> bool:
    status = get("inferencerollout", NAME, cluster.namespace)["status"]
    return any(metric["verdict"] == verdict for metric in status.get("metrics", ()))


def forecast(version: str, result: Mapping[str, Any]) -> float:
    """Requests of the canary until its rollback: the median of the simulation, which reads counters as they are.

    Those that come until Prometheus has scraped them, and until the route has followed, are added.
    """
    measured = {metric["name"]: metric for metric in result["metrics"]}
    latency, degraded = measured["latency"], measured["degraded"]
    slow, rare = 0.05, degraded["stable"] or 0.0
    rates = {
        "errors": EventRates(0.0, ERRORS if version == "v2-errors" else 0.0),
        "latency": EventRates(
            slow, min(max(latency["canary"] or slow, slow), 0.95) if version == "v2-latency" else slow
        ),
        "degraded": EventRates(rare, rare),
    }
    even = (0.1,) * 10
    traffic = Traffic(requests_per_second=RATE, rates=rates, bins=tilted(even, 0.7 if version == "v2-drift" else 0.0))
    metrics = [msgspec.convert(metric, Metric) for metric in GATES]
    spread = predicted_requests(
        metrics, traffic, weight=FIRST, interval=INTERVAL_S, warmup=WARMUP_S, timeout=360.0, rollouts=500
    )
    assert spread is not None
    return spread.median + (SCRAPES_S + ROUTE_DELAY_S) * RATE * FIRST / 100
