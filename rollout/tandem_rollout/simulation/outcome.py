"""Outcomes of rollouts, and their cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from tandem_rollout.analysis.priors import Floats

UNDECIDED: Final = 0
"""No decision before the end, or the run waits for a user."""
PROMOTED: Final = 1
ROLLED_BACK: Final = 2
TAKEN_BACK: Final = 3
"""Promoted, and rolled back during the bake time."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outcomes of rollouts, with one entry for each.

    Attributes:
        ended: Outcome, one of the constants above.
        seconds: Seconds from the first weight to the decision, or to the end of the simulation, without the bake time.
        requests: Requests of the canary until then.
        samples: Counted requests among them.
        unseen: Whether the rollout was rolled back at a sample without counts.
    """

    ended: npt.NDArray[np.int8]
    seconds: Floats
    requests: Floats
    samples: Floats
    unseen: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ended)

    def share(self, *how: int) -> float:
        """Share of the rollouts with some outcomes."""
        return float(np.isin(self.ended, how).mean()) if len(self) else math.nan

    def count(self, *how: int) -> int:
        """Number of the rollouts with some outcomes."""
        return int(np.isin(self.ended, how).sum())


def blank(rollouts: int) -> Outcomes:
    """Outcomes of rollouts that have not ended."""
    return Outcomes(
        np.full(rollouts, UNDECIDED, np.int8),
        np.zeros(rollouts),
        np.zeros(rollouts),
        np.zeros(rollouts),
        np.zeros(rollouts, np.bool_),
    )


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """The outcomes of all parts, in order."""
    return Outcomes(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Outcomes)))


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of a number over rollouts.

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


def spread(values: Floats) -> Spread | None:
    """The distribution of numbers; None if there are none."""
    if not len(values):
        return None
    median, p90, p99 = (float(quantile) for quantile in np.quantile(values, [0.5, 0.9, 0.99]))
    return Spread(float(values.mean()), median, p90, p99)
