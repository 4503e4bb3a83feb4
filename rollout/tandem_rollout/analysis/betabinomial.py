"""Evidence that a share is not as configured.

Of m rows, c belong to the canary. The null hypothesis is that each row does with probability w; the alternative is a
share drawn from Beta(a, b):

    log E = log B(a + c, b + s) − log B(a, b) − c log w − s log(1 − w),   s = m − c

If a and b are known before the rows, exp(log E) has mean 1 if w is true, and products over samples are a martingale. If
a and b are increased by the rows of each sample, the product does not depend on the division of rows into samples.

Source: the two-category case of Lindon and Malek, arXiv 2011.03567, section 3.
"""

from __future__ import annotations

from math import lgamma, log


def log_evidence(canary: float, stable: float, *, share: float, a: float, b: float) -> float:
    """Log E of one sample.

    Args:
        canary: Rows of the canary, c.
        stable: Rows of stable, s.
        share: w, strictly between 0 and 1.
        a: Parameter of the beta distribution, on the canary's side.
        b: Parameter on stable's side.
    """
    if canary + stable == 0:
        return 0.0
    # logs of gamma functions, as a beta function of some thousand rows is below the smallest float
    gained = lgamma(a + canary) - lgamma(a) + lgamma(b + stable) - lgamma(b)
    normal = lgamma(a + b + canary + stable) - lgamma(a + b)
    return gained - normal - canary * log(share) - stable * log(1.0 - share)
