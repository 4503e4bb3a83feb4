"""Wald's sequential probability ratio test with known rates: a lower bound that is not available in practice.

It uses the canary only. Of n requests k were events; with p0 of a good canary and p1 of a bad one

    log L = k ln(p1 / p0) + (n − k) ln((1 − p1) / (1 − p0))

promotes at ln(β / (1 − α)) and rolls back at ln((1 − β) / α). Source: Wald, Sequential Tests of Statistical
Hypotheses, 1945.
"""

from __future__ import annotations

import math

import numpy as np

from benchmarks.rollouts.tally import Tally
from tandem_rollout.analysis.priors import Floats
from tandem_rollout.simulation.evidence import Bools
from tandem_rollout.simulation.outage import SEEN, Codes
from tandem_rollout.simulation.outcome import PROMOTED, ROLLED_BACK, UNDECIDED


class Sprt(Tally):
    """The test.

    Args:
        rollouts: How many.
        good: Rate of a good canary, p0.
        bad: Rate of a bad one, p1.
        alpha: Chance to roll back a good one.
        beta: Chance to promote a bad one.
    """

    def __init__(self, rollouts: int, *, good: float, bad: float, alpha: float = 0.01, beta: float = 0.01) -> None:
        super().__init__(rollouts)
        self._event, self._other = math.log(bad / good), math.log((1.0 - bad) / (1.0 - good))
        self._low, self._high = math.log(beta / (1.0 - alpha)), math.log((1.0 - beta) / alpha)
        self._log = np.zeros(rollouts)

    def take_sample(self, now: float, canary: Floats, events: Floats, trouble: Codes) -> None:
        """Take one more sample."""
        counted = trouble == SEEN
        self.spend(canary, np.where(counted, canary, 0.0))
        self._log += np.where(counted, events * self._event + (canary - events) * self._other, 0.0)
        self.end(
            now, np.where(self._log >= self._high, ROLLED_BACK, np.where(self._log <= self._low, PROMOTED, UNDECIDED))
        )

    def keep(self, mask: Bools) -> None:
        """Go on with these rollouts only."""
        super().keep(mask)
        self._log = self._log[mask]
