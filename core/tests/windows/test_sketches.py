"""How many different values there are: exact while few, within the stated error when many, the same in any parts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem.windows.sketches import (
    MAX_EXACT,
    decode_sketch,
    encode_sketch,
    estimate_distinct,
    merge_sketches,
    sketch,
)


@pytest.mark.parametrize("count", [0, 1, 50, MAX_EXACT])
def test_few_values_are_counted(count: int) -> None:
    assert estimate_distinct(sketch([*range(count), *range(count)])) == count


@pytest.mark.parametrize("count", [MAX_EXACT + 1, 300, 1_000, 3_000, 20_000])
def test_many_values_are_estimated_within_four_standard_errors(count: int) -> None:
    # the same values each time: no chance is in this test
    assert estimate_distinct(sketch(f"device-{number}" for number in range(count))) == pytest.approx(count, rel=0.13)


@given(st.lists(st.integers(0, 400), max_size=400), st.integers(0, 400))
def test_a_sketch_is_the_same_in_any_parts(values: list[int], cut: int) -> None:
    whole = sketch(values)
    assert merge_sketches(sketch(values[cut:]), sketch(values[:cut])) == whole
    assert merge_sketches(whole, sketch(values[:cut])) == whole


@pytest.mark.parametrize("count", [0, 3, MAX_EXACT, MAX_EXACT + 1, 5_000])
def test_a_sketch_is_read_as_it_was_written_and_stays_small(count: int) -> None:
    values = sketch(range(count))
    assert decode_sketch(encode_sketch(values)) == values
    assert len(encode_sketch(values)) == (8 * count if count <= MAX_EXACT else 1024)


@pytest.mark.parametrize("content", [b"1234567", bytes(1032)])
def test_what_is_no_sketch_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=f"{len(content)} bytes"):
        decode_sketch(content)
