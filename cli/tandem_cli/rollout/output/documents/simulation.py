"""The document of ``tandem rollout simulate``."""

from __future__ import annotations

from typing import Literal

from tandem_cli.rollout.output.documents.base import SCHEMA, DocumentPart


class Distribution(DocumentPart, frozen=True, kw_only=True):
    """The distribution of a number over the rollouts that were decided.

    Attributes:
        mean: Mean.
        median: Median.
        p90: 90th percentile.
        p99: 99th percentile.
    """

    mean: float
    median: float
    p90: float
    p99: float


class SimulatedCanaries(DocumentPart, frozen=True, kw_only=True):
    """The outcomes of canaries of one kind.

    Attributes:
        ratio: Their rate of events divided by the rate of stable; for drift, their distance divided by the limit.
        rollouts: Number of simulated rollouts.
        promoted: Share that was promoted and not rolled back.
        rolled_back: Share that was rolled back before the promotion.
        taken_back: Share that was rolled back during the bake time.
        undecided: Share without a decision in time.
        requests: Requests to the canary until the decision; null if none was decided.
        minutes: Minutes until the decision, without the bake time; null if none was decided.
    """

    ratio: float
    rollouts: int
    promoted: float
    rolled_back: float
    taken_back: float
    undecided: float
    requests: Distribution | None
    minutes: Distribution | None


class SimulationDocument(DocumentPart, frozen=True, kw_only=True):
    """``tandem rollout simulate``.

    Attributes:
        name: Name of the rollout; empty without a manifest.
        requests_per_second: Requests per second to both versions together.
        rates: Rates of the events of stable, by name of the metric.
        worse: The metric by which bad canaries are worse.
        decides: Whether that metric decides.
        limit: For drift, the limit of the distance; null for other metrics.
        weights: The weights of the steps, in percent.
        timeout_seconds: Longest time to a decision.
        on_timeout: What happens at the time-out.
        seed: Seed of the random numbers.
        canaries: The outcomes, by kind of canary.
    """

    api_version: str = SCHEMA
    kind: Literal["RolloutSimulation"] = "RolloutSimulation"
    name: str
    requests_per_second: float
    rates: dict[str, float]
    worse: str
    decides: bool
    limit: float | None
    weights: list[int]
    timeout_seconds: float
    on_timeout: str
    seed: int
    canaries: list[SimulatedCanaries]
