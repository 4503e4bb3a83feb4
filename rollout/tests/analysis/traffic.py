"""Simulated traffic, many runs at once, through the arithmetic of the package."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tandem_rollout.analysis.likelihood import floor_increments, log_mixture, ratio_increments
from tandem_rollout.analysis.priors import BAD, Floats
from tandem_rollout.analysis.sequential import RatioTest, log_promotion_of

PER_TICK = 200

Ticks = Callable[[np.random.Generator, int, int], tuple[Floats, Floats, Floats, Floats]]
"""Canary requests, canary events, stable requests and stable events of so many runs in a tick."""


def steady(*, rate: float, ratio: float, share: float = 0.1) -> Ticks:
    """The same rates in each tick."""

    def tick(random: np.random.Generator, number: int, runs: int) -> tuple[Floats, Floats, Floats, Floats]:
        canary = random.binomial(PER_TICK, share, runs)
        stable = PER_TICK - canary
        events = random.binomial(canary, rate * ratio), random.binomial(stable, rate)
        return canary * 1.0, events[0] * 1.0, stable * 1.0, events[1] * 1.0

    return tick


@dataclass(frozen=True)
class Outcome:
    """How runs ended."""

    rolled_back: float
    promoted: float
    undecided: float
    canary_requests: float
    """Mean over the runs."""

    @property
    def runs(self) -> float:
        return self.rolled_back + self.promoted + self.undecided


def decided(test: RatioTest, ticks: Ticks, *, runs: int, horizon: int, seed: int, promote: bool = True) -> Outcome:
    """Runs of the conditional test, until each is decided."""
    random = np.random.default_rng(seed)
    bad, good, floor = np.zeros((runs, 8)), np.zeros((runs, len(test.good.values))), np.zeros((runs, 4))
    spent = np.zeros(runs)
    rolled_back = promoted = 0
    requests = 0.0
    for number in range(horizon):
        n_c, k_c, n_s, k_s = ticks(random, number, len(spent))
        bad += ratio_increments(n_c, k_c, n_s, k_s, BAD, 1.0) / test.dispersion
        good += ratio_increments(n_c, k_c, n_s, k_s, test.good, test.margin) / test.dispersion
        floor += floor_increments(n_c, k_c, test.floor) / test.dispersion
        spent += n_c
        fails = log_mixture(bad, BAD) >= -math.log(test.alpha)
        passes = (log_promotion_of(test, good, floor) >= -math.log(test.beta)) & ~fails & promote
        ends = fails | passes
        rolled_back, promoted = rolled_back + int(fails.sum()), promoted + int(passes.sum())
        requests += float(spent[ends].sum())
        bad, good, floor, spent = bad[~ends], good[~ends], floor[~ends], spent[~ends]
        if not len(spent):
            break
    return Outcome(rolled_back, promoted, len(spent), (requests + float(spent.sum())) / runs)


def oracle(*, rate: float, ratio: float, against: float, runs: int, seed: int, share: float = 0.1) -> Outcome:
    """Wald's test of the canary alone, by one who knows both rates; α = β = 1 %, a look at each tick."""
    random = np.random.default_rng(seed)
    tick = steady(rate=rate, ratio=ratio, share=share)
    event, nonevent = math.log(against), math.log((1 - rate * against) / (1 - rate))
    log, spent = np.zeros(runs), np.zeros(runs)
    rolled_back = promoted = 0
    requests = 0.0
    while len(spent):
        n_c, k_c, _, _ = tick(random, 0, len(spent))
        log += k_c * event + (n_c - k_c) * nonevent
        spent += n_c
        fails, passes = log >= math.log(99), log <= -math.log(99)
        ends = fails | passes
        rolled_back, promoted = rolled_back + int(fails.sum()), promoted + int(passes.sum())
        requests += float(spent[ends].sum())
        log, spent = log[~ends], spent[~ends]
    return Outcome(rolled_back, promoted, 0, requests / runs)


def plausible(count: float, runs: int, probability: float) -> bool:
    """Whether so many of the runs are not too many for this probability: exact binomial tail above one in a million."""
    terms = (
        math.lgamma(runs + 1) - math.lgamma(k + 1) - math.lgamma(runs - k + 1)
        + k * math.log(probability) + (runs - k) * math.log1p(-probability)
        for k in range(int(count), runs + 1)
    )  # fmt: skip
    return math.fsum(map(math.exp, terms)) > 1e-6
