"""Dispersion of stable against itself."""

from __future__ import annotations

import numpy as np
import pytest

from tandem_rollout.analysis.counts import Increments, NoData
from tandem_rollout.analysis.dispersion import Dispersion, estimate_dispersion


def simulated(seed: int, *, correlation: float, shared: bool = False, ticks: int = 2000) -> list[Increments]:
    """Halves of stable; rates of ticks from a beta distribution with this intraclass correlation."""
    random = np.random.default_rng(seed)
    scale = 1 / correlation - 1
    rates = random.beta(0.02 * scale, 0.98 * scale, (2, ticks))
    first, second = random.binomial(100, rates[0]), random.binomial(100, rates[0] if shared else rates[1])
    return [Increments(100, int(a), 100, int(b)) for a, b in zip(first, second, strict=True)]


def test_by_hand() -> None:
    """4 events, halves of one size: (4 − 2)² / (4 · 1/4) = 4 where all fell on one, 0 where two fell on each."""
    assert estimate_dispersion([Increments(50, 4, 50, 0), Increments(50, 2, 50, 2)], least=2) == Dispersion(2.0, 2)


def test_it_is_never_below_one() -> None:
    assert estimate_dispersion([Increments(50, 2, 50, 2)] * 40) == Dispersion(1.0, 40)


def test_independent_errors_have_none_and_bursts_in_one_half_have() -> None:
    calm, bursty = (estimate_dispersion(simulated(1, correlation=icc)) for icc in (1e-6, 0.02))
    assert isinstance(calm, Dispersion)
    assert isinstance(bursty, Dispersion)
    assert calm.phi == pytest.approx(1.0, abs=0.1)
    assert bursty.phi > 1.5


def test_bursts_that_hit_both_halves_do_not_raise_it() -> None:
    shared = estimate_dispersion(simulated(2, correlation=0.02, shared=True))
    assert isinstance(shared, Dispersion)
    assert shared.phi == pytest.approx(1.0, abs=0.1)


def test_one_incident_can_be_left_out() -> None:
    ticks = [Increments(50, 1, 50, 1)] * 40 + [Increments(50, 50, 50, 0)]
    with_it, without = estimate_dispersion(ticks), estimate_dispersion(ticks, leave_out_worst=True)
    assert isinstance(with_it, Dispersion)
    assert with_it.phi > 1.2
    assert without == Dispersion(1.0, 40)


def test_too_few_ticks_with_events_are_no_data() -> None:
    quiet, one_armed = Increments(50, 0, 50, 0), Increments(0, 0, 50, 3)
    assert isinstance(estimate_dispersion([Increments(50, 1, 50, 0)] * 29 + [quiet, one_armed] * 100), NoData)
    assert isinstance(estimate_dispersion([], least=0), NoData)
