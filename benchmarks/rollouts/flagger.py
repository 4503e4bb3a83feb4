"""Flagger's rule, from its documentation and source: checks against a fixed limit.

Each interval is a check: the success rate of the canary's requests since the last one must be at least the threshold's
minimum. A check that fails raises a counter that no later success lowers; at the threshold the release is rolled back.
No value (no requests, no series) and a Prometheus that cannot be asked are failed checks too. So many checks must pass
until the release is promoted.
"""

from __future__ import annotations

import numpy as np

from benchmarks.rollouts.tally import Tally
from tandem_rollout.analysis.priors import Floats
from tandem_rollout.simulation.evidence import Bools
from tandem_rollout.simulation.outage import SEEN, Codes
from tandem_rollout.simulation.outcome import PROMOTED, ROLLED_BACK, UNDECIDED


class Flagger(Tally):
    """The rule.

    Args:
        rollouts: How many.
        threshold: Failed checks that roll back; Flagger's default is 1.
        checks: Checks that must pass.
        success: Least success rate.
        interval: Seconds from check to check; Flagger's default is 60.
    """

    def __init__(
        self, rollouts: int, *, threshold: int = 1, checks: int = 10, success: float = 0.99, interval: float = 60.0
    ) -> None:
        super().__init__(rollouts)
        self._threshold, self._checks, self._success, self._interval = threshold, checks, success, interval
        self._due = interval
        self._window = np.zeros((rollouts, 2))
        self._failed, self._passed = np.zeros(rollouts, np.int64), np.zeros(rollouts, np.int64)

    def take_sample(self, now: float, canary: Floats, events: Floats, trouble: Codes) -> None:
        """Take one more sample."""
        self.spend(canary, canary)
        self._window += np.stack([canary, events], axis=1)
        if now < self._due:
            return
        self._due += self._interval
        requests, failures = self._window[:, 0], self._window[:, 1]
        rate = 1.0 - failures / np.maximum(requests, 1.0)
        passes = (trouble == SEEN) & (requests > 0.0) & (rate >= self._success)
        self._window = np.zeros_like(self._window)
        self._failed += ~passes
        self._passed += passes
        back, on = self._failed >= self._threshold, self._passed >= self._checks
        self.end(now, np.where(back, ROLLED_BACK, np.where(on, PROMOTED, UNDECIDED)))

    def keep(self, mask: Bools) -> None:
        """Go on with these rollouts only."""
        super().keep(mask)
        self._window, self._failed, self._passed = self._window[mask], self._failed[mask], self._passed[mask]
