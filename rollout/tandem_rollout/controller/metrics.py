"""Metrics of the controller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

import msgspec
from msgspec import field
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from tandem_rollout.analysis.verdict import Verdict
from tandem_rollout.api.status import MetricStatus, PastRun, RunStatus
from tandem_rollout.api.times import epoch
from tandem_rollout.engine.run import ENDS, State

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STATES: Final = get_args(State)
_VERDICTS: Final = tuple(verdict.value for verdict in Verdict)
_RESULTS: Final = {
    "Promoted": "promoted",
    "Aborted": "aborted",
    "RolledBack": "rolled_back",
    "Completed": "completed",
}

Where = tuple[str, str]
"""Namespace and name of a rollout."""

_End = tuple[int, bool]
"""Number of a run that has ended, and whether it ended without promotion or after it. The ends of a rollout are in
order."""

_NONE: Final[_End] = (0, False)


class ControllerMetrics:
    """All metrics of the controller, in a separate registry.

    Attributes:
        registry: The registry.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.seconds = Histogram(
            "tandem_controller_reconcile_seconds",
            "Duration of one pass over one rollout",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.errors = Counter(
            "tandem_controller_reconcile_errors", "Failed passes, which are retried", registry=self.registry
        )
        self._leader = Gauge(
            "tandem_controller_leader", "1 if this process is the leader, else 0", registry=self.registry
        )
        self._transitions = Counter(
            "tandem_controller_leader_transitions",
            "Number of times that this process became the leader",
            registry=self.registry,
        )
        self._ready = _gauge(self.registry, "ready", "1 if the condition Ready of a rollout is True, else 0")
        self._weight = _gauge(self.registry, "weight", "Weight of a variant in the route", "variant")
        self._runs = _Runs(self.registry)
        self._variants: dict[Where, set[str]] = {}

    def begin(self) -> None:
        """This process became the leader."""
        self._leader.set(1)
        self._transitions.inc()

    def end(self) -> None:
        """This process stopped leading. Another process exports the metrics of rollouts."""
        self._leader.set(0)
        for namespace, rollout in list(self._variants):
            self.forget(namespace, rollout)

    def observe(self, manifest: Mapping[str, Any]) -> None:
        """Export the status of a rollout."""
        where = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        status = manifest.get("status") or {}
        conditions = {condition["type"]: condition["status"] for condition in status.get("conditions") or ()}
        self._ready.labels(*where).set(conditions.get("Ready") == "True")
        weights: dict[str, int] = {}
        for entry in status.get("variants") or ():
            # two revisions of a variant have weight while one replaces the other
            weights[entry["name"]] = weights.get(entry["name"], 0) + entry.get("weight", 0)
        # the series of a removed variant would keep its last weight for ever
        for variant in self._variants.get(where, set()) - weights.keys():
            self._weight.remove(*where, variant)
        for variant, weight in weights.items():
            self._weight.labels(*where, variant).set(weight)
        self._variants[where] = set(weights)
        self._runs.observe(where, manifest["metadata"].get("uid", ""), _RunsStatus.of(status))

    def forget(self, namespace: str, rollout: str) -> None:
        """A rollout was deleted."""
        for variant in self._variants.pop((namespace, rollout), ()):
            self._weight.remove(namespace, rollout, variant)
        self._ready.remove(namespace, rollout)
        self._runs.forget((namespace, rollout))


class _RunsStatus(msgspec.Struct, rename="camel", frozen=True):
    """The part of a status about runs. Other fields are ignored."""

    run: RunStatus | None = None
    metrics: list[MetricStatus] = field(default_factory=list)
    history: list[PastRun] = field(default_factory=list)

    @classmethod
    def of(cls, status: Mapping[str, Any]) -> _RunsStatus:
        try:
            return msgspec.convert(status, cls)
        # a status of another version, or an edited one, must not fail the pass
        except msgspec.ValidationError:
            return cls()


class _Runs:
    """Metrics of the runs of all rollouts.

    The series of the state of a run exist as long as its rollout; those of its canary and its metrics end with the run.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._ended = Counter(
            "tandem_rollout_runs",
            "Runs that have ended. A run that is rolled back was also counted as promoted",
            ["namespace", "rollout", "result"],
            registry=registry,
        )
        self._state = _gauge(registry, "run_state", "1 for the state of the current or last run, else 0", "state")
        self._since = _gauge(
            registry, "run_state_since_timestamp_seconds", "Time at which that state began, in seconds since the epoch"
        )
        self._weight = _gauge(registry, "canary_weight_ratio", "Desired share of the requests for a canary")
        self._measured = _gauge(
            registry, "canary_measured_ratio", "Share of the requests that a canary had in the last sample"
        )
        self._verdict = _gauge(
            registry, "metric_verdict", "1 for the verdict of a metric in the current run, else 0", "metric", "verdict"
        )
        self._value = _gauge(
            registry,
            "metric_value",
            "Value that is compared with a metric's limit: the ratio of the rates, for drift the distance",
            "metric",
        )
        self._limit = _gauge(registry, "metric_limit", "Limit of the value of a metric", "metric")
        self._requests = _gauge(
            registry, "metric_canary_requests", "Counted requests of the canary in the current run", "metric"
        )
        self._needed = _gauge(
            registry, "metric_needed_requests", "Estimated number of further requests until a metric passes", "metric"
        )
        self._shown: dict[Where, _Shown] = {}
        self._last: dict[Where, tuple[str, _End]] = {}

    def observe(self, where: Where, uid: str, status: _RunsStatus) -> None:
        """Export a status.

        Args:
            where: The rollout.
            uid: The uid of the rollout, as another one may have the same name.
            status: The status.
        """
        if status.run is None:
            self._clear(where)
        else:
            self._show(where, status.run, status.metrics)
        self._count(where, uid, status)

    def forget(self, where: Where) -> None:
        """A rollout was deleted."""
        self._clear(where)
        self._last.pop(where, None)
        for result in _RESULTS.values():
            self._ended.remove(*where, result)

    def _show(self, where: Where, run: RunStatus, metrics: Sequence[MetricStatus]) -> None:
        shown = _Shown()
        for state in _STATES:
            shown.set(self._state, (*where, state), run.state == state)
        shown.set(self._since, where, _seconds(run.since))
        if run.state not in ENDS:
            shown.set(self._weight, where, run.weight / 100.0)
            shown.set(self._measured, where, None if run.measured is None else run.measured / 100.0)
            for metric in metrics:
                own = *where, metric.name
                for verdict in _VERDICTS:
                    shown.set(self._verdict, (*own, verdict), metric.verdict == verdict)
                shown.set(self._value, own, metric.value)
                shown.set(self._limit, own, metric.limit)
                shown.set(self._requests, own, metric.requests)
                shown.set(self._needed, own, metric.needed)
        self._shown.get(where, _Shown()).drop_but(shown)
        self._shown[where] = shown

    def _clear(self, where: Where) -> None:
        self._shown.pop(where, _Shown()).drop_but(_Shown())

    def _count(self, where: Where, uid: str, status: _RunsStatus) -> None:
        """Count the runs that have ended since the last call. Runs that ended before the first call are not counted."""
        ends = {(past.number, past.outcome != "Promoted"): past.outcome for past in status.history}
        if status.run is not None and status.run.state in ENDS:
            ends[status.run.number, status.run.state != "Promoted"] = status.run.state
        latest = max(ends, default=_NONE)
        earlier, last = self._last.get(where, (uid, latest))
        if earlier != uid:
            last = latest
        if status.run is not None or ends:
            for result in _RESULTS.values():
                self._ended.labels(*where, result)  # start at 0, so that the first end is an increase
        for end, outcome in ends.items():
            if end > last and outcome in _RESULTS:
                self._ended.labels(*where, _RESULTS[outcome]).inc()
        self._last[where] = uid, max(last, latest)


class _Shown:
    """The series of one rollout."""

    def __init__(self) -> None:
        self._series: set[tuple[Gauge, tuple[str, ...]]] = set()

    def set(self, gauge: Gauge, labels: tuple[str, ...], value: float | None) -> None:
        """Set a series, unless its value is None."""
        if value is not None:
            gauge.labels(*labels).set(value)
            self._series.add((gauge, labels))

    def drop_but(self, now: _Shown) -> None:
        """Remove the series that are not in another set."""
        for gauge, labels in self._series - now._series:
            gauge.remove(*labels)


def _gauge(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Gauge:
    return Gauge(f"tandem_rollout_{name}", text, ["namespace", "rollout", *labels], registry=registry)


def _seconds(time: str) -> float | None:
    try:
        return epoch(time)
    except ValueError:
        return None
