from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem import Feature, FeatureView, StoreError
from tandem.packed_rows import RowLayout

INSTANTS = st.integers(-(2**52), 2**52).map(lambda us: np.datetime64(us, "us"))
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    "float64": st.floats(allow_nan=True, width=64),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "bool": st.booleans(),
    "string": st.text(),
    "timestamp": INSTANTS,
    "float64[2]": st.lists(st.floats(allow_nan=True, width=64), min_size=2, max_size=2),
    "float32": st.floats(allow_nan=True, width=32),
    "float32[3]": st.lists(st.floats(allow_nan=True, width=32), min_size=3, max_size=3),
    "int64[2]": st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=2),
    # three numbers at most, and their length
    "int64[<=3]": st.lists(st.integers(-(2**63), 2**63 - 1), min_size=4, max_size=4),
    "float32[<=2]": st.lists(st.floats(allow_nan=True, width=32), min_size=3, max_size=3),
}
DTYPES = {"float64": float, "int64": np.int64, "bool": bool, "string": object, "timestamp": "datetime64[us]"}
DTYPES |= {"float64[2]": float, "float32": np.float32, "float32[3]": np.float32, "float32[<=2]": np.float32}
DTYPES |= {"int64[2]": np.int64, "int64[<=3]": np.int64}


@st.composite
def stored(draw: st.DrawFn) -> tuple[FeatureView, dict[str, Any], Any, dict[str, Any], list[bool]]:
    """A view with columns, event times, nulls, and which entities are missing."""
    types = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=12))
    # names that the packed layout could have for itself
    names = ["time", "layout", "nulls", "values", *(f"f{index}" for index in range(12))]
    view = FeatureView("v", keys=["k"], features=[Feature(n, t) for n, t in zip(names, types, strict=False)])
    rows = draw(st.integers(1, 6))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=rows, max_size=rows))

    columns = {
        f.name: np.array(column(VALUES[f.type]), DTYPES[f.type])
        if "[" in f.type
        else np.array([*column(VALUES[f.type]), None], object)[:-1].astype(DTYPES[f.type])
        for f in view.features
    }
    nulls = {f.name: np.array(column(st.booleans())) for f in view.features if draw(st.booleans())}
    return view, columns, np.array(column(INSTANTS), "datetime64[us]"), nulls, column(st.booleans())


@given(stored())
def test_what_is_packed_is_unpacked(case: tuple[FeatureView, dict[str, Any], Any, dict[str, Any], list[bool]]) -> None:
    view, columns, event_time, nulls, missing = case
    layout = RowLayout(view)
    rows = layout.pack(columns, event_time, nulls)
    unpacked = layout.unpack([None if gone else row for row, gone in zip(rows, missing, strict=True)])
    there = ~np.array(missing)
    assert np.isnat(unpacked.event_time).tolist() == missing
    assert (unpacked.event_time[there] == event_time[there]).all()
    for name, column in columns.items():
        assert unpacked.columns[name].dtype == np.dtype(DTYPES[{f.name: f.type for f in view.features}[name]])
        assert unpacked.columns[name].flags.c_contiguous
        # a NaN that was packed as a value is a null when it is read
        nan = np.isnan(column).reshape(len(missing), -1).any(axis=1) if column.dtype.kind == "f" else False
        null = (nulls.get(name, np.zeros(len(missing), bool)) | nan) & there
        assert unpacked.nulls.get(name, np.zeros(len(missing), bool)).tolist() == null.tolist()
        mask = there & ~null
        if column.dtype == object:
            assert unpacked.columns[name][mask].tolist() == column[mask].tolist()
        else:
            assert unpacked.columns[name][mask].tobytes() == column[mask].tobytes()


def test_rows_are_packed_as_they_were_when_the_format_was_fixed() -> None:
    view = FeatureView(
        "v",
        keys=["k"],
        version=3,
        features=[
            *(Feature("x"), Feature("n", "int64"), Feature("y"), Feature("z"), Feature("b", "bool")),
            *(Feature("s", "string"), Feature("t", "timestamp"), Feature("a", "float64[2]"), Feature("u", "string")),
            Feature("c", "bool"),
        ],
    )
    columns = {
        "x": np.array([1.5, -0.0]),
        "n": np.array([-3, 2**60 + 1]),
        "y": np.array([np.inf, 1e-300]),
        "z": np.array([0.1, 2.0]),
        "b": np.array([True, False]),
        "s": np.array(["ü\0", ""], object),
        "t": np.array(["2026-05-01T08:00:00.000001", "1969-12-31"], "M8[us]"),
        "a": np.array([[0.25, -1.0], [3.0, 4.0]]),
        "u": np.array(["", "last"], object),
        "c": np.array([False, True]),
    }
    times = np.array(["2026-05-01T08:00:00", "1960-01-01"], "M8[us]")
    nulls = {"z": np.array([False, True]), "u": np.array([True, False]), "c": np.array([True, False])}
    # stores are full of such rows: whoever changes a byte of them has all of them materialized again
    assert [row.hex() for row in RowLayout(view).pack(columns, times, nulls)] == [
        "bd86abfe0060b2f7bc5006000003000000000000f83ffdffffffffffffff000000000000f07f9a9999999999b93f01030000"
        "000160b2f7bc500600000000000000d03f000000000000f0bf0000000000c3bc00",
        "bd86abfe0020b32df2e0feff08000000000000000080010000000000001059f3f8c21f6ea501000000000000000000000000"
        "0000a028e2ebffffff0000000000000840000000000000104004000000016c617374",
    ]


def test_equal_values_give_equal_rows_whatever_stands_at_nulls() -> None:
    layout = RowLayout(FeatureView("v", keys=["k"], features=[Feature("x"), Feature("s", "string")]))
    time, null = np.array([0], "datetime64[us]"), {"x": np.array([True]), "s": np.array([True])}
    row = layout.pack({"x": np.array([np.nan]), "s": np.array(["a"], object)}, time, null)
    assert row == layout.pack({"x": np.array([5.0]), "s": np.array([None], object)}, time, null)


VIEW = FeatureView("v", keys=["k"], features=[Feature("x"), Feature("n", "int64"), Feature("s", "string")])


def packed(view: FeatureView = VIEW, texts: tuple[str, ...] = ("hello", "")) -> list[bytes]:
    rows = len(texts)
    columns = {"x": np.zeros(rows), "n": np.zeros(rows, int), "s": np.array(texts, object)}
    return RowLayout(view).pack(columns, np.zeros(rows, "datetime64[us]"))


@pytest.mark.parametrize("end", range(1, 10))
def test_row_that_is_cut_off_is_refused(end: int) -> None:
    row = packed()[0]
    with pytest.raises(StoreError, match=r"'v': .* materialize the view again"):
        RowLayout(VIEW).unpack([row[:-end]])
    with pytest.raises(StoreError, match="materialize the view again"):
        RowLayout(VIEW).unpack([row + b"\0" * end])


def test_row_too_long_beside_one_too_short_is_refused() -> None:
    view = FeatureView("v", keys=["k"], features=[Feature("x")])
    rows = RowLayout(view).pack({"x": np.ones(2)}, np.zeros(2, "datetime64[us]"))
    with pytest.raises(StoreError, match="wrong length"):
        RowLayout(view).unpack([rows[0] + rows[1][:1], rows[1][1:]])


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"name": "w"},
        {"keys": ["k", "j"]},
        {"features": [Feature("x"), Feature("m", "int64"), Feature("s", "string")]},
        {"features": [Feature("n", "int64"), Feature("x"), Feature("s", "string")]},
        {"features": [Feature("x"), Feature("n", "timestamp"), Feature("s", "string")]},
    ],
)
def test_row_of_another_layout_is_refused(changes: dict[str, Any]) -> None:
    parts = {"name": "v", "keys": ["k"], "features": VIEW.features} | changes
    with pytest.raises(StoreError, match="stored with other features"):
        RowLayout(FeatureView(**parts)).unpack(packed())
