"""95 % intervals of what was counted."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_Z = 1.959963984540054


def wilson(count: int, of: int) -> tuple[float, float]:
    """Interval of a probability. Source: Wilson, JASA 22, 1927."""
    if not of:
        return 0.0, 1.0
    share, z2 = count / of, _Z * _Z
    middle = (share + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z / (1 + z2 / of) * math.sqrt(share * (1 - share) / of + z2 / (4 * of * of))
    return max(0.0, middle - half) if count else 0.0, min(1.0, middle + half) if count < of else 1.0


def of_means(ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Ratio of the means of pairs, with its interval by the delta method."""
    ratio = float(ours.mean() / theirs.mean())
    if len(ours) < 2:
        return ratio, 0.0, math.inf
    half = _Z * float(np.std(ours - ratio * theirs, ddof=1)) / math.sqrt(len(ours)) / float(theirs.mean())
    return ratio, ratio - half, ratio + half
