"""A real cluster with the platform and a store on it. ``make e2e`` runs these tests, ``make test`` does not."""

from __future__ import annotations

import functools
import os
import sys
import uuid
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from rich.console import Console

from tandem import StoreError
from tandem.package import ModelPackage
from tandem.sources import read_sources
from tandem_cli.features import materialize_tables, views_of

from . import images
from .figures import FIGURES
from .kubectl import eventually, get, items, kubectl, run

ENABLED = os.environ.get("TANDEM_E2E") == "1"
collect_ignore_glob = [] if ENABLED else ["test_*.py"]

sys.path.insert(0, str(images.ROOT / "examples/athlete"))

SYSTEM = "tandem-system"
EXAMPLE = images.ROOT / "examples/athlete"


@dataclass(frozen=True)
class Cluster:
    """The cluster under test.

    Attributes:
        gateway: Address of the gateway.
        prometheus: Address of Prometheus.
        namespace: Namespace of the models; enforces the restricted Pod Security standard.
        trained: What training came to, by version.
    """

    gateway: str
    prometheus: str
    namespace: str
    trained: dict[str, Any]

    def host(self, rollout: str) -> str:
        """Host of a rollout."""
        return f"{rollout}.{self.namespace}.example.com"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Images built, platform installed, store filled."""
    from train import train

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the training framework warns about is not tested here
        trained = train()
    images.build_programs()
    for version, result in trained.items():
        images.build_bundle(f"athlete:{version}", result.bundle)
    kubectl("delete", "namespace", SYSTEM, "--ignore-not-found", "--wait=true")
    steady_gateway()
    namespace = f"e2e-{uuid.uuid4().hex[:5]}"
    run(*install_platform())
    kubectl("create", "namespace", namespace)
    try:
        kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
        fill_store(namespace)
        yield Cluster(os.environ["GATEWAY_URL"], os.environ["PROMETHEUS_URL"], namespace, trained)
    finally:
        if not os.environ.get("TANDEM_E2E_KEEP"):
            kubectl("delete", "namespace", namespace, "--wait=true", "--timeout=120s")
            run("helm", "uninstall", "tandem", "-n", SYSTEM, "--wait")


def steady_gateway() -> None:
    """Give the gateway's proxies the probes and the processor that the install guide asks for.

    Envoy Gateway's own probes take a proxy out of its Service when a single answer takes longer than a second, and
    restart it after three of them, which on a small machine happens while pods start; where there is but one proxy,
    connections are then refused. It asks for little of the processor, and so gets the least while pods start.
    """
    for gateway_class in items("gatewayclass", "default"):
        parameters = gateway_class["spec"].get("parametersRef") or {}
        if parameters.get("kind") == "EnvoyProxy":
            probe = str(images.ROOT / "tests/cluster/gateway/probe.yaml")
            where = ("-n", parameters["namespace"])
            kubectl(*where, "patch", "envoyproxy", parameters["name"], "--type=merge", "--patch-file", probe)
    for proxy in items("deployment", "envoy-gateway-system", "app.kubernetes.io/component=proxy"):
        name, namespace = proxy["metadata"]["name"], proxy["metadata"]["namespace"]
        eventually(functools.partial(_patient, name), f"{name} has the new probes", 60)
        kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=90s")


def _patient(proxy: str) -> bool:
    pod = get("deployment", proxy, "envoy-gateway-system")["spec"]["template"]["spec"]
    return all(
        container["livenessProbe"]["failureThreshold"] > 3
        for container in pod["containers"]
        if container["name"] == "envoy"
    )


def install_platform() -> list[str]:
    """The command that installs the platform."""
    values = {
        "image.tag": images.TAG,
        "images.transformer.tag": images.TAG,
        "images.predictor.tag": images.TAG,
        "image.repository": "tandem-controller",
    }
    flags = [f"--set={name}={value}" for name, value in values.items()]
    chart = str(images.ROOT / "charts/tandem")
    return [
        *("helm", "upgrade", "--install", "tandem", chart, "-n", SYSTEM, "--create-namespace"),
        *("--wait", "--timeout=120s", *flags),
    ]


def fill_store(namespace: str) -> None:
    """Start a store in a namespace, and write the example's features to it."""
    kubectl("-n", namespace, "apply", "-f", str(images.ROOT / "tests/cluster/store/store.yaml"))
    kubectl("-n", namespace, "rollout", "status", "deployment/store", "--timeout=90s")
    address = get("service", "store", namespace)["spec"]["clusterIP"]
    package = ModelPackage.read(EXAMPLE)
    url = f"redis://{address}:6379/0"
    views, tables = views_of(package.load()), read_sources(package)

    def filled() -> bool:
        try:
            materialize_tables(views, tables, url, Console(file=sys.stderr))
        except StoreError:  # the address of a new Service is not known everywhere at once
            return False
        return True

    eventually(filled, "the store is filled", 60)


def serving(cluster: Cluster, name: str, weights: str, seconds: float = 180.0) -> dict[str, Any]:
    """A rollout's status, once all its variants serve with these weights."""

    def look() -> dict[str, Any] | None:
        rollout = get("inferencerollout", name, cluster.namespace)
        status = rollout.get("status", {})
        current = status.get("observedGeneration") == rollout["metadata"]["generation"]
        ready = any(
            condition["type"] == "Ready" and condition["status"] == "True" for condition in status.get("conditions", ())
        )
        return status if current and ready and status.get("weights") == weights else None

    try:
        return eventually(look, f"{name} serves {weights}", seconds)
    except AssertionError as error:
        last_status = get("inferencerollout", name, cluster.namespace).get("status", {})
        raise AssertionError(f"{error}\nstatus: {last_status}") from None


def delete_rollout(cluster: Cluster, name: str) -> None:
    """Delete a rollout, and wait until its pods are gone."""
    kubectl("-n", cluster.namespace, "delete", "inferencerollout", name, "--ignore-not-found")
    labels = f"tandem-serving.io/rollout={name}"
    eventually(lambda: not items("pods", cluster.namespace, labels), f"pods of {name} are gone", 120)


def manifest(name: str, namespace: str, **spec: Any) -> dict[str, Any]:
    """An InferenceRollout of the example."""
    spec.setdefault("store", {"url": "redis://store:6379/0"})
    # a small machine stalls for longer than the defaults allow while pods start; clients wait for five seconds
    patience = ["--store_timeout_ms=3000", "--predictor_timeout_ms=3000"]
    spec["transformer"] = {"args": patience, **spec.get("transformer", {})}
    return {
        "apiVersion": "tandem-serving.io/v1alpha1",
        "kind": "InferenceRollout",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"model": "time-estimator", **spec},
    }


def variants(**weights: int) -> list[dict[str, Any]]:
    """Variants v1, v2, … with these weights."""
    return [
        {"name": name, "bundle": {"image": f"athlete:{name}"}, "weight": weight} for name, weight in weights.items()
    ]


class _Counter:
    passed = failed = 0


@pytest.hookimpl
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count what the closing line tells."""
    if report.when == "call" and report.passed:
        _Counter.passed += 1
    elif report.failed:
        _Counter.failed += 1


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The table of what was measured."""
    if ENABLED and FIGURES.rows:
        terminalreporter.section("measured on the cluster")
        terminalreporter.write_line(FIGURES.table())


def pytest_unconfigure() -> None:
    """The closing line, after all that pytest says."""
    if ENABLED:
        print(FIGURES.line(_Counter.passed, _Counter.failed))
