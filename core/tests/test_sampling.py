from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem import Feature, FeatureView, Field, Model, Prediction
from tandem.column_rules import check_columns
from tandem.comparison import first_difference
from tandem.packed_rows import RowLayout
from tandem.rows import RowReader
from tandem.sampling import random_inputs, random_rows

BOUNDS = st.integers(-(2**31), 2**31)


@st.composite
def fields(draw: st.DrawFn) -> Field:
    type_: Any = draw(st.sampled_from(["float64", "int64"]))
    low = draw(st.none() | BOUNDS)
    high = draw(st.none() | st.integers(2, 2**31).map(lambda span: span + (low or 0)))
    bounds = {}
    if low is not None:
        bounds[draw(st.sampled_from(["ge", "gt"]))] = low
    if high is not None:
        bounds[draw(st.sampled_from(["le", "lt"]))] = high
    return Field(type_, **bounds)


@given(fields(), st.integers(0, 2**32))
def test_random_values_keep_within_any_range(field: Field, seed: int) -> None:
    model = Model(
        "m", serving_keys={"id": "string"}, passed_features={"x": field}, inputs=["x"], prediction=Prediction("y")
    )
    for row in random_rows(model, 30, np.random.default_rng(seed)):
        assert field.broken_rule(row["x"]) is None


def test_random_rows_obey_the_contract_as_json(trained: Any) -> None:
    reader = RowReader(trained.model.contract)
    rows = random_rows(trained.model, 500, np.random.default_rng(1))
    assert reader.violations(rows) == []
    decoded = msgspec.json.decode(msgspec.json.encode(rows), type=list[reader.row_type])  # type: ignore[name-defined]
    check_columns(trained.model.contract, reader.columns(decoded))
    assert {row.get("tariff") for row in rows} == {"day", "night", None}
    assert {len(row) for row in rows} > {5, 8}


def test_random_values_of_every_type_obey_the_contract() -> None:
    types = ["float32", "float32[3]", "int64[2]", "int64[<=3]", "float64[<=2]", "bytes"]
    fields = {f"f{at}": Field(type_) for at, type_ in enumerate(types)}
    fields |= {"small": Field("bytes", max_bytes=2), "file": Field("bytes", default="AAAA")}
    features = [Feature(f"s{at}", type_) for at, type_ in enumerate(types[:-1])]
    view = FeatureView("v", keys=["id"], features=features)
    model = Model(
        "m",
        serving_keys={"id": "string"},
        passed_features=fields,
        views=[view],
        inputs=["f0"],
        prediction=Prediction("y"),
    )
    rng = np.random.default_rng(1)
    rows = random_rows(model, 200, rng)
    assert RowReader(model.contract).violations(rows) == []
    assert {len(row["f3"]) for row in rows} == {0, 1, 2, 3}
    assert {row.get("file") for row in rows} == {"AAAA", None}
    inputs = random_inputs(model, 200, rng)
    check_columns(model.contract, inputs.request)
    layout = RowLayout(view)
    lookup = inputs.views[0].take(~np.isnat(inputs.views[0].event_time))
    unpacked = layout.unpack(layout.pack(lookup.columns, lookup.event_time))
    assert all(first_difference(unpacked.columns[name], column) is None for name, column in lookup.columns.items())


def test_random_inputs_have_what_was_asked_for(trained: Any) -> None:
    inputs = random_inputs(trained.model, 2000, np.random.default_rng(1), missing=0.2, stale=0.3, null=0.4)
    city, driver = inputs.views
    absent = np.isnat(city.event_time)
    old = inputs.as_of - city.event_time > np.timedelta64(1, "D")
    assert absent.mean() == pytest.approx(0.2, abs=0.05)
    assert old[~absent].mean() == pytest.approx(0.3, abs=0.05)
    assert city.nulls["speed"][~absent].mean() == pytest.approx(0.4, abs=0.05)
    assert not city.nulls["speed"][absent].any()
    assert not (inputs.as_of < driver.event_time).any()
    for view, use in zip(inputs.views, trained.model.views, strict=True):
        assert list(view.columns) == [feature.name for feature in use.view.features]


def test_nothing_missing_when_nothing_is_asked_to_be(trained: Any) -> None:
    inputs = random_inputs(trained.model, 200, np.random.default_rng(1), missing=0, stale=0, null=0)
    features = trained.pipeline.features(inputs)
    assert features.degraded == features.refused == {}
    assert all(view.nulls == {} for view in inputs.views)


def test_the_same_seed_gives_the_same_inputs(trained: Any) -> None:
    first, second = (random_inputs(trained.model, 50, np.random.default_rng(3)) for _ in range(2))
    assert trained.pipeline.vectors(first)["X"].tobytes() == trained.pipeline.vectors(second)["X"].tobytes()
