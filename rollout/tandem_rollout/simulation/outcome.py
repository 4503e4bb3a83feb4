"""How rollouts ended, and what that took."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import numpy.typing as npt

from tandem_rollout.analysis.priors import Floats

UNDECIDED: Final = 0
"""No decision within the time there was, or it is left to a person."""
PROMOTED: Final = 1
ROLLED_BACK: Final = 2
TAKEN_BACK: Final = 3
"""Promoted, and rolled back while it baked."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """How rollouts ended, one entry for each.

    Attributes:
        ended: One of the four above.
        seconds: From the canary's first weight to the decision, or to the end of the simulation; the bake time is not
            counted.
        requests: Requests that the canary answered until then.
        samples: Those of them that evidence was taken from.
        unseen: Whether it was rolled back at a sample that counted nothing.
    """

    ended: npt.NDArray[np.int8]
    seconds: Floats
    requests: Floats
    samples: Floats
    unseen: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.ended)

    def share(self, *how: int) -> float:
        """Share of the rollouts that ended so."""
        return float(np.isin(self.ended, how).mean()) if len(self) else math.nan

    def count(self, *how: int) -> int:
        """Number of the rollouts that ended so."""
        return int(np.isin(self.ended, how).sum())


def blank(rollouts: int) -> Outcomes:
    """Outcomes of rollouts that are still to come."""
    return Outcomes(
        np.full(rollouts, UNDECIDED, np.int8),
        np.zeros(rollouts),
        np.zeros(rollouts),
        np.zeros(rollouts),
        np.zeros(rollouts, np.bool_),
    )


def joined(parts: Sequence[Outcomes]) -> Outcomes:
    """Outcomes of all parts, in order."""
    return Outcomes(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Outcomes)))


@dataclass(frozen=True, slots=True)
class Spread:
    """How a number spreads over rollouts.

    Attributes:
        mean: Mean.
        median: Half of the rollouts have less.
        p90: Nine in ten have less.
        p99: 99 in 100 have less.
    """

    mean: float
    median: float
    p90: float
    p99: float


def spread(values: Floats) -> Spread | None:
    """How numbers spread; None where there are none."""
    if not len(values):
        return None
    median, p90, p99 = (float(quantile) for quantile in np.quantile(values, [0.5, 0.9, 0.99]))
    return Spread(float(values.mean()), median, p90, p99)
