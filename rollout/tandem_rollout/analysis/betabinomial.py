"""Evidence that a share is not what it should be.

Of m rows, c fell on the canary; each should with probability w. Against that stands a share drawn from Beta(a, b):

    log E = log B(a + c, b + s) − log B(a, b) − c log w − s log(1 − w),   s = m − c

With a and b known before the rows were, exp of it has mean 1 if w is true, and products over samples are a martingale.
With a and b raised by the rows of each sample, the product does not depend on how the rows are cut into samples.

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
    gained = lgamma(a + canary) - lgamma(a) + lgamma(b + stable) - lgamma(b)
    normal = lgamma(a + b + canary + stable) - lgamma(a + b)
    return gained - normal - canary * log(share) - stable * log(1.0 - share)
