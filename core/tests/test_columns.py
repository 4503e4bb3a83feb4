from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tandem import DefinitionError
from tandem.columns import read_column

MAY = datetime(2026, 5, 1)
BERLIN = pd.Timestamp("2026-05-01T02:00", tz="Europe/Berlin")


@pytest.mark.parametrize(
    ("values", "type_", "expected"),
    [
        ([1, 2], "float64", [1.0, 2.0]),
        (np.array([1, 2], np.int8), "int64", [1, 2]),
        (np.array([1.0, 2.0], np.float32), "float64", [1.0, 2.0]),
        ([1.0, 2.0], "int64", [1, 2]),
        ([True], "bool", [True]),
        (["2026-05-01", "2026-05-01T02:00+02:00"], "timestamp", [MAY, MAY]),
        (np.array(["2026-05-01"], "M8[ns]"), "timestamp", [MAY]),
        ([MAY, MAY.replace(tzinfo=UTC), BERLIN, date(2026, 5, 1)], "timestamp", [MAY] * 4),
        (pd.Series([BERLIN]), "timestamp", [MAY]),
        (pl.Series([MAY.replace(tzinfo=UTC)]).dt.convert_time_zone("Europe/Berlin"), "timestamp", [MAY]),
        (pa.array([BERLIN]), "timestamp", [MAY]),
        (np.array(["a"]), "string", ["a"]),
        (np.array(["a", "b"], np.dtypes.StringDType()), "string", ["a", "b"]),
        (np.array([17, -3]), "string", ["17", "-3"]),
        (pd.Series(["a", "b"], dtype="category"), "string", ["a", "b"]),
        (pl.Series(["a\0", "b"]), "string", ["a\0", "b"]),
        (pa.array(["a\0", "b"]), "string", ["a\0", "b"]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), "string", ["a", "b"]),
        (pa.array(["a", "b"]).dictionary_encode(), "string", ["a", "b"]),
        (pa.array(["a", "b"], pa.string_view()), "string", ["a", "b"]),
        ([[1, 2], [3, 4]], "float64[2]", [[1.0, 2.0], [3.0, 4.0]]),
        (pd.Series([[1, 2], np.array([3, 4])]), "float64[2]", [[1.0, 2.0], [3.0, 4.0]]),
        (pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2)), "float64[2]", [[1.0, 2.0], [3.0, 4.0]]),
        (pl.Series([[1.0, 2.0]]), "float64[2]", [[1.0, 2.0]]),
        ([0.1, 1], "float32", np.float32([0.1, 1]).tolist()),
        (np.array([0.5, 1], np.float16), "float32", [0.5, 1]),
        (np.array([[0.1, 1]]), "float32[2]", [np.float32([0.1, 1]).tolist()]),
        (pa.array([[2**60 + 1, 2]], pa.list_(pa.int64(), 2)), "int64[2]", [[2**60 + 1, 2]]),
        ([[1.0, 2.0]], "int64[2]", [[1, 2]]),
        (pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int8, 2)), "float32[2]", [[1, 2], [3, 4]]),
        # the last number is the length
        ([[2**60 + 1], [], [1, 2]], "int64[<=3]", [[2**60 + 1, 0, 0, 1], [0, 0, 0, 0], [1, 2, 0, 2]]),
        ([[], []], "int64[<=2]", [[0, 0, 0]] * 2),
        (np.array([[1, 2]]), "int64[<=3]", [[1, 2, 0, 2]]),
        (pd.Series([[0.5], np.array([])]), "float32[<=1]", [[0.5, 1], [0, 0]]),
        (pl.Series([[1], [2, 3]]), "int64[<=2]", [[1, 0, 1], [2, 3, 2]]),
        ([b"a\0", b""], "bytes", [b"a\0", b""]),
        (pa.array([b"a\0"]), "bytes", [b"a\0"]),
        (pl.Series([b"a\0"]), "bytes", [b"a\0"]),
        (pd.Series([b"a\0"]), "bytes", [b"a\0"]),
        ([], "string", []),
        ([], "timestamp", []),
        ([], "bool", []),
        ([], "float64[2]", []),
        ([], "int64[<=2]", []),
        ([], "bytes", []),
    ],
)
def test_values_of_any_library(values: Any, type_: str, expected: Any) -> None:
    column, null = read_column("c", values, type_)
    assert column.tolist() == expected
    assert null is None


NONE = {
    "list": lambda values: values,
    "numpy": lambda values: np.array([*values, None], object)[:-1],
    "pandas": pd.Series,
    "pandas nullable": lambda values: pd.Series(values, dtype=object).convert_dtypes(),
    "polars": pl.Series,
    "arrow": pa.array,
    "chunks": lambda values: pa.chunked_array([pa.array(values)]),
}


@pytest.mark.parametrize("form", list(NONE))
@pytest.mark.parametrize(
    ("type_", "values"),
    [
        ("float64", [None, 1.5, None]),
        ("int64", [None, 2**60 + 1, 3]),
        ("bool", [True, None, False]),
        ("string", ["a", None, ""]),
        ("timestamp", [None, MAY, None]),
        ("float64[2]", [[1.0, 2.0], None, [3.0, 4.0]]),
        ("float32[2]", [[1.0, 2.0], None, [3.0, 4.0]]),
        ("int64[2]", [None, [2**60 + 1, 2], [3, 4]]),
        ("bytes", [b"a\0", None, b""]),
    ],
)
def test_nulls_of_any_library(form: str, type_: str, values: list[Any]) -> None:
    if (form, type_) == ("pandas", "int64"):
        values = [None, 2**53, 3]  # pandas itself makes floats of them
    series = pd.Series(values, dtype="Int64") if (form, type_) == ("pandas nullable", "int64") else NONE[form](values)
    column, null = read_column("c", series, type_)
    assert null is not None
    assert null.tolist() == [value is None for value in values]
    assert column[~null].tolist() == [value for value in values if value is not None]


@pytest.mark.parametrize(
    ("values", "type_", "null"),
    [
        (["a", float("nan")], "string", [False, True]),
        ([2**60 + 1, float("nan")], "int64", [False, True]),
        (np.array([1.0, np.nan]), "int64", [False, True]),
        ([True, np.nan], "bool", [False, True]),
        ([1.0, pd.NA, pd.NaT], "float64", [False, True, True]),
        ([MAY, pd.NaT, np.datetime64("NaT")], "timestamp", [False, True, True]),
        (np.array(["NaT", "2026-05-01"], "M8[D]"), "timestamp", [True, False]),
        (np.ma.masked_array([1, 2], [True, False]), "int64", [True, False]),
        (np.array([[1.0, np.nan], [1.0, 2.0]]), "float64[2]", [True, False]),
        ([[1.0, None], [1.0, 2.0], None], "float64[2]", [True, False, True]),
        ([[1, None], [2**53, 2], None], "int64[2]", [True, False, True]),
        ([[1, None], [], None], "int64[<=2]", [True, False, True]),
        (pa.array([[1, None], [2**60 + 1, 2]]), "int64[2]", [True, False]),
        (pa.array([None, None]), "float32[2]", [True, True]),
        (pa.array([None, None]), "bytes", [True, True]),
        (pa.array([None, None]), "string", [True, True]),
        (pa.array([1.0, float("nan"), None]), "float64", [False, True, True]),
        (pl.Series([1.0, float("nan"), None]), "float64", [False, True, True]),
        (pl.Series([None, None]), "bool", [True, True]),
    ],
)
def test_what_else_is_a_null(values: Any, type_: str, null: list[bool]) -> None:
    column, mask = read_column("c", values, type_)
    assert mask is not None
    assert mask.tolist() == null
    assert len(column) == len(null)


@pytest.mark.parametrize(
    ("values", "type_", "reason"),
    [
        ([1.0, None, np.inf], "float64", "is infinite in row 2; values must be finite"),
        ([[1.0, 2.0], [-np.inf, 1.0]], "float64[2]", "is infinite in row 1"),
        ([None, 2**53 + 1], "float64", "cannot be read as float64 without loss: row 1 is 9007199254740993"),
        ([1.5], "int64", "cannot be read as int64 without loss: row 0 is 1.5"),
        ([2.0**60], "int64", "cannot be read as int64 without loss"),
        (np.array([2**63], np.uint64), "int64", "cannot be read as int64 without loss"),
        ([True, 1.5], "float64", "cannot be read as float64: row 0, such as True .bool."),
        ([True, None], "float64", "cannot be read as float64: row 0, such as True .bool."),
        ([None, 1, "x"], "float64", "cannot be read as float64: row 2, such as 'x' .str."),
        ([Decimal("1.1")], "float64", "cannot be read as float64: row 0, such as Decimal"),
        ([0, 1], "bool", "cannot be read as bool: its values are int64"),
        ([0.5], "string", "has values that are not strings: they are float64"),
        (["a", 1], "string", "has values that are not strings in row 1"),
        ([b"a"], "string", "has values that are not strings"),
        ([1, 2], "timestamp", "cannot be read as timestamp: its values are int64"),
        (["noon"], "timestamp", "cannot be read as timestamp: row 0, such as 'noon'"),
        ([[1, 2], [3]], "float64[2]", "cannot be read as .*: row 1, with 1 numbers"),
        ([[1, 2], None, [1, 2, 3]], "float32[2]", r"cannot be read as float32\[2\]: row 2, with 3 numbers"),
        ([[1], [1, 2, 3]], "int64[<=2]", r"cannot be read as int64\[<=2\]: row 1, with 3 numbers"),
        ([[1, 2], 5], "int64[2]", r"cannot be read as int64\[2\]: row 1, without a list of numbers"),
        ([[1, 1.5]], "int64[2]", r"cannot be read as int64\[2\] without loss: row 0 has 1.5"),
        ([[1.0, 1e39]], "float32[2]", r"cannot be read as float32\[2\] without loss: row 0 has 1e\+39"),
        ([1e39], "float32", "cannot be read as float32 without loss: row 0 is 1e"),
        ([2**24 + 1], "float32", "cannot be read as float32 without loss: row 0 is 16777217"),
        ([[1.0], [np.inf]], "float32[<=1]", "is infinite in row 1"),
        (["a"], "bytes", "cannot be read as bytes: row 0, such as 'a' .str."),
        (np.array([b"a"]), "bytes", "cannot be read as bytes: its values are"),
        ([["a", "b"]], "float64[2]", "cannot be read as"),
        (np.zeros((2, 3)), "float64[2]", r"cannot be read as float64\[2\]: it has shape \(2, 3\), float64"),
        (np.zeros((2, 2)), "float64", "cannot be read as float64: its values"),
    ],
)
def test_values_that_do_not_fit(values: Any, type_: str, reason: str) -> None:
    with pytest.raises(DefinitionError, match=f"column 'c' {reason}"):
        read_column("c", values, type_)
