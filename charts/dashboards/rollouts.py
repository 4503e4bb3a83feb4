"""The dashboard of all rollouts."""

from __future__ import annotations

from typing import Final

from charts.dashboards.grafana import Dashboard, Panel, Variable
from charts.dashboards.queries import RATE_INTERVAL

_WHERE: Final = 'namespace=~"$namespace"'
_ROLLOUTS: Final = (
    Panel(
        "Rollouts",
        ((f"count (tandem_rollout_ready{{{_WHERE}}})", "all"),),
        kind="stat",
        width=4,
    ),
    Panel(
        "Not ready",
        ((f"count (tandem_rollout_ready{{{_WHERE}}} == 0) or vector(0)", "not ready"),),
        kind="stat",
        width=4,
    ),
    Panel(
        "Readiness",
        ((f"max by (namespace, rollout) (tandem_rollout_ready{{{_WHERE}}})", "{{namespace}}/{{rollout}}"),),
        text="1 if a rollout is ready.",
        kind="state-timeline",
        width=16,
    ),
    Panel(
        "Weights",
        (
            (
                f"max by (namespace, rollout, variant) (tandem_rollout_weight{{{_WHERE}}})",
                "{{namespace}}/{{rollout}} {{variant}}",
            ),
        ),
        width=12,
    ),
    Panel(
        "Requests",
        (
            (
                f"sum by (namespace, rollout) (rate(tandem_requests_total{{{_WHERE}}}[{RATE_INTERVAL}]))",
                "{{namespace}}/{{rollout}}",
            ),
        ),
        "reqps",
        width=12,
    ),
)
_UNDER_WAY: Final = f'tandem_rollout_run_state{{{_WHERE},state!~"Promoted|Aborted|RolledBack|Completed"}} == 1'
_RUNS: Final = (
    Panel("Under way", ((f"count ({_UNDER_WAY}) or vector(0)", "under way"),), kind="stat", width=4),
    Panel(
        "Waiting for approval",
        (
            (
                f'count (tandem_rollout_run_state{{{_WHERE},state=~"AwaitingApproval|Paused"}} == 1) or vector(0)',
                "wait",
            ),
        ),
        text="Waiting for an approval, or paused.",
        kind="stat",
        width=4,
    ),
    Panel(
        "States of runs",
        (
            (
                f"max by (namespace, rollout, state) ({_UNDER_WAY})",
                "{{namespace}}/{{rollout}} {{state}}",
            ),
        ),
        text="Of active runs.",
        kind="state-timeline",
        width=16,
    ),
    Panel(
        "Weights of canaries",
        tuple(
            (
                f"max by (namespace, rollout) (tandem_rollout_canary_{metric}_ratio{{{_WHERE}}})",
                f"{{{{namespace}}}}/{{{{rollout}}}} {legend}",
            )
            for metric, legend in (("weight", "set"), ("measured", "measured"))
        ),
        "percentunit",
        width=12,
    ),
    Panel(
        "Ends of runs",
        (
            (
                f"sum by (result) (increase(tandem_rollout_runs_total{{{_WHERE}}}[1h]))",
                "{{result}}",
            ),
        ),
        text="In the hour before.",
        width=12,
    ),
)
_RECONCILE: Final = "tandem_controller_reconcile_seconds"
_CONTROLLER: Final = (
    Panel(
        "Reconciles",
        ((f"sum (rate({_RECONCILE}_count[{RATE_INTERVAL}]))", "passes"),),
        "ops",
        "Reconciles of rollouts per second.",
    ),
    Panel(
        "Failed reconciles",
        ((f"sum (rate(tandem_controller_reconcile_errors_total[{RATE_INTERVAL}]))", "failed"),),
        "ops",
        "They are retried.",
    ),
    Panel(
        "Duration of a reconcile",
        tuple(
            (
                f"histogram_quantile({share}, sum by (le) (rate({_RECONCILE}_bucket[{RATE_INTERVAL}])))",
                f"p{share * 100:g}",
            )
            for share in (0.5, 0.99)
        ),
        "s",
    ),
    Panel(
        "Leader",
        (("tandem_controller_leader", "{{pod}}"),),
        "none",
        "1 for the pod that acts.",
    ),
)

ROLLOUTS: Final = Dashboard(
    name="rollouts",
    title="Tandem / Rollouts",
    variables=(Variable("namespace", "Namespace", "label_values(tandem_rollout_ready, namespace)", many=True),),
    rows=(("Rollouts", _ROLLOUTS), ("Runs", _RUNS), ("Controller", _CONTROLLER)),
)
"""All rollouts of the chosen namespaces, and the controller."""
