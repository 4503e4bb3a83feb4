"""Metrics of the controller."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """All metrics, in a registry of their own.

    Attributes:
        registry: Where they are collected.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.seconds = Histogram(
            "tandem_controller_reconcile_seconds",
            "One pass over one rollout",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.errors = Counter(
            "tandem_controller_reconcile_errors", "Passes that failed and are tried again", registry=self.registry
        )
        self._ready = Gauge(
            "tandem_rollout_ready",
            "1 where all variants of a rollout serve, else 0",
            ["namespace", "rollout"],
            registry=self.registry,
        )
        self._weight = Gauge(
            "tandem_rollout_weight",
            "Weight that the route gives a variant",
            ["namespace", "rollout", "variant"],
            registry=self.registry,
        )
        self._variants: dict[tuple[str, str], set[str]] = {}

    def observe(self, manifest: dict[str, Any]) -> None:
        """Show what a rollout's status says."""
        where = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        status = manifest.get("status") or {}
        conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
        self._ready.labels(*where).set(conditions.get("Ready") == "True")
        weights: dict[str, int] = {}
        for each in status.get("variants") or ():
            weights[each["name"]] = weights.get(each["name"], 0) + each.get("weight", 0)
        for variant in self._variants.get(where, set()) - weights.keys():
            self._weight.remove(*where, variant)
        for variant, weight in weights.items():
            self._weight.labels(*where, variant).set(weight)
        self._variants[where] = set(weights)

    def forget(self, namespace: str, rollout: str) -> None:
        """A rollout is gone."""
        for variant in self._variants.pop((namespace, rollout), ()):
            self._weight.remove(namespace, rollout, variant)
        self._ready.remove(namespace, rollout)
