"""Outages of metrics, of many rollouts at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

SEEN: Final = 0
"""The metrics have data."""
ABSENT: Final = 1
"""There is no data."""
UNREADABLE: Final = 2
"""The source of metrics cannot be read."""

Codes = npt.NDArray[np.int8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """The outages of metrics.

    Attributes:
        what: ``absent``: no data; ``unreadable``: the source does not respond; ``either``: one of both, at random.
        share: Share of the samples; 1 for all samples.
        lasting: Mean number of samples of an outage.
    """

    what: Literal["absent", "unreadable", "either"]
    share: float = 1.0
    lasting: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.share <= 1.0 or self.lasting < 1.0:
            raise ValueError("an outage must have a share above 0 and last at least one sample")
        if self.share < 1.0 and self.share / (1.0 - self.share) > self.lasting:
            raise ValueError("outages with this share must last longer")


class Blackouts:
    """Outages of many rollouts, sample by sample.

    Args:
        outage: The outages.
        random: Random number generator.
        rollouts: Number of rollouts.
    """

    def __init__(self, outage: Outage, random: np.random.Generator, rollouts: int) -> None:
        self._outage = outage
        self._random = random
        self._now = np.where(random.random(rollouts) < outage.share, self._kinds(rollouts), SEEN).astype(np.int8)

    def next_sample(self) -> Codes:
        """Codes of missing data in the next sample."""
        codes, outage = self._now, self._outage
        if outage.share < 1.0:
            chance = self._random.random(len(codes))
            # as many outages begin as end: (1 − share) · begins = share / lasting
            begins = chance < outage.share / (1.0 - outage.share) / outage.lasting
            goes_on = chance >= 1.0 / outage.lasting
            kinds = self._kinds(len(codes))
            self._now = np.where(codes, np.where(goes_on, codes, SEEN), np.where(begins, kinds, SEEN)).astype(np.int8)
        return codes

    def keep(self, kept: npt.NDArray[np.bool_]) -> None:
        """Keep only some rollouts."""
        self._now = self._now[kept]

    def _kinds(self, rollouts: int) -> Codes:
        if self._outage.what == "either":
            return self._random.integers(ABSENT, UNREADABLE + 1, rollouts, np.int8)
        return np.full(rollouts, ABSENT if self._outage.what == "absent" else UNREADABLE, np.int8)
