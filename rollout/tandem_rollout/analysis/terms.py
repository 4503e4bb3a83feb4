"""The terms on which a sample is judged, and its outcome."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from tandem_rollout.analysis.counts import Increments
from tandem_rollout.analysis.record import (
    Counts,
    MetricEvidence,
    to_failure,
)
from tandem_rollout.analysis.sequential import Shares
from tandem_rollout.analysis.verdict import ProviderError, Trouble


class SampleTerms(NamedTuple):
    """The terms on which a sample is judged.

    Attributes:
        shares: Bounds of the canary's share of the requests.
        alone: Whether the canary has all requests.
        baking: Whether the canary is promoted and is compared with the holdback.
        cold: Whether the canary's caches are cold, so that its latency is not judged.
    """

    shares: Shares
    alone: bool
    baking: bool
    cold: bool

    @property
    def bounds(self) -> Shares | None:
        """Bounds of the canary's share; None if it is known."""
        return None if self.shares.known else self.shares


SampleOutcome = tuple[MetricEvidence, Counts | None, Counts | None]
"""The evidence after a sample, the counts that were judged, and the counts that were only reported."""


def four_counts(sample: Increments) -> Counts:
    """The counts of a sample as a tuple."""
    return sample.canary_requests, sample.canary_events, sample.stable_requests, sample.stable_events


def without_data(gathered: MetricEvidence, trouble: Trouble) -> MetricEvidence:
    """The evidence after a sample without data.

    Args:
        gathered: The evidence of the previous samples.
        trouble: Why the sample has no data.
    """
    missing = "provider-error" if isinstance(trouble, ProviderError) else "no-data"
    return msgspec.structs.replace(gathered, trouble=to_failure(trouble), missing=missing)
