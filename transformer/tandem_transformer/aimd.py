"""How many rows may be in the transformer: additive increase, multiplicative decrease. Pure.

While calls are answered soon, more may wait; as soon as one takes too long, fewer may. So as many are taken as the
backends are fast, whatever that is at the moment. Source: D.-M. Chiu and R. Jain, "Analysis of the Increase and
Decrease Algorithms for Congestion Avoidance in Computer Networks", 1989.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_DECREASE: Final = 0.7
_INCREASE: Final = 0.25


class Limit(NamedTuple):
    """How many rows may wait or be on their way.

    Attributes:
        rows: So many.
        held_until: No further decrease before this time: calls that were taken before the last one still come.
    """

    rows: float
    held_until: float = float("-inf")


class Sample(NamedTuple):
    """What a batch shows when it is answered.

    Attributes:
        seconds: From the arrival of its oldest call to its answer.
        rows: Its rows.
        inside: Rows that wait or are on their way, its own included.
        now: The time.
    """

    seconds: float
    rows: int
    inside: int
    now: float


def adapt(limit: Limit, sample: Sample, *, target_s: float, least: float, most: float) -> Limit:
    """The limit after a further batch.

    Args:
        limit: So far.
        sample: What the batch shows.
        target_s: Seconds within which calls should be answered.
        least: Fewest rows of a limit.
        most: Most rows of a limit.
    """
    if sample.seconds > target_s:
        if sample.now < limit.held_until:
            return limit
        # from what is there, where the limit is far above it
        rows = max(least, _DECREASE * min(limit.rows, sample.inside))
        return Limit(min(rows, limit.rows), sample.now + sample.seconds)
    # only a limit that is nearly reached says anything
    if limit.rows < most and sample.inside > limit.rows / 2:
        return Limit(min(most, limit.rows + _INCREASE * sample.rows), limit.held_until)
    return limit
