"""The columns of an output, and their types."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from core.tests.small import MODEL, write_small

from tandem import Bundle, DefinitionError
from tandem_offline.batch import Layout, RowError, Scored
from tandem_offline.batch.layout import _array, _arrow_type, _texts

ROWS = pa.schema([("id", pa.string()), ("ts", pa.timestamp("us", "UTC")), ("x", pa.float64()), ("note", pa.int32())])


def test_columns_and_their_order(bundle: Bundle) -> None:
    layout = Layout(bundle, ROWS, run_id="r", keep=["note"])
    assert [(field.name, str(field.type)) for field in layout.schema] == [
        ("id", "string"),
        ("ts", "timestamp[us, tz=UTC]"),
        ("note", "int32"),
        ("y", "float"),
        ("label", "string"),
        ("root", "float"),
        ("degraded", "string"),
        ("error", "struct<code: string, message: string>"),
        ("model_version", "string"),
        ("bundle_digest", "string"),
        ("run_id", "string"),
    ]


def test_rows_without_any_answer(bundle: Bundle) -> None:
    layout = Layout(bundle, ROWS, run_id="r")
    batch = pa.RecordBatch.from_pylist([{"id": "a"}], schema=ROWS)
    (row,) = layout.rows(batch, Scored(1, errors={0: RowError("code", "text")})).to_pylist()
    assert row["error"] == {"code": "code", "message": "text"}
    assert row["y"] is row["label"] is row["degraded"] is None
    assert (row["model_version"], row["bundle_digest"], row["run_id"]) == ("v1", bundle.digest, "r")


@pytest.mark.parametrize(
    ("column", "type_", "values"),
    [
        (np.array([[1.0, 2.0], [3.0, 4.0]], np.float32), "float32[2]", [[1.0, 2.0], None]),
        (np.array([[1, 2], [3, 4]]), "int64[2]", [[1, 2], None]),
        (np.array([True, False]), "bool", [True, None]),
        (np.array(["a", 0], object), "string", ["a", None]),
        (np.array([5, 6]), "int64", [5, None]),
    ],
)
def test_a_column_is_null_where_there_is_no_answer(column: np.ndarray, type_: str, values: list[object]) -> None:
    array = _array(column, _arrow_type(type_), np.array([False, True]))
    assert array.type == _arrow_type(type_)
    assert array.to_pylist() == values
    assert _array(column[:1], _arrow_type(type_), None).to_pylist() == values[:1]


def test_times_are_in_utc() -> None:
    array = _array(np.array(["2026-05-01", "NaT"], "datetime64[us]"), _arrow_type("timestamp"), None)
    assert array.type == pa.timestamp("us", "UTC")
    assert [str(value) for value in array.to_pylist()] == ["2026-05-01 00:00:00+00:00", "None"]


def test_a_text_that_is_not_unicode() -> None:
    assert _texts(np.array(["a\ud800"], object), None).to_pylist() == ["a\\ud800"]


def test_a_column_that_would_be_written_twice(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match="the batch has no column 'team'; it has id, ts"):
        Layout(bundle, ROWS, run_id="r", keep=["team"])
    other_bundle = write_small(tmp_path, MODEL.replace('"y"', '"run_id"'))
    with pytest.raises(DefinitionError, match="the output would have two columns 'run_id'"):
        Layout(other_bundle, ROWS, run_id="r")
