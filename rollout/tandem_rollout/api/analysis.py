"""The analysis of a new version: its metrics, and what happens without a verdict."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, field

from tandem_rollout.api.fields import Duration, Struct

MetricType = Literal["errors", "latency", "degraded", "drift", "ratio", "assignment"]

MIN_ROWS: Final = 1000
"""Default minimum number of the canary's rows for a verdict of drift."""

ERRORS_IN_PODS: Final = "errors-in-pods"
"""Default name of a metric of errors that pods count. A rollout usually has one at the gateway, too."""

_FLOOR: Final = 0.002


class Metric(Struct, frozen=True):
    """A metric that compares the canary with stable over the same time."""

    type: Annotated[
        MetricType,
        Meta(
            description="errors: responses with status 500 and above. latency: requests that are slower than a "
            "quantile of stable's. degraded: responses with a feature that does not come from the store. drift: "
            "distance of the distributions of the predictions. ratio: two counters, in PromQL. assignment: whether the "
            "shares of the units match the weights."
        ),
    ]
    name: Annotated[
        str,
        Meta(
            pattern=r"^$|^[a-z]([-a-z0-9]*[a-z0-9])?$",
            max_length=40,
            description="Name of the metric. Default: its type.",
        ),
    ] = ""
    where: Annotated[
        Literal["gateway", "pods"],
        Meta(
            description="Where errors are counted. The gateway also counts the errors of pods that have died. Pods "
            "also count the errors of gRPC, whose HTTP status is 200. A rollout should have one metric of each."
        ),
    ] = "gateway"
    margin: Annotated[
        float,
        Meta(gt=1, le=100, description="R: a canary whose rate is R times stable's, or more, is bad."),
    ] = 2.0
    floor: Annotated[
        Annotated[float, Meta(ge=0, lt=1)] | None,
        Meta(
            description=f"Rate of events that is always acceptable. Default: {_FLOOR:g}; for latency 0, which is none."
        ),
    ] = None
    alpha: Annotated[
        float, Meta(gt=0, lt=1, description="Maximum probability of rolling back a canary that is not worse.")
    ] = 0.008
    beta: Annotated[
        float, Meta(gt=0, lt=1, description="Maximum probability of promoting a canary that is at the margin.")
    ] = 0.008
    quantile: Annotated[float, Meta(gt=0.5, lt=1, description="latency: quantile of stable that is the limit.")] = 0.95
    slowdown: Annotated[
        float,
        Meta(
            ge=1,
            le=100,
            description="latency: factor by which a canary may be slower and still be as good. The canary's limit is "
            "stable's limit times this factor, rounded up to the next bucket boundary.",
        ),
    ] = 1.25
    limit: Annotated[
        float,
        Meta(
            gt=0,
            description="drift: maximum population stability index. A canary above it passes with probability "
            "beta at most; one below it fails with probability alpha at most.",
        ),
    ] = 0.1
    min_requests: Annotated[
        int,
        Meta(
            ge=0,
            description="Minimum number of requests of the canary for the metric to pass. drift: minimum number of "
            f"rows for it to pass or fail; rows of one request count less. Default for drift: {MIN_ROWS}.",
        ),
    ] = 0
    requests: Annotated[
        str,
        Meta(
            max_length=4096,
            description="ratio: PromQL of a counter of all events. assignment: PromQL of a counter of new units. It "
            "must contain $inferenceservice, which is replaced by the InferenceService of each version, and may "
            "contain $namespace.",
        ),
    ] = ""
    events: Annotated[
        str, Meta(max_length=4096, description="ratio: PromQL of a counter of the bad events, with the same variables.")
    ] = ""
    gate: Annotated[
        bool, Meta(description="Whether the metric takes part in the decision. Otherwise it is only reported.")
    ] = True
    no_data: Annotated[
        Literal["hold", "fail", "ignore"],
        Meta(description="What happens without data: hold the run, fail, or ignore the metric."),
    ] = "hold"
    provider_error: Annotated[
        Literal["hold", "ignore"],
        Meta(description="What happens if the metric cannot be read: hold the run, or ignore the metric."),
    ] = "hold"
    inconclusive: Annotated[
        Literal["hold", "ignore"],
        Meta(description="What happens with too little evidence: hold the run, or ignore the metric."),
    ] = "hold"

    @property
    def full_name(self) -> str:
        """Its name; by default its type."""
        return self.name or (ERRORS_IN_PODS if self.type == "errors" and self.where == "pods" else self.type)

    @property
    def min_rows(self) -> float:
        """Minimum number of the canary's rows for a verdict of drift."""
        return float(self.min_requests or MIN_ROWS)

    @property
    def effective_floor(self) -> float:
        """The floor; by default that of its type."""
        if self.floor is not None:
            return self.floor
        return 0.0 if self.type == "latency" else _FLOOR


class Analysis(Struct, frozen=True):
    """Metrics, and what happens if they do not decide."""

    metrics: Annotated[
        list[Metric],
        Meta(
            max_length=16,
            description="Metrics of the analysis. Default: errors at the gateway and in the pods, latency, degraded "
            "responses, and drift, which is only reported.",
        ),
    ] = field(default_factory=list)
    interval: Annotated[Duration, Meta(description="Time between two samples.")] = "10s"
    warmup: Annotated[
        Duration,
        Meta(
            description="Time after its first request for which the canary's latency is not judged, as caches are cold."
        ),
    ] = "15s"
    source: Annotated[
        Literal["prometheus", "pods"],
        Meta(description="Where counters are read: from Prometheus, or directly from the pods and the gateway."),
    ] = "prometheus"
    prometheus: Annotated[
        str,
        Meta(
            description="Address of Prometheus. The installation must allow it. Default: the address that the "
            "controller was installed with."
        ),
    ] = ""
    timeout: Annotated[Duration, Meta(description="Maximum time from the first weight to a decision.")] = "1h"
    on_timeout: Annotated[
        Literal["pause", "abort", "promote"],
        Meta(
            description="What happens after the timeout. promote gives all requests to the canary without enough "
            "evidence."
        ),
    ] = "pause"
    dispersion: Annotated[
        Annotated[float, Meta(ge=1)] | None,
        Meta(
            description="Variance of the counts of events, relative to that of independent events. Default: measured "
            "before the start if stable has at least two pods; otherwise 1. For drift the dispersion is also measured "
            "in the run, and the larger value is used.",
        ),
    ] = None

    @property
    def all_metrics(self) -> tuple[Metric, ...]:
        """The metrics; by default :data:`DEFAULT_METRICS`."""
        return tuple(self.metrics) or DEFAULT_METRICS


DEFAULT_METRICS: tuple[Metric, ...] = (
    Metric(type="errors"),
    Metric(type="errors", where="pods"),
    Metric(type="latency"),
    Metric(type="degraded"),
    Metric(type="drift", gate=False),
)
"""The metrics of an analysis without metrics. Drift does not decide: only the model's owner knows its limit."""
