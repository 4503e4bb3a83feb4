"""Unusual values that a contract allows: the ends of ranges, the largest numbers, texts of strange characters."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from tandem.contract import Contract
from tandem.dtypes import is_ragged
from tandem.fields import LARGEST, Field

UNUSUAL: Final = 0.03
"""Share of the values that are unusual."""

TEXTS: Final = (
    "",
    " ",
    "a:b",
    "0",
    "-1",
    "NaN",
    "null",
    "e\u0301",
    "日本語",
    "👩‍🚀",
    "\u202eright to left",
    "zero\u0000byte",
    "tab\tline\r\nend",
    "\"quoted\" \\ 'and'",
    "\ufefffirst",
    "\U0010ffff",
    "%00 &amp; </b>",
    "İß",
    "x" * 2000,
)
_MOMENTS: Final = (
    "0001-01-01T00:00:00Z",
    "1969-12-31T23:59:59.999999Z",
    "2024-02-29T12:00:00+14:00",
    "9999-12-31T23:59:59.999999Z",
)
_INTEGERS: Final = (0, 1, -1, 2**31, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63))
_FLOATS: Final = (0.0, -0.0, 5e-324, 1e-300, -1e-300, 0.1, 2.0**53 + 2, 1e30, -1e30)


def with_unusual_values(contract: Contract, row: Mapping[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """A row with an unusual value in place of some; it still obeys the contract.

    The time of the question stays, since with an unusual one every stored value would be too old.

    Args:
        contract: The contract.
        row: A row that obeys it, as JSON has it.
        rng: Source of randomness.
    """
    return {
        name: _unusual(contract.inputs[name], value, rng)
        if value is not None and name != contract.as_of and rng.random() < UNUSUAL
        else value
        for name, value in row.items()
    }


def _unusual(field: Field, value: Any, rng: np.random.Generator) -> Any:
    """An unusual value of a field; the usual one where there is none."""
    if field.length is not None:
        return _unusual_array(field, value, rng)
    values = [value for value in _candidates(field) if field.broken_rule(value) is None]
    return values[int(rng.integers(len(values)))] if values else value


def _unusual_array(field: Field, numbers: list[Any], rng: np.random.Generator) -> list[Any]:
    if is_ragged(field.type) and rng.random() < 0.5:
        return []
    at = int(rng.integers(len(numbers))) if numbers else 0
    return [_unusual(field.number, number, rng) if index == at else number for index, number in enumerate(numbers)]


def _candidates(field: Field) -> tuple[Any, ...]:
    """Unusual values of a type, also such as the field may not allow."""
    bounds = tuple(field.bounds.values())
    match field.type:
        case "string":
            return TEXTS
        case "timestamp":
            return _MOMENTS
        case "int64":
            return (*_INTEGERS, *bounds, *(bound + step for bound in bounds for step in (-1, 1)))
        case "float64" | "float32":
            largest = LARGEST[field.type]
            edges = tuple(math.nextafter(bound, end) for bound in bounds for end in (-math.inf, math.inf))
            return tuple(map(float, (*_FLOATS, largest, -largest, *bounds, *edges)))
    return ()
