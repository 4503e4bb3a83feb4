"""Drift of predictions: what is found, what is not, and what histograms may do."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.analysis.counts import ArmCounts, NoData, extend
from tandem_rollout.analysis.distance import psi
from tandem_rollout.analysis.drift import DriftEvidence, estimate, measure, rows, start, update

EVEN = np.full(10, 0.1)
BINS = st.lists(st.integers(0, 50).map(float), min_size=3, max_size=3)


def tilted(by: float) -> np.ndarray:
    weights = np.exp(by * np.linspace(-1.0, 1.0, 10))
    return weights / weights.sum()


def gathered(seed: int, canary: np.ndarray, *, ticks: int, per_tick: int = 400) -> list[DriftEvidence]:
    """Evidence after each tick, of a canary with a tenth of the rows."""
    random, evidence, all_of_it = np.random.default_rng(seed), start(10), []
    for _ in range(ticks):
        ours = random.binomial(per_tick, 0.1)
        evidence = update(
            evidence,
            random.multinomial(ours, canary).astype(float).tolist(),
            random.multinomial(per_tick - ours, EVEN).astype(float).tolist(),
        )
        all_of_it.append(evidence)
    return all_of_it


def test_distance_by_hand() -> None:
    assert psi([39.5, 59.5], [59.5, 39.5]) == pytest.approx(2 * 0.2 * math.log(1.5))
    assert psi([5.0, 5.0], [500.0, 500.0]) == 0.0
    assert estimate(start(4)) == 0.0


def test_the_estimate_has_no_bias() -> None:
    """What was counted has: over 0.01, with ten bins and 600 rows of the canary."""
    for canary in (EVEN, tilted(0.5)):
        truth = psi(1e9 * canary, 1e9 * EVEN)
        measured = [measure(gathered(seed, canary, ticks=15)[-1]) for seed in range(300)]
        assert np.mean([measurement.raw for measurement in measured]) > truth + 0.01
        assert np.mean([measurement.distance for measurement in measured]) == pytest.approx(truth, abs=0.004)


def test_traffic_that_shifts_while_the_share_rises_is_no_drift() -> None:
    evidence = start(2)
    for share, split in ((0.05, 0.9), (0.25, 0.5), (0.5, 0.1)):
        canary, stable = 10_000 * share, 10_000 * (1 - share)
        evidence = update(evidence, [canary * split, canary * (1 - split)], [stable * split, stable * (1 - split)])
    assert psi(evidence.canary, evidence.stable) > 0.1
    assert estimate(evidence) < 1e-4


def test_rows_that_come_together_count_less() -> None:
    random, evidence = np.random.default_rng(1), start(10)
    for _ in range(60):
        ours, theirs = (8.0 * random.multinomial(rows, EVEN) for rows in (5, 45))
        evidence = update(evidence, ours.tolist(), theirs.tolist())
    measured = measure(evidence)
    assert float(measured.dispersion) == pytest.approx(8.0, rel=0.15)
    assert float(measured.rows) == pytest.approx(300, rel=0.15)
    assert float(measure(evidence, 20.0).dispersion) == 20.0


@given(BINS, BINS, st.permutations(range(3)))
def test_bins_have_no_order_and_empty_ones_say_nothing(
    ours: list[float], theirs: list[float], order: list[int]
) -> None:
    plain = measure(update(start(3), ours, theirs))
    mixed = measure(update(start(3), [ours[at] for at in order], [theirs[at] for at in order]))
    more = measure(update(start(5), [*ours, 0.0, 0.0], [*theirs, 0.0, 0.0]))
    for measurement in (mixed, more):
        assert float(measurement.distance) == pytest.approx(float(plain.distance), abs=1e-9)
        assert float(measurement.information) == pytest.approx(float(plain.information))


@given(BINS, BINS, BINS)
def test_ticks_in_which_an_arm_has_no_rows_say_nothing(
    ours: list[float], theirs: list[float], more: list[float]
) -> None:
    evidence = update(start(3), ours, theirs)
    assert update(evidence, [0.0] * 3, more) == evidence == update(evidence, more, [0.0] * 3)


@given(BINS, BINS, BINS, BINS)
def test_going_on_from_what_was_written_is_never_having_stopped(
    a: list[float], b: list[float], c: list[float], d: list[float]
) -> None:
    evidence = update(start(3), a, b)
    resumed = msgspec.json.decode(msgspec.json.encode(evidence), type=DriftEvidence)
    assert resumed == evidence
    assert update(resumed, c, d) == update(evidence, c, d)


def test_other_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="number of bins"):
        update(start(3), [1.0, 2.0], [1.0, 2.0])


Histograms = dict[str, dict[float, float]]


def histogram(*bins: float) -> dict[float, float]:
    edges = [*map(float, range(1, len(bins))), math.inf]
    return dict(zip(edges, np.cumsum(bins).tolist(), strict=True))


def counted(earlier: Histograms, later: Histograms) -> ArmCounts:
    arm = ArmCounts()
    for at, targets in enumerate((earlier, later)):
        arm = extend(arm, targets, dict.fromkeys(targets, float(at)))
    return arm


def test_rows_are_what_each_bucket_has_gained_over_the_one_below() -> None:
    canary = counted(
        {"a": histogram(1, 1, 0), "b": histogram(0, 0, 0)}, {"a": histogram(3, 1, 4), "b": histogram(1, 1, 1)}
    )
    stable = counted({"c": histogram(9, 9, 9)}, {"c": histogram(1, 0, 2)})
    assert rows(canary, stable) == ((3.0, 1.0, 5.0), (1.0, 0.0, 2.0))


def test_histograms_that_cannot_be_compared_are_no_data() -> None:
    three, two = (
        ({"a": histogram(1, 1, 1)}, {"a": histogram(2, 2, 2)}),
        ({"a": histogram(1, 1)}, {"a": histogram(2, 2)}),
    )
    mixed = three[0] | {"b": two[0]["a"]}, three[1] | {"b": two[1]["a"]}
    unclear = {"a": histogram(1, math.nan, 1)}, three[1]
    new, gone = ({}, three[1]), (three[0], {})
    for canary, stable in ((three, two), (new, three), (three, gone), (mixed, three), (unclear, three)):
        assert isinstance(rows(counted(*canary), counted(*stable)), NoData)


def test_a_target_that_counts_in_other_bins_is_another_process() -> None:
    arm = counted({"a": histogram(1, 1, 1), "b": histogram(2, 2)}, {"a": histogram(4, 4), "b": histogram(4, 2)})
    assert rows(arm, arm) == ((2.0, 0.0), (2.0, 0.0))
