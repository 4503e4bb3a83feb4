"""The dashboard of one rollout."""

from __future__ import annotations

from typing import Final

from charts.dashboards.grafana import Dashboard, Panel, Variable
from charts.dashboards.queries import PODS, RATE_INTERVAL, ROLLOUT, WEIGHTED, mean, quantile, rate
from charts.dashboards.run import RUN

_FAILED: Final = rate("tandem_requests_total", "variant", ',code=~"5.."')
_ANSWERED: Final = rate("tandem_requests_total", "variant")
# a status that was never answered has no series: that is a share of 0, not of nothing
_ERRORS: Final = f"({_FAILED} or {_ANSWERED} * 0) / {_ANSWERED}"

_REQUESTS: Final = (
    Panel("Requests", ((rate("tandem_requests_total", "variant"), "{{variant}}"),), "reqps", "Answers per second."),
    Panel(
        "Errors",
        ((_ERRORS, "{{variant}}"),),
        "percentunit",
        "Share of answers with a status of 500 or more. The gateway counts requests to pods that do not answer.",
    ),
    Panel(
        "Answers by status",
        ((rate("tandem_requests_total", "variant, code"), "{{variant}} {{code}}"),),
        "reqps",
    ),
    Panel(
        "Requests by traffic",
        ((rate("tandem_requests_total", "variant, traffic"), "{{variant}} {{traffic}}"),),
        "reqps",
        "weighted: the weights sent them, and only they decide about a version. pinned and preview: the client chose.",
    ),
    Panel(
        "Latency",
        tuple(
            (quantile(share, "tandem_request_seconds", "variant"), f"{{{{variant}}}} p{share * 100:g}")
            for share in (0.5, 0.95, 0.99)
        ),
        "s",
        "From the arrival of a request at the transformer to its answer.",
        width=12,
    ),
    Panel(
        "Stages",
        ((mean("tandem_stage_seconds", "variant, stage"), "{{variant}} {{stage}}"),),
        "s",
        "Mean time of a batch in each stage: decode, lookup, on-demand and model-dependent transforms, predict, post.",
        width=12,
    ),
)
_QUALITY: Final = (
    Panel(
        "Degraded",
        (
            (
                f"{rate('tandem_degraded_total', 'variant, reason, source')} / on (variant) group_left () "
                f"{rate('tandem_rows_per_batch_sum', 'variant')}",
                "{{variant}} {{reason}} {{source}}",
            ),
        ),
        "percentunit",
        "Share of rows that were answered without all stored values, by reason and what stands for them.",
    ),
    Panel(
        "Age of features",
        (
            (quantile(0.95, "tandem_feature_age_seconds", "variant, view"), "{{variant}} {{view}} p95"),
            (quantile(0.95, "tandem_last_known_age_seconds", "variant, view"), "{{variant}} {{view}} last known p95"),
        ),
        "s",
        "Age of the stored values that were looked up. Last known: since the store was asked for them.",
    ),
    Panel(
        "Predictions",
        tuple(
            (quantile(share, "tandem_prediction", "variant"), f"{{{{variant}}}} p{share * 100:g}")
            for share in (0.1, 0.5, 0.9)
        ),
        unit="none",
        text="Quantiles of the predictions. Variants that differ have other predictions or other requests.",
    ),
    Panel(
        "Distribution of predictions",
        ((f"sum by (le) (increase(tandem_prediction_bucket{{{PODS}}}[{RATE_INTERVAL}]))", "{{le}}"),),
        text="Predictions by the buckets of the contract. Choose one variant at a time.",
        kind="heatmap",
        width=24,
    ),
)
_SCALE: Final = (
    Panel(
        "In flight",
        (
            (f"sum by (variant) (tandem_inflight_requests{{{PODS}}})", "{{variant}} transformers"),
            (f"sum by (variant) (tandem_predictor_inflight_requests{{{PODS}}})", "{{variant}} predictors"),
            (f"sum by (variant) (nv_inference_pending_request_count{{{PODS}}})", "{{variant}} Triton"),
        ),
        text="Requests in flight at the time of a scrape. Autoscaling uses their mean over a minute.",
    ),
    Panel(
        "Replicas",
        ((f"count by (variant, component) (up{{{PODS}}} == 1)", "{{variant}} {{component}}"),),
        text="Pods that Prometheus scrapes.",
    ),
    Panel(
        "Predictors found",
        ((f"min by (variant) (tandem_predictor_endpoints{{{PODS}}})", "{{variant}}"),),
        text="Minimum number of predictor addresses of a transformer.",
    ),
    Panel(
        "Rows per batch",
        (
            (mean("tandem_rows_per_batch", "variant"), "{{variant}} transformers"),
            (mean("tandem_predictor_rows_per_batch", "variant"), "{{variant}} predictors"),
        ),
    ),
    Panel(
        "Runs of the model",
        ((quantile(0.95, "tandem_predictor_inference_seconds", "variant"), "{{variant}} p95"),),
        "s",
    ),
    Panel(
        "Queue of the predictors",
        ((f"sum by (variant) (tandem_predictor_queue_rows{{{PODS}}})", "{{variant}}"),),
        text="Rows that wait for inference.",
    ),
    Panel(
        "CPU",
        ((rate("process_cpu_seconds_total", "variant, component"), "{{variant}} {{component}}"),),
        text="Cores in use.",
        width=12,
    ),
    Panel(
        "Memory",
        (
            (
                f"max by (variant, component) (process_resident_memory_bytes{{{PODS}}})",
                "{{variant}} {{component}}",
            ),
        ),
        "bytes",
        "Of the largest pod.",
        width=12,
    ),
)
_SHARES: Final = (
    Panel(
        "Weights",
        ((f"max by (variant) (tandem_rollout_weight{{{PODS}}})", "{{variant}}"),),
        text="Weights of the route.",
        width=12,
    ),
    Panel(
        "Share of requests",
        (
            (
                f"{rate('tandem_requests_total', 'variant', WEIGHTED)} / ignoring (variant) group_left () "
                f"sum (rate(tandem_requests_total{{{ROLLOUT}{WEIGHTED}}}[{RATE_INTERVAL}]))",
                "{{variant}}",
            ),
        ),
        "percentunit",
        "Of the requests that the weights sent: pinned ones are left out.",
        width=12,
    ),
)

MODEL: Final = Dashboard(
    name="model",
    title="Tandem / Model",
    variables=(
        Variable("namespace", "Namespace", "label_values(tandem_inflight_requests, namespace)"),
        Variable("rollout", "Rollout", 'label_values(tandem_inflight_requests{namespace="$namespace"}, rollout)'),
        Variable("variant", "Variant", f"label_values(tandem_inflight_requests{{{ROLLOUT}}}, variant)", many=True),
    ),
    rows=(
        ("Requests", _REQUESTS),
        ("Shares", _SHARES),
        ("Run", RUN),
        ("Features and predictions", _QUALITY),
        ("Pods", _SCALE),
    ),
)
"""One rollout, its variants apart."""
