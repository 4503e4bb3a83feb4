"""PromQL about the pods of one rollout, as panels need it.

Series of a model's pods have the labels that the PodMonitor of their rollout sets: ``namespace``, ``rollout``,
``variant``, ``component``, ``pod``.
"""

from __future__ import annotations

from typing import Final

RATE_INTERVAL: Final = "$__rate_interval"
"""Grafana puts the interval of rates here: four scrapes at least."""

ROLLOUT: Final = 'namespace="$namespace",rollout="$rollout"'
"""Selects the series of the chosen rollout."""

PODS: Final = f'{ROLLOUT},variant=~"$variant"'
"""Selects the series of the chosen variants' pods."""

WEIGHTED: Final = ',traffic="weighted"'
"""Leaves the requests that the weights sent."""


def rate(metric: str, by: str, selector: str = "") -> str:
    """Per second, summed over pods.

    Args:
        metric: Name of a counter.
        by: Labels that stay apart, with commas between them.
        selector: Further matchers, each with a comma before it.
    """
    return f"sum by ({by}) (rate({metric}{{{PODS}{selector}}}[{RATE_INTERVAL}]))"


def quantile(share: float, metric: str, by: str) -> str:
    """Of a histogram, over all pods.

    Args:
        share: Of the observations that are below, 0 to 1.
        metric: Name of the histogram.
        by: Labels that stay apart, with commas between them.
    """
    return f"histogram_quantile({share}, {rate(metric + '_bucket', f'le, {by}')})"


def mean(metric: str, by: str) -> str:
    """Of a histogram, over all pods.

    Args:
        metric: Name of the histogram.
        by: Labels that stay apart, with commas between them.
    """
    return f"{rate(metric + '_sum', by)} / {rate(metric + '_count', by)}"
