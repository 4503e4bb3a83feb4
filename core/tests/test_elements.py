from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.elements import describe_rule, find_misfits

WHOLE = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"]
NUMBERS = st.one_of(
    st.floats(),
    st.sampled_from([0, 7, 8, 15, 16, 31, 32, 63, 64]).flatmap(
        lambda bits: st.integers(-2, 2).map(lambda step: float(2**bits + step))
    ),
    st.floats(-300, 300).map(round).map(float),
)


def holds(value: Any, dtype: str) -> bool:
    """Whether a whole-number type holds a number, by Python's exact arithmetic."""
    if not np.isfinite(value) or int(value) != value:
        return False
    low, high = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return int(low) <= int(value) <= int(high)


@pytest.mark.parametrize("dtype", WHOLE)
@given(values=st.lists(NUMBERS, min_size=1, max_size=30), source=st.sampled_from(["float64", "float32"]))
def test_fractions_in_whole_numbers(dtype: str, values: list[float], source: str) -> None:
    with np.errstate(over="ignore"):
        column = np.array(values).astype(source)
    assert find_misfits(column, np.dtype(dtype)).tolist() == [not holds(value, dtype) for value in column.tolist()]


@pytest.mark.parametrize("dtype", WHOLE)
@given(values=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=30))
def test_whole_numbers_in_others(dtype: str, values: list[int]) -> None:
    column = np.array(values)
    wrong = find_misfits(column, np.dtype(dtype))
    assert wrong.tolist() == [not holds(value, dtype) for value in values]
    fits = column[~wrong]
    assert fits.astype(dtype).astype(object).tolist() == fits.astype(object).tolist()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@given(values=st.lists(st.floats(), min_size=1, max_size=30))
def test_floats_in_others(dtype: str, values: list[float]) -> None:
    column = np.array(values)
    largest = float(np.finfo(dtype).max)
    wrong = find_misfits(column, np.dtype(dtype))
    with np.errstate(over="ignore"):
        assert wrong.tolist() == (np.isfinite(column) & np.isinf(column.astype(dtype))).tolist()
    # what is refused is beyond the largest number, and what rounds to it is not
    assert (np.abs(column[wrong]) > largest).all()
    assert f"{largest:.8g}" in describe_rule(np.dtype(dtype))


def test_booleans_are_numbers() -> None:
    for dtype in (*WHOLE, "float32"):
        assert not find_misfits(np.array([True, False]), np.dtype(dtype)).any()
