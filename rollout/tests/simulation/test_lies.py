"""Counters that lie are never worth more than what was there."""

from __future__ import annotations

import numpy as np

from tandem_rollout.simulation.lies import Four, Liars, Lies
from tandem_rollout.simulation.outage import ABSENT, SEEN

ROLLOUTS = 400


def ticks(share: float, number: int = 60) -> list[tuple[Four, Four, np.ndarray]]:
    """What happened, what was counted of it, and what was the matter."""
    random = np.random.default_rng(1)
    liars = Liars(Lies(share), random, ROLLOUTS)
    samples = []
    for _ in range(number):
        canary, stable = random.poisson(20, ROLLOUTS) * 1.0, random.poisson(180, ROLLOUTS) * 1.0
        events = random.binomial(canary.astype(int), 0.05) * 1.0
        stable_events = random.binomial(stable.astype(int), 0.05) * 1.0
        happened = canary, events, stable, stable_events
        counted, codes = liars.scrape(happened)
        samples.append((happened, counted, codes))
    return samples


def test_honest_counters_are_counted_as_they_are() -> None:
    for happened, counted, codes in ticks(0.0):
        assert (codes == SEEN).all()
        for true, reading in zip(happened, counted, strict=True):
            assert (true == reading).all()


def test_what_is_counted_makes_sense_and_is_never_more_than_there_was() -> None:
    samples = ticks(0.1)
    for _, (n_c, k_c, n_s, k_s), codes in samples:
        for requests, events in ((n_c, k_c), (n_s, k_s)):
            assert np.isfinite(requests).all()
            assert (requests >= events).all()
            assert (events >= 0).all()
        # where one arm says nothing, the other one goes on
        assert ((n_c == 0) | (n_s == 0))[codes == ABSENT].all()
    true = [sum(happened[at] for happened, _, _ in samples) for at in range(4)]
    sums = [sum(counted[at] for _, counted, _ in samples) for at in range(4)]
    assert all((total <= most).all() for total, most in zip(sums, true, strict=True))
    assert 0.5 < sum(total.sum() for total in sums) / sum(total.sum() for total in true) < 0.99


def test_lost_requests_leave_the_rates_as_they_are() -> None:
    samples = ticks(0.1, 200)
    for requests, events in ((0, 1), (2, 3)):
        rate = sum(counts[events].sum() for _, counts, _ in samples) / sum(
            counts[requests].sum() for _, counts, _ in samples
        )
        assert 0.047 < rate < 0.053


def test_lies_go_on_with_the_rollouts_that_go_on() -> None:
    liars = Liars(Lies(0.3), np.random.default_rng(1), 3)
    liars.keep(np.array([True, False, True]))
    counted, codes = liars.scrape((np.full(2, 20.0), np.zeros(2), np.full(2, 180.0), np.zeros(2)))
    assert len(codes) == len(counted[0]) == 2
