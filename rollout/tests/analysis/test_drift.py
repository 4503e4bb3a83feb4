"""Drift of predictions: what is found, what is not, and what histograms may do."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.analysis.counts import NoData
from tandem_rollout.analysis.drift import Evidence, distance, psi, rows, start, update

from .traffic import plausible

EVEN = np.full(10, 0.1)
BINS = st.lists(st.integers(0, 50).map(float), min_size=3, max_size=3)


def tilted(by: float) -> np.ndarray:
    weights = np.exp(by * np.linspace(-1.0, 1.0, 10))
    return weights / weights.sum()


def gathered(
    seed: int, canary: np.ndarray, *, ticks: int, per_tick: int = 200, last_share: float = 0.1
) -> list[Evidence]:
    """Evidence after each tick; stable's predictions shift while the canary's share rises from a tenth."""
    random, evidence, all_of_it = np.random.default_rng(seed), start(10), []
    for number in range(ticks):
        share = 0.1 + (last_share - 0.1) * number / ticks
        ours = random.binomial(per_tick, share)
        evidence = update(
            evidence,
            random.multinomial(ours, canary).astype(float).tolist(),
            random.multinomial(per_tick - ours, EVEN).astype(float).tolist(),
        )
        all_of_it.append(evidence)
    return all_of_it


def test_evidence_of_one_bin_by_hand() -> None:
    """Two bins at w = 1/2: Beta(20, 20); B(22, 20) / B(20, 20) = 20·21 / (40·41), over 1/4, for each of them."""
    evidence = update(start(2), [2.0, 0.0], [0.0, 2.0])
    assert math.exp(evidence.log_e) == pytest.approx((20 * 21 / (40 * 41) * 4) ** 2)


def test_distance_by_hand() -> None:
    assert psi([39.5, 59.5], [59.5, 39.5]) == pytest.approx(2 * 0.2 * math.log(1.5))
    assert psi([5.0, 5.0], [500.0, 500.0]) == 0.0
    assert distance(start(4)) == 0.0


@pytest.mark.parametrize(("per_tick", "last_share"), [(20, 0.1), (20, 0.5), (200, 0.1)])
def test_arms_that_answer_alike_are_rarely_told_apart(per_tick: int, last_share: float) -> None:
    runs = 200
    ever = sum(
        max(e.log_e for e in gathered(seed, EVEN, ticks=60, per_tick=per_tick, last_share=last_share)) >= math.log(20)
        for seed in range(runs)
    )
    assert plausible(ever, runs, 0.05)


def test_drift_is_found_in_some_hundred_rows() -> None:
    drifted = tilted(0.5)
    assert psi(1e6 * drifted, 1e6 * EVEN) == pytest.approx(0.1, abs=0.02)
    found = []
    for seed in range(40):
        evidence = next(e for e in gathered(seed, drifted, ticks=150) if e.log_e >= math.log(100))
        found.append(math.fsum(evidence.canary))
    assert 200 < float(np.median(found)) < 450


def test_traffic_that_shifts_while_the_share_rises_is_no_drift() -> None:
    evidence = start(2)
    for share, split in ((0.05, 0.9), (0.25, 0.5), (0.5, 0.1)):
        canary, stable = 10_000 * share, 10_000 * (1 - share)
        evidence = update(evidence, [canary * split, canary * (1 - split)], [stable * split, stable * (1 - split)])
    assert psi(evidence.canary, evidence.stable) > 0.1
    assert distance(evidence) < 1e-6
    assert evidence.log_e < 0


@given(BINS, BINS, BINS)
def test_ticks_in_which_an_arm_has_no_rows_say_nothing(
    ours: list[float], theirs: list[float], more: list[float]
) -> None:
    evidence = update(start(3), ours, theirs)
    assert update(evidence, [0.0] * 3, more) == evidence == update(evidence, more, [0.0] * 3)


@given(BINS, BINS, st.integers(2, 5))
def test_rows_at_one_share_may_be_cut_into_ticks_in_any_way(ours: list[float], theirs: list[float], parts: int) -> None:
    whole = update(start(3), [parts * rows for rows in ours], [parts * rows for rows in theirs])
    cut = start(3)
    for _ in range(parts):
        cut = update(cut, ours, theirs)
    assert cut.log_e == pytest.approx(whole.log_e, rel=1e-6, abs=1e-6)
    assert distance(cut) == pytest.approx(distance(whole), abs=1e-9)


@given(BINS, BINS, BINS, BINS)
def test_going_on_from_what_was_written_is_never_having_stopped(
    a: list[float], b: list[float], c: list[float], d: list[float]
) -> None:
    evidence = update(start(3), a, b)
    resumed = msgspec.json.decode(msgspec.json.encode(evidence), type=Evidence)
    assert resumed == evidence
    assert update(resumed, c, d) == update(evidence, c, d)


def test_other_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="other bins"):
        update(start(3), [1.0, 2.0], [1.0, 2.0])


def histogram(*bins: float) -> dict[float, float]:
    edges = [*map(float, range(1, len(bins))), math.inf]
    return dict(zip(edges, np.cumsum(bins).tolist(), strict=True))


def test_rows_are_what_each_bucket_has_gained_over_the_one_below() -> None:
    canary = {"a": histogram(1, 1, 0), "b": histogram(0, 0, 0)}, {"a": histogram(3, 1, 4), "b": histogram(1, 1, 1)}
    stable = {"c": histogram(9, 9, 9)}, {"c": histogram(1, 0, 2)}
    assert rows(canary=canary, stable=stable) == ((3.0, 1.0, 5.0), (1.0, 0.0, 2.0))


def test_histograms_that_cannot_be_compared_are_no_data() -> None:
    three, two = (
        ({"a": histogram(1, 1, 1)}, {"a": histogram(2, 2, 2)}),
        ({"a": histogram(1, 1)}, {"a": histogram(2, 2)}),
    )
    assert isinstance(rows(canary=three, stable=two), NoData)
    assert isinstance(rows(canary=({}, three[1]), stable=three), NoData)
    assert isinstance(rows(canary=three, stable=(three[0], {})), NoData)
    mixed = three[0] | {"b": two[0]["a"]}, three[1] | {"b": two[1]["a"]}
    assert isinstance(rows(canary=mixed, stable=three), NoData)
    assert isinstance(rows(canary=({"a": histogram(1, math.nan, 1)}, three[1]), stable=three), NoData)
