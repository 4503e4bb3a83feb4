"""The rule of an analysis run of Argo Rollouts, from its documentation and source.

A measurement is taken each interval: the success rate of the canary's requests since the last one. It fails below the
failure condition, succeeds from the success condition on, and is inconclusive between. One failure aborts with
``failureLimit`` 0; one that is inconclusive pauses the rollout until a person comes, with ``inconclusiveLimit`` 0. A
measurement that cannot be taken, because the source does not answer or ``result[0]`` is not there, is an error; it is
tried again after 10 seconds, and the fifth in a row aborts. After so many measurements the run has succeeded; so it has
when it ends with none at all.
"""

from __future__ import annotations

import numpy as np

from benchmarks.rollouts.tally import Tally
from tandem_rollout.analysis.priors import Floats
from tandem_rollout.simulation.evidence import Bools
from tandem_rollout.simulation.outage import SEEN, Codes
from tandem_rollout.simulation.outcome import PROMOTED, ROLLED_BACK, UNDECIDED

_RETRY_S = 10.0
_ERRORS = 5


class Argo(Tally):
    """The rule.

    Args:
        rollouts: How many.
        count: Measurements until the run has succeeded; 0 for a run that its rollout ends before the first.
        success: A success rate from here on succeeds.
        failure: A success rate below fails; None for everything that does not succeed.
        interval: Seconds between measurements.
    """

    def __init__(
        self,
        rollouts: int,
        *,
        count: int = 10,
        success: float = 0.99,
        failure: float | None = None,
        interval: float = 60.0,
    ) -> None:
        super().__init__(rollouts)
        self._count, self._success, self._interval = count, success, interval
        self._failure = success if failure is None else failure
        self._due = np.full(rollouts, interval)
        self._window = np.zeros((rollouts, 2))
        self._errors, self._measured = np.zeros(rollouts, np.int64), np.zeros(rollouts, np.int64)

    def take_sample(self, now: float, canary: Floats, events: Floats, trouble: Codes) -> None:
        """Take one more sample."""
        self.spend(canary, canary)
        self._window += np.stack([canary, events], axis=1)
        if not self._count:
            self.end(now, np.full(len(canary), PROMOTED))
            return
        due = now >= self._due
        if not due.any():
            return
        requests = self._window[:, 0]
        error = due & ((trouble != SEEN) | (requests == 0.0))
        rate = 1.0 - self._window[:, 1] / np.maximum(requests, 1.0)
        measured = due & ~error
        self._errors = np.where(error, self._errors + 1, np.where(measured, 0, self._errors))
        self._measured += measured
        self._due = np.where(error, now + _RETRY_S, np.where(measured, now + self._interval, self._due))
        self._window[measured] = 0.0
        failed = (measured & (rate < self._failure)) | (self._errors >= _ERRORS)
        unclear = measured & ~failed & (rate < self._success)
        complete = ~unclear & (self._measured >= self._count)
        self.end(now, np.where(failed, ROLLED_BACK, np.where(complete, PROMOTED, UNDECIDED)), hold=unclear)

    def keep(self, mask: Bools) -> None:
        """Go on with these rollouts only."""
        super().keep(mask)
        for name in ("_due", "_window", "_errors", "_measured"):
            setattr(self, name, getattr(self, name)[mask])
