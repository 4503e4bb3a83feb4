"""A null is the same in training and when the model is served, whatever the table and the protocol."""

from __future__ import annotations

import asyncio
import io
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tandem import Feature, FeatureView, Field, Inputs, Model, Pipeline, Prediction, inputs_from_table, on_demand
from tandem.comparison import first_difference
from tandem.dtypes import array_length, is_ragged, mask_column
from tandem.inputs import Degradation
from tandem.lookup import LookupPlan
from tandem.materialize import materialize
from tandem.packed_rows import RowLayout, ViewColumns
from tandem.rows import RowReader
from tandem.signature import Signature, TensorSpec
from tandem.stores.memory import MemoryStore

NOW = datetime(2026, 5, 1, tzinfo=UTC)
VIEW = FeatureView(
    "v",
    keys=["id"],
    max_age="2d",
    features=[
        Feature("f", default=1.5),
        Feature("f_bare"),
        Feature("i", "int64", default=-3),
        Feature("b", "bool", default=True),
        Feature("s", "string", default="none"),
        Feature("t", "timestamp", default="2026-01-01T00:00:00Z"),
        Feature("t_bare", "timestamp"),
        Feature("a", "float64[2]", default=[0.25, 0.5]),
        Feature("a_bare", "float64[2]"),
        Feature("f32", "float32", default=0.1),
        Feature("a32", "float32[2]", default=[0.1, 0.2]),
        Feature("a32_bare", "float32[2]"),
        Feature("ai", "int64[2]", default=[5, 6]),
        Feature("r", "int64[<=3]", default=[]),
        Feature("r32", "float32[<=2]", default=[0.1]),
    ],
)
FIELDS = {
    "rf": Field("float64", default=2.5),
    "rf_bare": Field("float64", optional=True),
    "ri": Field("int64", default=7),
    "rb": Field("bool", default=True),
    "rs": Field("string", default="red"),
    "rt": Field("timestamp", default="2026-02-02T00:00:00Z"),
    "rt_bare": Field("timestamp", optional=True),
    "ra": Field("float64[2]", default=[3.0, 4.0]),
    "ra_bare": Field("float64[2]", optional=True),
    "rf32": Field("float32", optional=True),
    "ra32": Field("float32[2]", default=[0.3, 0.4]),
    "ra32_bare": Field("float32[2]", optional=True),
    "rai": Field("int64[2]", default=[7, 8]),
    "rr": Field("int64[<=3]", default=[9]),
    "rr32": Field("float32[<=2]", default=[]),
}
RAGGED = ("r", "r32", "rr", "rr32")


@on_demand
def texts(s, rs):
    return np.array([sum(text.encode()) * 1000.0 + len(text_list) for text, text_list in zip(s, rs, strict=True)])


@on_demand
def moments(t, t_bare, rt, rt_bare, as_of):
    return np.stack([(as_of - moment) / np.timedelta64(1, "us") for moment in (t, t_bare, rt, rt_bare)], axis=1)


MODEL = Model(
    "m",
    serving_keys={"id": "string"},
    passed_features=FIELDS,
    request_parameters={"ts": "timestamp"},
    as_of="ts",
    views=[VIEW],
    inputs=[
        *("f", "f_bare", "i", "b", "a", "a_bare", "rf", "rf_bare", "ri", "rb", "ra", "ra_bare", texts, moments),
        *("f32", "a32", "a32_bare", "ai", "rf32", "ra32", "ra32_bare", "rai", *RAGGED, *map(mask_column, RAGGED)),
    ],
    prediction=Prediction("y"),
)
WIDTHS = {"moments": 4} | {name: array_length(type_) for name, type_ in MODEL.types.items() if array_length(type_)}
WIDTHS |= {mask: WIDTHS[name] for mask, name in MODEL.masks.items()}
NAMES = [source if isinstance(source, str) else source.name for source in MODEL.inputs[None]]
COLUMNS = tuple(
    part for name in NAMES for part in ([f"{name}[{at}]" for at in range(WIDTHS[name])] if name in WIDTHS else [name])
)
PIPELINE = Pipeline(MODEL, Signature((TensorSpec("X", "float64", COLUMNS, (-1, len(COLUMNS))),), ()), {})


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SHORT_FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "float64": FLOATS,
    "int64": st.integers(-(2**53), 2**53),
    "bool": st.booleans(),
    "string": st.text(max_size=4),
    "timestamp": st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC)),
    "float64[2]": st.lists(FLOATS, min_size=2, max_size=2),
    "float32": SHORT_FLOATS,
    "float32[2]": st.lists(SHORT_FLOATS, min_size=2, max_size=2),
    "int64[2]": st.lists(st.integers(-(2**63), 2**63 - 1), min_size=2, max_size=2),
    "int64[<=3]": st.lists(st.integers(-(2**63), 2**63 - 1), max_size=3),
    "float32[<=2]": st.lists(SHORT_FLOATS, max_size=2),
}
ARROW = {
    "float64": pa.float64(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
    "float64[2]": pa.list_(pa.float64()),
    "float32": pa.float32(),
    "float32[2]": pa.list_(pa.float32()),
    "int64[2]": pa.list_(pa.int64()),
    "int64[<=3]": pa.list_(pa.int64()),
    "float32[<=2]": pa.large_list(pa.float32()),
}
TYPES = {"id": "string", "event_time": "timestamp", "ts": "timestamp"}
TYPES |= {feature.name: feature.type for feature in VIEW.features} | {name: f.type for name, f in FIELDS.items()}


@st.composite
def rows(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Rows of one table with features and fields; about half of the values are null."""
    count = draw(st.integers(1, 5))
    drawn_rows = []
    for index in range(count):
        age = timedelta(days=draw(st.integers(0, 2)))
        row: dict[str, Any] = {"id": f"e{index}", "ts": NOW, "event_time": NOW - age}
        for name, type_ in TYPES.items():
            if name not in row:
                row[name] = draw(st.none() | VALUES[type_])
        drawn_rows.append(row)
    return drawn_rows


def arrow(table: list[dict[str, Any]]) -> pa.Table:
    return pa.table({name: pa.array([row[name] for row in table], ARROW[type_]) for name, type_ in TYPES.items()})


def parquet(table: pa.Table) -> io.BytesIO:
    file = io.BytesIO()
    pq.write_table(table, file)
    file.seek(0)
    return file


def with_nan(table: pa.Table) -> dict[str, Any]:
    """NumPy arrays with NaN and NaT, and objects with None where a type has neither."""
    return {name: table[name].to_pandas().to_numpy() for name in table.column_names}


def with_fixed_lists(table: pa.Table) -> pa.Table:
    """Arrays of a fixed length in Arrow's type for such."""
    for at, (name, type_) in enumerate(TYPES.items()):
        if (length := array_length(type_)) is not None and not is_ragged(type_):
            fixed = pa.array(table[name].to_pylist(), pa.list_(ARROW[type_].value_type, length))
            table = table.set_column(at, name, fixed)
    return table


NULLABLE = {
    pa.float64(): pd.Float64Dtype(),
    pa.float32(): pd.Float32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.bool_(): pd.BooleanDtype(),
    pa.string(): pd.StringDtype(),
}
FORMS = {
    "arrow": lambda table: table,
    "arrow fixed lists": with_fixed_lists,
    "parquet fixed lists": lambda table: pq.read_table(parquet(with_fixed_lists(table))),
    "parquet": lambda table: pq.read_table(parquet(table)),
    "pandas": lambda table: table.to_pandas(),
    "pandas from parquet": lambda table: pq.read_table(parquet(table)).to_pandas(),
    "pandas nullable": lambda table: table.to_pandas(types_mapper=NULLABLE.get),
    "pandas of arrow": lambda table: table.to_pandas(types_mapper=pd.ArrowDtype),
    "polars": pl.from_arrow,
    "lists": lambda table: {name: table[name].to_pylist() for name in table.column_names},
    "numpy": with_nan,
}


def trained(table: Any) -> np.ndarray:
    columns = table if isinstance(table, dict) else None
    if columns is not None:
        table = {("v_event_time" if name == "event_time" else name): values for name, values in columns.items()}
    elif isinstance(table, pa.Table):
        table = table.rename_columns({"event_time": "v_event_time"})
    elif isinstance(table, pl.DataFrame):
        table = table.rename({"event_time": "v_event_time"})
    else:
        table = table.rename(columns={"event_time": "v_event_time"})
    (vectors,) = vectors_of(inputs_from_table(MODEL, table))
    return vectors


def vectors_of(inputs: Inputs) -> list[np.ndarray]:
    return list(PIPELINE.vectors(inputs).values())


def served(table: Any, requests: list[dict[str, Any]]) -> np.ndarray:
    """Vectors of the rows when the table was materialized, and the fields came as JSON."""
    store = MemoryStore()
    asyncio.run(materialize(VIEW, table, store))
    reader = RowReader(MODEL.contract)
    body = msgspec.json.encode(requests)
    request = reader.columns(msgspec.json.decode(body, type=list[reader.row_type]))  # type: ignore[name-defined]
    plan = LookupPlan(MODEL.views)
    views = plan.unpack(store.get_now(plan.keys(request)), len(requests))
    (vectors,) = vectors_of(Inputs(request, views, reader.as_of(request, np.datetime64("now"))))
    return vectors


@given(rows(), st.data())
@settings(
    max_examples=30,
    deadline=None,
    # a failing table is small enough to be read as it is, and shrinking one takes minutes
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
def test_vectors_of_training_are_the_vectors_that_are_served(table: list[dict[str, Any]], data: st.DataObject) -> None:
    whole = arrow(table)
    requests = [{name: row[name] for name in ("id", "ts", *FIELDS)} for row in table]
    for request in requests:
        for name in FIELDS:
            if request[name] is None and data.draw(st.booleans()):
                del request[name]
    expected = trained(whole)
    for name, form in FORMS.items():
        assert first_difference(trained(form(whole)), expected) is None, f"{name} in training"
        assert first_difference(served(form(whole), requests), expected) is None, f"{name} when served"


def test_every_null_is_the_default_or_the_filler_of_its_type() -> None:
    empty: dict[str, Any] = dict.fromkeys(TYPES) | {"id": "a", "ts": NOW, "event_time": NOW}
    inputs = inputs_from_table(MODEL, arrow([empty]).rename_columns({"event_time": "v_event_time"}))
    features = PIPELINE.features(inputs)
    columns = {name: features.columns[name][0] for name in (*FIELDS, *(feature.name for feature in VIEW.features))}
    assert {name: columns[name] for name in ("f", "i", "b", "s", "rf", "ri", "rb", "rs")} == {
        "f": 1.5, "i": -3, "b": True, "s": "none", "rf": 2.5, "ri": 7, "rb": True, "rs": "red",
    }  # fmt: skip
    assert columns["t"] == np.datetime64("2026-01-01")
    assert columns["rt"] == np.datetime64("2026-02-02")
    assert [columns[name].tolist() for name in ("a", "ra")] == [[0.25, 0.5], [3.0, 4.0]]
    bare = ("f_bare", "a_bare", "rf_bare", "ra_bare", "a32_bare", "rf32", "ra32_bare")
    assert all(np.isnan(columns[name]).all() for name in bare)
    short = np.float32([0.1, 0.2, 0.3, 0.4])
    assert columns["f32"] == short[0]
    assert [columns[name].tolist() for name in ("a32", "ra32")] == [short[:2].tolist(), short[2:].tolist()]
    assert [columns[name].tolist() for name in ("ai", "rai")] == [[5, 6], [7, 8]]
    ragged = {"r": [0, 0, 0], "r32": [short[0], 0], "rr": [9, 0, 0], "rr32": [0, 0]}
    assert {name: columns[name].tolist() for name in RAGGED} == ragged
    masks = {name: features.columns[mask_column(name)][0].tolist() for name in RAGGED}
    assert masks == {"r": [False] * 3, "r32": [True, False], "rr": [True, False, False], "rr32": [False] * 2}
    assert np.isnat(columns["t_bare"])
    assert np.isnat(columns["rt_bare"])
    # a NaN without default is what the model is meant to see
    assert features.degraded == {
        0: {
            f"v.{name}": Degradation("null", "default")
            for name in ("f", "i", "b", "s", "t", "a", "f32", "a32", "ai", "r", "r32")
        }
    }


PLAIN = FeatureView("p", keys=["id"], features=[Feature("x", default=4.0), Feature("e", "float64[2]", default=[7, 8])])


def stored_as_values(x: list[float], e: list[list[float]]) -> ViewColumns:
    """What is read when NaN was packed as a value, not as a null, as by another program."""
    layout = RowLayout(PLAIN)
    times = np.full(len(x), np.datetime64("2026-05-01", "us"))
    return layout.unpack(layout.pack({"x": np.array(x), "e": np.array(e)}, times))


def test_a_nan_that_is_stored_as_a_value_is_a_null() -> None:
    model = Model("m", serving_keys={"id": "string"}, views=[PLAIN], inputs=["x", "e"], prediction=Prediction("y"))
    view = stored_as_values([1.0, np.nan, 3.0], [[1, 2], [3, 4], [np.nan, 6]])
    assert {name: mask.tolist() for name, mask in view.nulls.items()} == {
        "x": [False, True, False],
        "e": [False, False, True],
    }
    inputs = Inputs({"id": np.array(["a", "b", "c"], object)}, (view,), np.full(3, np.datetime64("2026-05-02", "us")))
    features = Pipeline(model, Signature((), ()), {}).features(inputs)
    assert features.columns["x"].tolist() == [1, 4, 3]
    assert features.columns["e"].tolist() == [[1, 2], [3, 4], [7, 8]]
    assert features.degraded == {1: {"p.x": Degradation("null", "default")}, 2: {"p.e": Degradation("null", "default")}}


def test_infinities_that_are_stored_are_no_nulls() -> None:
    assert stored_as_values([np.inf, -np.inf], [[np.inf, -np.inf], [0, 0]]).nulls == {}


def test_a_null_for_which_nothing_stands_refuses_its_row_alone() -> None:
    before = FeatureView("w", keys=["id"], features=[Feature("n", "int64", default=1), Feature("x", default=0.0)])
    now = FeatureView("w", keys=["id"], features=[Feature("n", "int64"), Feature("x", default=0.0)])
    layout = RowLayout(before)
    columns = {"n": np.array([5, 0]), "x": np.zeros(2)}
    packed = layout.pack(columns, np.full(2, np.datetime64("2026-05-01", "us")), {"n": np.array([False, True])})
    model = Model("m", serving_keys={"id": "string"}, views=[now], inputs=["n"], prediction=Prediction("y"))
    inputs = Inputs(
        {"id": np.array(["a", "b"], object)},
        (RowLayout(now).unpack(packed),),
        np.full(2, np.datetime64("2026-05-02", "us")),
    )
    features = Pipeline(model, Signature((), ()), {}).features(inputs)
    assert list(features.refused) == [1]
    assert features.refused[1].code == "feature_null"
    assert str(features.refused[1]) == "feature 'n' of view 'w' is stored as null, and has no default"
    with pytest.raises(type(features.refused[1]), match="stored as null"):
        Pipeline(model, Signature((), ()), {}).vectors(inputs)
