"""How much of a request's time a hop keeps for itself, and how much it passes on. Pure.

What follows a hop is measured: its mean and its deviation, as TCP estimates round trips (RFC 6298, section 2). So much
is kept back, and the hop gets the rest.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_MEAN_GAIN: Final = 1 / 8
_DEVIATION_GAIN: Final = 1 / 4
_DEVIATIONS: Final = 4
_MOST: Final = 0.5
"""No more than this part of what is left is kept back: an outage behind a hop must not take the hop all its time."""


class Estimate(NamedTuple):
    """A running estimate of how long something takes, in seconds.

    Attributes:
        mean: Smoothed mean.
        deviation: Smoothed mean deviation from it.
    """

    mean: float = 0.0
    deviation: float = 0.0

    @property
    def bound(self) -> float:
        """Seconds within which it is almost always done."""
        return self.mean + _DEVIATIONS * self.deviation


def observe(estimate: Estimate, seconds: float) -> Estimate:
    """The estimate after a further measurement.

    Args:
        estimate: So far; that of nothing measured is ``Estimate()``.
        seconds: What it took this time.
    """
    mean, deviation = estimate
    # the first measurement is all that is known (RFC 6298, section 2.2)
    if not mean and not deviation:
        return Estimate(seconds, seconds / 2)
    deviation += _DEVIATION_GAIN * (abs(mean - seconds) - deviation)
    return Estimate(mean + _MEAN_GAIN * (seconds - mean), deviation)


def share_of(remaining: float, estimate: Estimate) -> float:
    """Seconds that a hop gets of those that remain.

    Args:
        remaining: Seconds until the deadline, negative after it.
        estimate: How long all takes that follows the hop.
    """
    return remaining - min(estimate.bound, max(remaining, 0.0) * _MOST)
