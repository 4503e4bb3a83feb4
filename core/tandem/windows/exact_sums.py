"""Sums of numbers without rounding, so that it does not matter in which order and in which parts they are added.

A finite ``float64`` is a whole number divided by a power of two, and so is each sum of such numbers and of their
squares. They are added as whole numbers of any length, as Python's module ``statistics`` does it, and each statistic is
rounded once, to the nearest ``float64``: Python divides whole numbers correctly rounded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

ExactSum = tuple[int, int]
"""The number ``n / 2**k`` as ``(n, k)`` in lowest terms: ``n`` is odd or ``k`` is 0, and ``k`` is not negative."""


def sum_exactly(numbers: Sequence[float]) -> ExactSum:
    """Sum of finite numbers, of which there is at least one."""
    return _sum_ratios(number.as_integer_ratio() for number in numbers)


def sum_squares_exactly(numbers: Sequence[float]) -> ExactSum:
    """Sum of the squares of finite numbers, of which there is at least one."""
    ratios = (number.as_integer_ratio() for number in numbers)
    return _sum_ratios((numerator * numerator, denominator * denominator) for numerator, denominator in ratios)


def add_exactly(left: ExactSum, right: ExactSum) -> ExactSum:
    """Sum of two of them."""
    places = max(left[1], right[1])
    return _reduce((left[0] << places - left[1]) + (right[0] << places - right[1]), places)


def exact_total(total: ExactSum) -> float | None:
    """The sum as ``float64``; None if it is larger than the largest."""
    return _divide(total[0], 1 << total[1])


def exact_mean(total: ExactSum, count: int) -> float | None:
    """The mean of so many numbers as ``float64``."""
    return _divide(total[0], count << total[1])


def exact_variance(total: ExactSum, squares: ExactSum, count: int) -> float | None:
    """The sample variance of so many numbers: the squared distances from their mean, divided by ``count - 1``.

    It is ``(count · Σx² − (Σx)²) / (count · (count − 1))``, which cancels nothing where sums are exact.

    Returns:
        The variance as ``float64``; None for one number, and if it is larger than the largest.
    """
    if count < 2:
        return None
    (sum_, sum_places), (squares_, squares_places) = total, squares
    distances = (count * squares_ << 2 * sum_places) - (sum_ * sum_ << squares_places)
    return _divide(distances, count * (count - 1) << squares_places + 2 * sum_places)


def _sum_ratios(ratios: Iterable[tuple[int, int]]) -> ExactSum:
    numerators: dict[int, int] = {}
    for numerator, denominator in ratios:
        numerators[denominator] = numerators.get(denominator, 0) + numerator
    largest = max(numerators)
    total = sum(numerator * (largest // denominator) for denominator, numerator in numerators.items())
    return _reduce(total, largest.bit_length() - 1)


def _reduce(numerator: int, places: int) -> ExactSum:
    """In lowest terms, so that equal sums are equal however they were added."""
    zeros = min(places, (numerator & -numerator).bit_length() - 1) if numerator else places
    return numerator >> zeros, places - zeros


def _divide(numerator: int, denominator: int) -> float | None:
    try:
        return numerator / denominator
    except OverflowError:
        return None
