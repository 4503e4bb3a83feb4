"""What has become of the rollouts that a rule decides about."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tandem_rollout.analysis.priors import Floats
from tandem_rollout.simulation.evidence import Bools
from tandem_rollout.simulation.outcome import UNDECIDED, Outcomes, blank


class Tally:
    """Requests spent, and ends.

    Args:
        rollouts: How many.
    """

    def __init__(self, rollouts: int) -> None:
        self.outcomes: Outcomes = blank(rollouts)
        """How they have ended so far."""
        self._index = np.arange(rollouts)
        self._running = np.ones(rollouts, np.bool_)
        self._requests, self._samples = np.zeros(rollouts), np.zeros(rollouts)

    @property
    def running(self) -> Bools:
        """Which rollouts have not ended."""
        return self._running

    def spend(self, requests: Floats, samples: Floats) -> None:
        """Requests of the canary in a sample, and those of them that were counted."""
        self._requests += requests
        self._samples += samples

    def end(self, now: float, how: npt.NDArray[np.int_], *, hold: Bools | None = None) -> None:
        """Some rollouts end.

        Args:
            now: Seconds since the first weight.
            how: How they end; those that are undecided go on.
            hold: Those that end undecided, waiting for a person.
        """
        over = self._running & (how != UNDECIDED)
        if hold is not None:
            over |= self._running & hold
        if not over.any():
            return
        index = self._index[over]
        self.outcomes.ended[index] = how[over]
        self.outcomes.seconds[index] = now
        self.outcomes.requests[index] = self._requests[over]
        self.outcomes.samples[index] = self._samples[over]
        self._running = self._running & ~over

    def keep(self, mask: Bools) -> None:
        """Go on with these rollouts only."""
        for name in ("_index", "_running", "_requests", "_samples"):
            setattr(self, name, getattr(self, name)[mask])

    def give_up(self, now: float) -> None:
        """The simulation ends; what has not been decided stays so."""
        self.end(now, np.zeros(len(self._running), np.int_), hold=self._running)
