from __future__ import annotations

import msgspec
import numpy as np

from tandem import Contract, Field, Prediction
from tandem.request_forms import rows_of, tensors_of
from tandem.rows import RowReader


def test_rows_can_be_read_back() -> None:
    contract = Contract(
        model="m",
        serving_keys={"id": Field("string")},
        passed_features={"x": Field("float64"), "y": Field("float64", optional=True)},
        request_parameters={"ts": Field("timestamp")},
        prediction=Prediction("p"),
        outputs={},
    )
    columns = {
        "id": np.array(["a", "b"], object),
        "x": np.array([0.1, 1e300]),
        "y": np.array([1.5, np.nan]),
        "ts": np.array(["2026-01-02T03:04:05.678901", "1969-12-31T23:59:59.999999"], "datetime64[us]"),
    }
    rows = rows_of(contract, columns)
    assert rows[1] == {"id": "b", "x": 1e300, "ts": "1969-12-31T23:59:59.999999Z"}
    assert RowReader(contract).violations(rows) == []


def test_arrays_and_bytes_can_be_read_back() -> None:
    contract = Contract(
        model="m",
        serving_keys={"id": Field("string")},
        passed_features={
            "e": Field("float32[2]", optional=True),
            "recent": Field("int64[<=3]", default=[1]),
            "photo": Field("bytes"),
        },
        request_parameters={},
        prediction=Prediction("p"),
        outputs={},
    )
    # the last number of an array of different length is its length
    recent = np.array([[7, 8, 0, 2], [0, 0, 0, 0]])
    columns = {
        "id": np.array(["a", "b"], object),
        "e": np.array([[0.1, 2.0], [np.nan, np.nan]], np.float32),
        "recent": recent,
        "photo": np.array([b"\xff", b""], object),
    }
    rows = rows_of(contract, columns)
    assert rows[1] == {"id": "b", "recent": [], "photo": ""}
    reader = RowReader(contract)
    assert reader.violations(rows) == []
    again = reader.columns(msgspec.convert(rows, list[reader.row_type]))  # type: ignore[name-defined]
    assert again["e"].tobytes() == columns["e"].tobytes()
    assert again["recent"].tolist() == recent.tolist()
    assert again["photo"].tolist() == [b"\xff", b""]


def test_tensors_have_every_value() -> None:
    contract = Contract(
        model="m",
        serving_keys={"id": Field("string"), "number": Field("int64")},
        passed_features={"x": Field("float64", optional=True), "recent": Field("int64[<=3]"), "photo": Field("bytes")},
        request_parameters={"ts": Field("timestamp"), "since": Field("timestamp", optional=True), "new": Field("bool")},
        prediction=Prediction("p"),
        outputs={},
    )
    moments = np.array(["2026-01-02T03:04:05.678901", "NaT"], "datetime64[us]")
    columns = {
        "id": np.array(["a\0b", "日本"], object),
        "number": np.array([2**62 + 1, -1]),
        "x": np.array([0.5, np.nan]),
        "recent": np.array([[7, 8, 0, 2], [0, 0, 0, 0]]),
        "photo": np.array([b"\xff", b""], object),
        "ts": moments[[0, 0]],
        "since": moments,
        "new": np.array([True, False]),
    }
    tensors = {tensor.name: tensor for tensor in tensors_of(contract, columns)}
    assert {name: tensor.datatype for name, tensor in tensors.items()} == {
        "id": "BYTES",
        "number": "INT64",
        "x": "FP64",
        "recent": "INT64",
        "recent_mask": "BOOL",
        "photo": "BYTES",
        "ts": "BYTES",
        "since": "INT64",
        "new": "BOOL",
    }
    assert tensors["id"].strings().tolist() == ["a\0b", "日本"]
    assert tensors["recent"].data.tolist() == [[7, 8, 0], [0, 0, 0]]
    assert tensors["recent_mask"].data.tolist() == [[True, True, False], [False] * 3]
    assert tensors["ts"].data.tolist() == [b"2026-01-02T03:04:05.678901Z"] * 2
    assert tensors["since"].data.tolist() == [moments[0].astype(int), -(2**63)]
    assert all(tensor.shape == tensor.data.shape for tensor in tensors.values())
