"""What decides about a new version, as a person writes it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from msgspec import Meta, field

from tandem_rollout.api.fields import Duration, Struct

MetricType = Literal["errors", "latency", "degraded", "drift", "ratio", "assignment"]

MIN_ROWS: Final = 1000
"""Rows of the canary without which drift neither passes nor fails, where nothing is said."""

ERRORS_IN_PODS: Final = "errors-in-pods"
"""Default name of a metric of errors that pods count, as there should be one of each."""

_FLOOR: Final = 0.002


class Metric(Struct, frozen=True):
    """One metric: the canary against the version that serves, over the same time."""

    type: Annotated[
        MetricType,
        Meta(
            description="errors: answers of 500 and above. latency: requests slower than a quantile of the version "
            "that serves. degraded: answers with a feature from elsewhere than the store. drift: how far the "
            "distributions of the predictions are apart. ratio: two counters of your own. assignment: whether units "
            "fall to the variants as their weights say."
        ),
    ]
    name: Annotated[
        str, Meta(pattern=r"^$|^[a-z]([-a-z0-9]*[a-z0-9])?$", max_length=40, description="Default: its type.")
    ] = ""
    where: Annotated[
        Literal["gateway", "pods"],
        Meta(
            description="Who counts errors. A dead pod counts nothing, so there should be one at the gateway; errors "
            "of gRPC have the HTTP status 200, which only pods tell from good answers, so there should be one there."
        ),
    ] = "gateway"
    margin: Annotated[
        float,
        Meta(gt=1, le=100, description="R: a version with so many times the rate of the one that serves is bad."),
    ] = 2.0
    floor: Annotated[
        Annotated[float, Meta(ge=0, lt=1)] | None,
        Meta(description=f"A rate that nobody would mind. Default: {_FLOOR:g}; 0, none, for latency."),
    ] = None
    alpha: Annotated[float, Meta(gt=0, lt=1, description="Chance at most to roll back a version that is no worse.")] = (
        0.008
    )
    beta: Annotated[
        float, Meta(gt=0, lt=1, description="Chance at most to promote a version that is at the margin.")
    ] = 0.008
    quantile: Annotated[float, Meta(gt=0.5, lt=1, description="latency: the quantile that is the limit.")] = 0.95
    slowdown: Annotated[
        float,
        Meta(
            ge=1,
            le=100,
            description="latency: a version that takes so many times as long is still as good. Its own limit is so "
            "many times that of the version that serves, or the next bucket edge above.",
        ),
    ] = 1.25
    limit: Annotated[
        float,
        Meta(
            gt=0,
            description="drift: population stability index that a version must not have more than; it is known to be "
            "above or below with the errors alpha and beta.",
        ),
    ] = 0.1
    min_requests: Annotated[
        int,
        Meta(
            ge=0,
            description="Requests of the canary without which the metric does not pass. drift: rows without which it "
            f"does not fail either; rows that come together count less. Default for drift: {MIN_ROWS}.",
        ),
    ] = 0
    requests: Annotated[
        str,
        Meta(
            max_length=4096,
            description="ratio: PromQL of a counter of all events; assignment: of new units. It must say "
            "$inferenceservice, which stands for the version that is asked about, and may say $namespace.",
        ),
    ] = ""
    events: Annotated[
        str, Meta(max_length=4096, description="ratio: PromQL of a counter of the bad ones among them, likewise.")
    ] = ""
    gate: Annotated[bool, Meta(description="Whether it decides; otherwise it is only reported.")] = True
    no_data: Annotated[
        Literal["hold", "fail", "ignore"],
        Meta(description="When there is nothing to count: hold, fail, or decide without it."),
    ] = "hold"
    provider_error: Annotated[
        Literal["hold", "ignore"], Meta(description="When metrics cannot be read. That never speaks against a version.")
    ] = "hold"
    inconclusive: Annotated[
        Literal["hold", "ignore"], Meta(description="When there is too little evidence either way.")
    ] = "hold"

    @property
    def full_name(self) -> str:
        """Its name."""
        return self.name or (ERRORS_IN_PODS if self.type == "errors" and self.where == "pods" else self.type)

    @property
    def min_rows(self) -> float:
        """Rows of the canary without which drift neither passes nor fails."""
        return float(self.min_requests or MIN_ROWS)

    @property
    def effective_floor(self) -> float:
        """The floor, or the default of its type."""
        if self.floor is not None:
            return self.floor
        return 0.0 if self.type == "latency" else _FLOOR


class Analysis(Struct, frozen=True):
    """Metrics, and what to do when they say nothing."""

    metrics: Annotated[
        list[Metric],
        Meta(
            max_length=16,
            description="Default: errors at the gateway and in the pods, latency, degraded answers; and drift, which "
            "is only reported.",
        ),
    ] = field(default_factory=list)
    interval: Annotated[Duration, Meta(description="Time between two samples of the counters.")] = "10s"
    warmup: Annotated[
        Duration,
        Meta(description="So soon after its first request latencies of the canary are not judged: caches are cold."),
    ] = "15s"
    source: Annotated[
        Literal["prometheus", "pods"],
        Meta(description="Where counters are read: from Prometheus, or from the pods and the gateway themselves."),
    ] = "prometheus"
    prometheus: Annotated[
        str,
        Meta(
            description="Address of Prometheus: one that the installation allows. Default: the one that the controller "
            "was installed with."
        ),
    ] = ""
    timeout: Annotated[Duration, Meta(description="Longest time from the first weight to a decision.")] = "1h"
    on_timeout: Annotated[
        Literal["pause", "abort", "promote"],
        Meta(description="What happens then. promote gives all requests to a version about which too little is known."),
    ] = "pause"
    dispersion: Annotated[
        Annotated[float, Meta(ge=1)] | None,
        Meta(
            description="How many times burstier than independent requests events come. Default: measured before the "
            "start, where the version that serves has two pods or more; else 1. Rows of drift are measured in the run, "
            "and the larger of both is taken.",
        ),
    ] = None

    @property
    def all_metrics(self) -> tuple[Metric, ...]:
        """The metrics; the default ones without any."""
        return tuple(self.metrics) or DEFAULT_METRICS


DEFAULT_METRICS: tuple[Metric, ...] = (
    Metric(type="errors"),
    Metric(type="errors", where="pods"),
    Metric(type="latency"),
    Metric(type="degraded"),
    Metric(type="drift", gate=False),
)
"""The metrics of an analysis that names none. How far predictions may be apart only the model's owner can say."""
