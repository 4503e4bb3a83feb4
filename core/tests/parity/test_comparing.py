"""What counts as a difference, and which one is shown first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tandem import Bundle, EmbeddedModel
from tandem.parity import Parity, Reference, Results, Sample, compare, random_sample

NOW = np.datetime64("2026-05-02T12:00:00", "us")
ROWS = 60


@pytest.fixture(scope="module")
def sample(bundle: Bundle) -> Sample:
    return random_sample(bundle.model, ROWS, np.random.default_rng(2), NOW, first=1000)


@pytest.fixture
def reference(bundle: Bundle, sample: Sample) -> Results:
    return Reference(EmbeddedModel(bundle)).compute(sample.inputs)


@pytest.fixture
def results(bundle: Bundle, sample: Sample) -> Results:
    return Reference(EmbeddedModel(bundle)).compute(sample.inputs)


Compare = Callable[[], Parity]


@pytest.fixture
def compared(bundle: Bundle, sample: Sample, reference: Results, results: Results) -> Compare:
    def run() -> Parity:
        parity = Parity("mode")
        compare(bundle, sample, reference, results, parity)
        return parity

    return run


def test_equal_results(compared: Compare, results: Results) -> None:
    parity = compared()
    assert parity.is_equal and parity.first is None
    assert (parity.rows, parity.vectors) == (ROWS, ROWS - len(results.errors))
    assert parity.vector_bits == parity.prediction == parity.tolerance_share == 0


def test_bits_of_a_vector(compared: Compare, results: Results, bundle: Bundle, sample: Sample) -> None:
    (name,) = results.vectors
    vectors = results.vectors[name]
    # the last bit of one number, and the sign and the last bit of another row's
    bits = vectors.view(np.uint32)
    bits[7, 1] ^= 1
    bits[9, 0] ^= 1
    bits[9, 2] ^= 0x8000_0001
    parity = compared()
    assert (parity.vector_bits, parity.differing) == (3, {"vector": 2})
    first = parity.first
    assert first is not None and (first.kind, first.sample, first.row) == ("vector", "random", 1007)
    assert first.column == bundle.signature.columns[1]
    assert first.actual == vectors[7, 1] != first.expected
    assert first.request == sample.rows[7]


def test_a_vector_that_is_not_known(compared: Compare, results: Results) -> None:
    results.has_vector[5] = False
    assert compared().differing == {"vector": 1}


@pytest.mark.parametrize(("share", "differs"), [(0.5, False), (1.5, True)])
def test_predictions_within_the_tolerance(
    compared: Compare, results: Results, bundle: Bundle, share: float, differs: bool
) -> None:
    tolerance = bundle.tolerance("CPUExecutionProvider")
    fare = results.answers["fare"]
    gap = share * (tolerance.atol + tolerance.rtol * abs(fare[4]))
    fare[4] += gap
    # it follows from the prediction, and may be another one as soon as that differs
    results.answers["minutes"][4] = "other"
    parity = compared()
    assert parity.prediction == pytest.approx(gap) and parity.tolerance_share == pytest.approx(share, rel=1e-3)
    assert parity.differing == ({"prediction": 1} if differs else {})
    if parity.first is not None:
        assert (parity.first.column, parity.first.row) == ("fare", 1004)


def test_what_follows_from_equal_predictions(compared: Compare, results: Results) -> None:
    results.answers["minutes"][4] = "other"
    parity = compared()
    assert parity.differing == {"answer": 1}
    assert parity.first is not None and (parity.first.column, parity.first.actual) == ("minutes", "other")


def test_reasons(compared: Compare, results: Results) -> None:
    row = next(row for row, text in enumerate(results.degraded) if text)
    expected, results.degraded[row] = results.degraded[row], ""
    parity = compared()
    assert parity.differing == {"degraded": 1}
    assert parity.first is not None and (parity.first.expected, parity.first.actual) == (expected, "")


def test_errors(compared: Compare, results: Results, reference: Results) -> None:
    results.errors[3] = "transform_failed"
    reference.errors |= {8: "entity_stale", 9: "entity_stale"}
    results.errors |= {8: "entity_stale", 9: "entity_not_found"}
    parity = compared()
    assert parity.differing == {"error": 2} and parity.errors == len(reference.errors)
    first = parity.first
    assert first is not None and (first.row, first.expected, first.actual) == (1003, "answered", "transform_failed")


def test_rows_that_a_mode_cannot_carry(compared: Compare, results: Results) -> None:
    results.carried[:] = False
    results.carried[:5] = True
    results.errors[20] = "malformed_request"
    parity = compared()
    assert parity.is_equal and parity.rows == 5


def test_of_several_kinds_the_first_row_counts(compared: Compare, results: Results) -> None:
    (name,) = results.vectors
    results.vectors[name][6] += 1
    results.answers["fare"][6] += 1
    results.degraded[2] = "city:missing:default?"
    parity = compared()
    assert parity.differing == {"vector": 1, "prediction": 1, "degraded": 1}
    assert parity.first is not None and (parity.first.kind, parity.first.row) == ("degraded", 1002)


def test_a_row_that_fails_is_answered_with_its_error(bundle: Bundle, sample: Sample) -> None:
    request = dict(sample.inputs.request)
    request["distance_km"] = request["distance_km"].copy()
    # its vector would be infinite
    request["distance_km"][[3, 50]] = 1e300
    results: Any = Reference(EmbeddedModel(bundle)).compute(replace(sample.inputs, request=request))
    assert results.errors == dict.fromkeys((3, 50), "contract_violation")
    assert np.flatnonzero(~results.has_vector).tolist() == [3, 50]
