"""The result of one metric."""

from __future__ import annotations

import msgspec

from tandem_rollout.analysis.verdict import (
    Verdict,
)


class MetricResult(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """The result of one metric.

    Attributes:
        name: Name of the metric.
        type: Its type.
        verdict: Its verdict.
        gate: Whether it takes part in the decision.
        stable: Rate of stable's events; None without requests.
        canary: Rate of the canary's events; for drift the distance; for assignment the canary's share of the units.
        stable_requests: Requests of stable.
        canary_requests: Requests of the canary.
        ratio: The canary's rate over stable's; None without events.
        low: Lower end of the interval of the ratio.
        high: Upper end of the interval; None if it is unbounded.
        limit: Human-readable limit: the margin, the distance, or the time of a slow request.
        bound: The margin or the distance as a number; None if there is none.
        passing: For drift, the smallest limit that the canary would pass; None without enough rows.
        needed: Estimated number of further canary requests until the metric passes; None if it is not known.
        reason: Machine-readable reason why there is no verdict, or a limited one; empty if there is no such reason.
        message: Human-readable explanation of the reason.
    """

    name: str
    type: str
    verdict: Verdict
    gate: bool = True
    stable: float | None = None
    canary: float | None = None
    stable_requests: float = 0.0
    canary_requests: float = 0.0
    ratio: float | None = None
    low: float = 0.0
    high: float | None = None
    limit: str = ""
    bound: float | None = None
    passing: float | None = None
    needed: int | None = None
    reason: str = ""
    message: str = ""
