"""Sums without rounding, against those of Python's own modules."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.windows.exact_sums import (
    add_exactly,
    exact_mean,
    exact_total,
    exact_variance,
    sum_exactly,
    sum_squares_exactly,
)

LARGEST = 1.7976931348623157e308
NUMBERS = st.lists(st.floats(-1e300, 1e300) | st.sampled_from([5e-324, 0.1, 1e16, -1e16, 1.0]), min_size=1, max_size=20)


@given(NUMBERS, st.data())
def test_sums_are_exact_and_the_same_in_any_order_and_parts(numbers: list[float], data: st.DataObject) -> None:
    total, squares = sum_exactly(numbers), sum_squares_exactly(numbers)
    assert exact_total(total) == math.fsum(numbers)
    assert exact_mean(total, len(numbers)) == statistics.mean(numbers)
    shuffled = data.draw(st.permutations(numbers))
    cut = data.draw(st.integers(0, len(numbers)))
    if 0 < cut < len(numbers):
        assert add_exactly(sum_exactly(shuffled[:cut]), sum_exactly(shuffled[cut:])) == total
        assert add_exactly(sum_squares_exactly(shuffled[:cut]), sum_squares_exactly(shuffled[cut:])) == squares


@given(st.lists(st.floats(-1e150, 1e150), min_size=2, max_size=20))
def test_the_variance_is_rounded_once(numbers: list[float]) -> None:
    total, squares = sum_exactly(numbers), sum_squares_exactly(numbers)
    assert exact_variance(total, squares, len(numbers)) == statistics.variance(numbers)


def test_the_variance_of_numbers_far_from_zero_is_not_lost() -> None:
    numbers = [1e16, 1e16 + 2, 1e16 + 4]
    assert exact_variance(sum_exactly(numbers), sum_squares_exactly(numbers), 3) == 4.0


def test_one_number_has_no_variance() -> None:
    assert exact_variance((1, 0), (1, 0), 1) is None


def test_a_sum_that_is_larger_in_between_is_as_good_as_any() -> None:
    assert exact_total(sum_exactly([LARGEST, LARGEST, -LARGEST])) == LARGEST


def test_what_is_larger_than_the_largest_number_is_none() -> None:
    numbers = [LARGEST, LARGEST]
    assert exact_total(sum_exactly(numbers)) is None
    assert exact_mean(sum_exactly(numbers), 2) == LARGEST
    assert exact_variance(sum_exactly([LARGEST, -LARGEST]), sum_squares_exactly([LARGEST, -LARGEST]), 2) is None


@pytest.mark.parametrize("numbers", [[0.0], [-0.0], [1.5, -1.5], [2**63 - 1, 1 - 2**63]])
def test_a_sum_of_nothing_left_is_zero(numbers: Sequence[float]) -> None:
    assert sum_exactly(numbers) == (0, 0)
