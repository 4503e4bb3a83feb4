"""Requests and events of both arms, of many rollouts at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tandem_rollout.analysis.priors import Floats
from tandem_rollout.analysis.window import ROUTE_DELAY_S
from tandem_rollout.simulation.traffic import DAY, Traffic

_MAX = 0.95
"""Maximum rate, including incidents."""

_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of one or several samples, by rollout.

    Attributes:
        canary: Requests of the canary.
        stable: Requests of stable.
        events: Events of both arms, canary first, by the keys of the traffic.
        rows: Predictions of both arms by bin, canary first; None if no metric counts them.
        times: Requests of both arms by latency bucket, likewise.
        early: Counts from before the route had applied a change of the weight; None without a change.
    """

    canary: Floats
    stable: Floats
    events: dict[str, tuple[Floats, Floats]]
    rows: tuple[Floats, Floats] | None = None
    times: tuple[Floats, Floats] | None = None
    early: Counts | None = None

    def plus(self, more: Counts) -> Counts:
        """The sum of these counts and others."""
        events = {
            key: (self.events[key][0] + ours, self.events[key][1] + theirs)
            for key, (ours, theirs) in more.events.items()
        }
        return Counts(
            self.canary + more.canary,
            self.stable + more.stable,
            events,
            _summed(self.rows, more.rows),
            _summed(self.times, more.times),
        )

    @property
    def later(self) -> Counts:
        """Counts from after the route had applied a change of the weight."""
        early = self.early
        if early is None:
            return self
        events = {
            key: (ours - early.events[key][0], theirs - early.events[key][1])
            for key, (ours, theirs) in self.events.items()
        }
        rows, times = _rest(self.rows, early.rows), _rest(self.times, early.times)
        return Counts(self.canary - early.canary, self.stable - early.stable, events, rows, times)

    def where(self, rollouts: npt.NDArray[np.bool_]) -> Counts:
        """The counts of some rollouts, and zeros for the others."""
        return Counts(
            np.where(rollouts, self.canary, 0.0),
            np.where(rollouts, self.stable, 0.0),
            {key: (np.where(rollouts, a, 0.0), np.where(rollouts, b, 0.0)) for key, (a, b) in self.events.items()},
            _where(rollouts, self.rows),
            _where(rollouts, self.times),
        )

    def keep(self, kept: npt.NDArray[np.bool_]) -> Counts:
        """Only the counts of some rollouts."""
        return Counts(
            self.canary[kept],
            self.stable[kept],
            {key: (ours[kept], theirs[kept]) for key, (ours, theirs) in self.events.items()},
            self.rows and (self.rows[0][kept], self.rows[1][kept]),
            self.times and (self.times[0][kept], self.times[1][kept]),
        )

    def replaced(self, at: npt.NDArray[np.intp], other: Counts) -> Counts:
        """These counts, with the counts of some rollouts replaced."""
        events = {
            key: (_replaced(ours, at, other.events[key][0]), _replaced(theirs, at, other.events[key][1]))
            for key, (ours, theirs) in self.events.items()
        }
        canary, stable = _replaced(self.canary, at, other.canary), _replaced(self.stable, at, other.stable)
        rows, times = _both(self.rows, at, other.rows), _both(self.times, at, other.times)
        nobody = np.zeros(len(self.canary), np.bool_)
        # the weight of the others did not change, so that they have no early counts
        early = None if other.early is None else self.where(nobody).replaced(at, other.early)
        return Counts(canary, stable, events, rows, times, early)


def _summed(ours: tuple[Floats, Floats] | None, more: tuple[Floats, Floats] | None) -> tuple[Floats, Floats] | None:
    if ours is None or more is None:
        return more
    return ours[0] + more[0], ours[1] + more[1]


def _rest(ours: tuple[Floats, Floats] | None, early: tuple[Floats, Floats] | None) -> tuple[Floats, Floats] | None:
    if ours is None or early is None:
        return ours
    return ours[0] - early[0], ours[1] - early[1]


def _where(rollouts: npt.NDArray[np.bool_], both: tuple[Floats, Floats] | None) -> tuple[Floats, Floats] | None:
    if both is None:
        return None
    return np.where(rollouts[:, None], both[0], 0.0), np.where(rollouts[:, None], both[1], 0.0)


def _both(
    ours: tuple[Floats, Floats] | None, at: npt.NDArray[np.intp], theirs: tuple[Floats, Floats] | None
) -> tuple[Floats, Floats] | None:
    if ours is None or theirs is None:
        return ours
    return _replaced(ours[0], at, theirs[0]), _replaced(ours[1], at, theirs[1])


def _replaced(values: Floats, at: npt.NDArray[np.intp], by: Floats) -> Floats:
    copy = values.copy()
    copy[at] = by
    return copy


class _SamplePart(NamedTuple):
    """A part of a sample in which the weight changed, by rollout.

    Attributes:
        lasts: Length relative to the sample.
        share: The canary's share of the requests.
        changing: Whether the part is just after the change.
    """

    lasts: Floats
    share: Floats
    changing: bool


class TrafficStream:
    """Traffic of many rollouts, sample by sample.

    Args:
        traffic: The traffic.
        random: Random number generator.
        rollouts: Number of rollouts.
        interval: Seconds between samples.
    """

    def __init__(self, traffic: Traffic, random: np.random.Generator, rollouts: int, interval: float) -> None:
        self._traffic = traffic
        self._random = random
        self._interval = interval
        self._within = np.zeros(rollouts, np.int8)
        """0 outside incidents; 1 in an incident of the canary, 2 of stable, 3 of both."""

    def draw(
        self,
        now: float,
        share: Floats,
        *,
        before: Floats | None = None,
        at: npt.NDArray[np.intp] | None = None,
        alike: bool = False,
    ) -> Counts:
        """The sample that ends now.

        Args:
            now: Seconds since the beginning.
            share: The canary's share of the requests, by rollout.
            before: The share in the previous sample, which the route still applies for a short time; by default the
                same.
            at: Indexes of some rollouts; None for all, which also advances the incidents.
            alike: Whether the canary is the same as stable.
        """
        traffic = self._traffic
        wave = 1.0 + traffic.day * math.sin(2.0 * math.pi * now / DAY)
        load = traffic.requests_per_second * self._interval * wave
        if at is None:
            self._move()
        within = self._within if at is None else self._within[at]
        if before is None or not (changed := before != share).any():
            whole = np.ones(len(share))
            return self._part(load, wave, _SamplePart(whole, share, False), share, within, alike=alike)
        # the route applies the change late; the analyst takes a sample after that
        # at most half of a short sample, so that a part is left in which the weight applies
        follows = np.where(changed, min(ROUTE_DELAY_S / self._interval, 0.5), 0.0)
        late = follows * self._random.random(len(share))
        first, early, rest, last = (
            self._part(load, wave, part, share, within, alike=alike)
            for part in (
                _SamplePart(late, before, False),
                _SamplePart(follows - late, share, True),
                # the effect of the change lasts as long as the delay, and so beyond the extra sample
                _SamplePart(late, share, True),
                _SamplePart(1.0 - follows - late, share, False),
            )
        )
        # the extra sample has requests of both weights
        early = first.plus(early)
        return replace(early.plus(rest).plus(last), early=early)

    def _part(
        self, load: float, wave: float, part: _SamplePart, share: Floats, within: npt.NDArray[np.int8], *, alike: bool
    ) -> Counts:
        """The counts of a part of a sample. The burden is that of the whole sample."""
        traffic = self._traffic
        canary = self._random.poisson(load * part.lasts * part.share)
        stable = self._random.poisson(load * part.lasts * (1.0 - part.share))
        burden = 1.0 if traffic.burden == 1.0 or alike else np.where(share > _HALF, traffic.burden, 1.0)
        events = {}
        for key, rates in traffic.rates.items():
            usual = (rates.stable if alike else rates.canary) * wave * burden, rates.stable * wave
            ours, theirs = self._at_change(*usual) if part.changing else usual
            events[key] = self._events(canary, ours, within & 1), self._events(stable, theirs, within & 2)
        rows = times = None
        if traffic.bins is not None:
            bins = traffic.bins.stable if alike else traffic.bins.canary
            counts = self._spread(canary, bins, stable, traffic.bins.stable)
            rows = counts[0] * traffic.bins.together, counts[1] * traffic.bins.together
        if traffic.times is not None:
            buckets = traffic.times.stable if alike else traffic.times.canary
            times = self._spread(canary, buckets, stable, traffic.times.stable)
        return Counts(canary.astype(np.float64), stable.astype(np.float64), events, rows, times)

    def _at_change(self, ours: float | Floats, theirs: float | Floats) -> tuple[float | Floats, float | Floats]:
        """Rates of canary and stable just after a change."""
        change = self._traffic.change
        if change is None:
            return ours, theirs
        return change.rate, theirs if change.arms == "canary" else change.rate

    def keep(self, kept: npt.NDArray[np.bool_]) -> None:
        """Keep only some rollouts."""
        self._within = self._within[kept]

    def _spread(
        self,
        canary: npt.NDArray[np.int64],
        ours: tuple[float, ...],
        stable: npt.NDArray[np.int64],
        theirs: tuple[float, ...],
    ) -> tuple[Floats, Floats]:
        """The distribution of requests over a histogram."""
        return (
            self._random.multinomial(canary, ours).astype(np.float64),
            self._random.multinomial(stable, theirs).astype(np.float64),
        )

    def _events(self, requests: npt.NDArray[np.int64], rate: float | Floats, within: npt.NDArray[np.int8]) -> Floats:
        traffic = self._traffic
        # the usual case without arrays of rates
        if traffic.incidents is None and not traffic.correlation:
            return self._random.binomial(requests, np.minimum(rate, _MAX)).astype(np.float64)
        rates = np.full(len(requests), np.minimum(rate, _MAX))
        if traffic.incidents is not None:
            rates = np.minimum(rates * np.where(within, traffic.incidents.factor, 1.0), _MAX)
        # a beta distribution needs parameters above 0
        if traffic.correlation and rates.all():
            # a beta distribution with a + b = 1/ICC − 1 has this intraclass correlation
            spread = 1.0 / traffic.correlation - 1.0
            rates = self._random.beta(rates * spread, (1.0 - rates) * spread)
        return self._random.binomial(requests, rates).astype(np.float64)

    def _move(self) -> None:
        """Begin and end incidents."""
        incidents = self._traffic.incidents
        if incidents is None:
            return
        chance = self._random.random(len(self._within))
        arms = self._random.integers(1, 3, len(self._within)) if incidents.arms == "one" else 3
        begins = (self._within == 0) & (chance < self._interval / incidents.every)
        # an incident lasts one sample at least
        goes_on = (self._within > 0) & (chance >= self._interval / max(incidents.lasting, self._interval))
        self._within = np.where(begins, arms, np.where(goes_on, self._within, 0)).astype(np.int8)
