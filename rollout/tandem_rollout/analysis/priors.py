"""Priors of the sequential test: weights on ratios of good and of bad canaries."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Prior:
    """Weights on values of a parameter; they sum to 1.

    Attributes:
        values: Ratios of rates.
        weights: Their weights.

    Raises:
        ValueError: The weights are not a distribution over the values.
    """

    values: tuple[float, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        # mixtures use the logs of the weights
        if len(self.values) != len(self.weights) or min(self.weights) <= 0:
            raise ValueError("a prior must have one positive weight for each value")
        if not math.isclose(math.fsum(self.weights), 1.0):
            raise ValueError(f"the weights of a prior must sum to 1, not to {math.fsum(self.weights)}")
        if min(self.values) <= 0:
            raise ValueError("the ratios of a prior must be positive")


BAD = Prior((1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0), (0.05, 0.2, 0.35, 0.15, 0.1, 0.07, 0.05, 0.03))
"""Ratios of bad canaries."""


GOOD = Prior((0.25, 0.5, 0.75, 1.0, 1.25, 1.5), (0.05, 0.1, 0.15, 0.55, 0.1, 0.05))
"""Ratios of good canaries, for margins above 1.5."""


BELOW_FLOOR = Prior((0.01, 0.1, 0.25, 0.5), (0.7, 0.15, 0.1, 0.05))
"""Rates of good canaries, relative to the floor. Most weight is on almost none: the floor is for rare events."""


def good_below(margin: float) -> Prior:
    """The part of :data:`GOOD` that lies below a margin, weights scaled to sum to 1."""
    # with a ratio at or above the margin E would not be a supermartingale for every worse canary
    components = [(value, weight) for value, weight in zip(GOOD.values, GOOD.weights, strict=True) if value < margin]
    total = math.fsum(weight for _, weight in components)
    return Prior(tuple(value for value, _ in components), tuple(weight / total for _, weight in components))
