"""The confluent hypergeometric limit function."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from tandem_rollout.analysis.priors import Floats

_TERMS: Final = 90


_SMALL: Final = 400.0
"""Below this argument the series has converged after ``_TERMS`` terms; above it the expansion is exact to 1e-5."""


# NumPy has no log-gamma, and SciPy is not a dependency
_lgamma = np.frompyfunc(math.lgamma, 1, 1)


def log_0f1(a: npt.ArrayLike, x: npt.ArrayLike) -> Floats:
    """Log of the confluent hypergeometric limit function 0F1(; a; x), which is Γ(a) x^((1−a)/2) I_{a−1}(2√x).

    It is computed by its series for small x, and by the uniform expansion of I with two terms otherwise (DLMF 10.41.3).

    Args:
        a: Parameter, above 0.
        x: Argument, 0 or more.
    """
    a, x = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(x, np.float64))
    small = x < _SMALL
    result = np.empty(x.shape)
    result[small] = _by_series(a[small], x[small])
    result[~small] = _by_expansion(a[~small], x[~small])
    return result


def _by_series(a: Floats, x: Floats) -> Floats:
    # sums without logs: for a of at least 1/2 and x below 400 the result is cosh(40) at most
    term, total = np.ones_like(x), np.ones_like(x)
    # an empty part would take as many calls of NumPy as a full one
    for number in range(1, _TERMS if x.size else 1):
        term = term * (x / (number * (a + number - 1.0)))
        total = total + term
    return np.log(total)


def _by_expansion(a: Floats, x: Floats) -> Floats:
    # logs throughout, as exp(2√x) overflows for x above 126,000
    order, argument = a - 1.0, 2.0 * np.sqrt(x)
    root = np.hypot(order, argument)
    t2 = (order / root) ** 2
    leading = root + order * np.log(argument / (order + root)) - 0.5 * np.log(2.0 * math.pi * root)
    further = (3.0 - 5.0 * t2) / (24.0 * root) + (81.0 - 462.0 * t2 + 385.0 * t2**2) / (1152.0 * root**2)
    gamma = np.asarray(_lgamma(a), np.float64)
    return np.asarray(gamma - order * np.log(argument / 2.0) + leading + np.log1p(further), np.float64)
