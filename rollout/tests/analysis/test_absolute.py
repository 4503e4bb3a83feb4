"""Evidence that a rate is above a floor."""

from __future__ import annotations

import numpy as np

from tandem_rollout.analysis.absolute import is_above_floor, update_absolute

ALPHA = 0.01


def after(ticks: int, requests: float, events: float, floor: float = 0.002, dispersion: float = 1.0) -> bool:
    evidence: tuple[float, ...] = ()
    for _ in range(ticks):
        evidence = update_absolute(evidence, requests, events, floor, dispersion)
    return is_above_floor(evidence, alpha=ALPHA)


def test_nothing_is_above_without_requests() -> None:
    assert not is_above_floor((), alpha=ALPHA)
    assert not after(100, 0, 0)


def test_what_is_above_is_found_and_what_is_below_is_not() -> None:
    assert after(10, 1000, 20)
    assert not after(10_000, 1000, 2)
    assert not after(10_000, 1000, 0)


def test_bursts_and_more_metrics_take_more_evidence() -> None:
    assert after(2, 1000, 10)
    assert not after(2, 1000, 10, dispersion=10.0)
    evidence = update_absolute((), 1000, 12, 0.002)
    assert is_above_floor(evidence, alpha=ALPHA)
    assert not is_above_floor(evidence, alpha=ALPHA, metrics=10**4)


def test_a_rate_at_the_floor_is_found_above_it_no_more_often_than_promised() -> None:
    """At any of 200 looks, of 1000 canaries."""
    dice = np.random.default_rng(1)
    wrong = 0
    for events in dice.binomial(500, 0.01, (1000, 200)):
        evidence: tuple[float, ...] = ()
        for count in events:
            evidence = update_absolute(evidence, 500, float(count), 0.01)
            if is_above_floor(evidence, alpha=ALPHA):
                wrong += 1
                break
    assert wrong <= 1000 * ALPHA + 3 * (1000 * ALPHA * (1 - ALPHA)) ** 0.5
