"""Counters with wrong values, of many rollouts at once.

Each arm has one target, which exports a counter of requests and one of events. At random times

- it restarts: both counters begin at zero, and the counts since the last scrape are lost;
- a scrape has NaN, a negative value, or a value that is too high;
- its exporter hangs: some scrapes repeat the values of the first of them.

The scrapes are evaluated by :func:`tandem_rollout.analysis.counts.extend`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tandem_rollout.analysis.counts import ArmCounts, Key, extend, totals
from tandem_rollout.analysis.priors import Floats
from tandem_rollout.simulation.outage import ABSENT, Codes

_HANGS: Final = 3
"""Number of scrapes that a hanging exporter repeats."""
_TARGET: Final = "target"
_WRONG: Final = (math.nan, -1.0, 1e300)

Four = tuple[Floats, Floats, Floats, Floats]
"""The canary's requests and events, then stable's requests and events."""


@dataclass(frozen=True, slots=True)
class Lies:
    """The frequency of wrong counters.

    Attributes:
        share: Share of the scrapes of one arm in which an error begins.
    """

    share: float


class Liars:
    """Counters of many rollouts, scrape by scrape. They are scraped once before the first sample.

    Args:
        lies: The frequency of errors.
        random: Random number generator.
        rollouts: Number of rollouts.
        served: Requests that stable has counted before the rollout.
    """

    def __init__(self, lies: Lies, random: np.random.Generator, rollouts: int, *, served: float = 20_000.0) -> None:
        self._share = lies.share
        self._random = random
        self._true = np.zeros((rollouts, 4))
        self._true[:, 2] = served
        self._shown = self._true.copy()
        self._accepted = self._true.copy()
        self._late = np.zeros((rollouts, 2))
        self._hangs = np.zeros((rollouts, 2), np.int8)
        self._touched = np.zeros(rollouts, np.bool_)

    def scrape(self, counts: Four) -> tuple[Four, Codes]:
        """The counts of a sample by both arms, and the codes of missing data."""
        added = np.stack(counts, axis=1)
        shown, touched = self._export(added)
        # only these take the slow way; the scrape after an error is compared with an earlier one
        suspect = touched | self._touched
        with np.errstate(invalid="ignore"):
            # wrong values are replaced below
            counted = shown - self._accepted
        codes = np.zeros(len(added), np.int8)
        accepted = shown.copy()
        for row, arm in np.argwhere(np.repeat(suspect[:, None], 2, axis=1)):
            cut = slice(2 * arm, 2 * arm + 2)
            before = ArmCounts(scraped={_TARGET: 0.0}, shown={_TARGET: _values(self._accepted[row, cut])})
            after = extend(before, {_TARGET: _values(shown[row, cut])}, {_TARGET: 1.0})
            counted[row, cut] = totals(after.counted.values())
            accepted[row, cut] = tuple(after.shown[_TARGET].values())
            codes[row] = ABSENT if after.trouble else codes[row]
        # an event whose request is not counted yet waits for it
        events = counted[:, 1::2] + self._late
        counted[:, 1::2] = np.minimum(events, counted[:, ::2])
        self._late = events - counted[:, 1::2]
        self._accepted, self._shown, self._touched = accepted, shown, touched
        return (counted[:, 0], counted[:, 1], counted[:, 2], counted[:, 3]), codes

    def keep(self, kept: npt.NDArray[np.bool_]) -> None:
        """Keep only some rollouts."""
        for name in ("_true", "_shown", "_accepted", "_late", "_hangs", "_touched"):
            setattr(self, name, getattr(self, name)[kept])

    def _export(self, added: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """The values of the scrape, and the rollouts with an error."""
        hung = self._hangs > 0
        begins = self._random.random((len(added), 2)) < self._share
        kinds = self._random.integers(0, 3, begins.shape)
        self._true = self._true + added
        self._hangs = np.where(hung, self._hangs - 1, np.where(begins & (kinds == 1), _HANGS, 0)).astype(np.int8)
        for row, arm in np.argwhere(begins & (kinds == 0) & ~hung):
            cut = slice(2 * arm, 2 * arm + 2)
            self._true[row, cut] = self._after_restart(added[row, cut])
        shown = np.where(np.repeat(self._hangs > 0, 2, axis=1), _last(self._shown, self._true, added), self._true)
        for row, arm in np.argwhere(begins & (kinds == 2) & ~hung):
            shown[row, 2 * arm + self._random.integers(2)] = _WRONG[self._random.integers(len(_WRONG))]
        return np.asarray(shown, np.float64), np.asarray((hung | begins).any(axis=1), np.bool_)

    def _after_restart(self, added: Floats) -> Floats:
        """Requests and events since a random time within the sample."""
        share = self._random.random()
        # events and the other requests apart, so that events stay a part of the requests
        events = self._random.binomial(int(added[1]), share)
        return np.array([events + self._random.binomial(int(added[0] - added[1]), share), events], np.float64)


def _last(shown: Floats, true: Floats, added: Floats) -> Floats:
    """The values that a hanging exporter repeats: the last values, or the true ones if those were wrong."""
    sane = np.isfinite(shown) & (shown >= 0.0) & (shown <= true)
    return np.where(sane, shown, true - added)


def _values(values: Floats) -> dict[Key, float]:
    return {(False, "requests"): float(values[0]), (True, "events"): float(values[1])}
