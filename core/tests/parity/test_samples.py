"""Rows for parity obey the contract, and have every kind of stored value; golden rows are as old as in training."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem import Bundle, Feature, FeatureView, Field, Inputs, Model, Prediction
from tandem.comparison import first_difference
from tandem.lookup import LookupPlan
from tandem.parity import Sample, golden_samples, random_sample, split_rows
from tandem.parity.unusual import with_unusual_values
from tandem.rows import RowReader

NOW = np.datetime64("2026-05-02T12:00:00", "us")
BOUNDS = st.integers(-(2**31), 2**31)
TYPES = ["float64", "float32", "int64", "bool", "string", "timestamp", "float32[3]", "int64[<=3]", "bytes"]


@st.composite
def fields(draw: st.DrawFn) -> Field:
    type_ = draw(st.sampled_from(TYPES))
    options: dict[str, Any] = {}
    if type_.startswith(("float", "int")):
        low = draw(st.none() | BOUNDS)
        high = draw(st.none() | st.integers(2, 2**31).map(lambda span: span + (low or 0)))
        options |= {draw(st.sampled_from(["ge", "gt"])): low} if low is not None else {}
        options |= {draw(st.sampled_from(["le", "lt"])): high} if high is not None else {}
    if type_ in ("float64", "timestamp", "float32[3]"):
        options["optional"] = draw(st.booleans())
    return Field(type_, **options)


@st.composite
def models(draw: st.DrawFn) -> Model:
    request = {f"f{at}": field for at, field in enumerate(draw(st.lists(fields(), min_size=1, max_size=4)))}
    keys = {"a": draw(st.sampled_from([Field("string"), Field("string", enum=("x", "y"))])), "b": Field("int64")}
    types = draw(st.lists(st.sampled_from(TYPES[:-1]), min_size=1, max_size=3))
    features = [Feature(f"x{at}", type_) for at, type_ in enumerate(types)]
    views = [
        FeatureView("one", keys=["a"], features=features, max_age=draw(st.sampled_from([None, "30s", "2d"]))),
        FeatureView("two", keys=["a", "b"], features=[Feature("y", default=1.0)]).on(prefix="second_"),
    ]
    times: dict[str, Any] = {"ts": Field("timestamp", optional=True)} if draw(st.booleans()) else {}
    return Model(
        "m",
        serving_keys=keys,
        passed_features=request,
        request_parameters=times,
        as_of="ts" if times else None,
        views=views,
        inputs=["second_y"],
        prediction=Prediction("p"),
    )


@settings(max_examples=60, deadline=None)
@given(models(), st.integers(1, 30), st.integers(0, 2**32))
def test_random_rows_are_the_same_in_every_form(model: Model, rows: int, seed: int) -> None:
    sample = random_sample(model, rows, np.random.default_rng(seed), NOW)
    reader = RowReader(model.contract)
    assert reader.violations(sample.rows) == []
    text = msgspec.json.encode(sample.rows)
    columns = reader.columns(msgspec.json.decode(text, type=list[reader.row_type]))  # type: ignore[name-defined]
    for name, column in sample.inputs.request.items():
        assert first_difference(columns[name], column) is None, name
    assert first_difference(sample.inputs.as_of[~sample.timed], np.full(rows, NOW)[~sample.timed]) is None
    check_stored(model, sample)


def check_stored(model: Model, sample: Sample) -> None:
    """What is stored is what the columns have."""
    plan = LookupPlan(model.views)
    keys = plan.keys(sample.inputs.request)
    assert sample.stored.keys() <= set(keys)
    views = plan.unpack([sample.stored.get(key) for key in keys], len(sample))
    for view, expected in zip(sample.inputs.views, views, strict=True):
        assert first_difference(view.event_time, expected.event_time) is None
        assert all(first_difference(view.columns[name], column) is None for name, column in expected.columns.items())


@given(fields(), st.integers(0, 2**32))
def test_unusual_values_obey_any_field(field: Field, seed: int) -> None:
    model = Model(
        "m",
        serving_keys={"id": "string"},
        passed_features={"f": field, "x": "float64"},
        inputs=["x"],
        prediction=Prediction("p"),
    )
    rng = np.random.default_rng(seed)
    (row,) = random_sample(model, 1, rng, NOW).rows
    for _ in range(100):
        value = with_unusual_values(model.contract, row, rng).get("f")
        assert value is None or field.broken_rule(value) is None


def test_random_rows_have_values_of_every_kind(trained: Any) -> None:
    sample = random_sample(trained.model, 3000, np.random.default_rng(1), NOW)
    assert any(ord(letter) > 0xFFFF for row in sample.rows for letter in row["city_id"])
    assert {0.0, 500.0} & {row["distance_km"] for row in sample.rows} == {500.0}
    assert len({row["city_id"] for row in sample.rows}) > 1000
    degraded = trained.pipeline.features(sample.inputs).degraded
    reasons = {why.reason for views in degraded.values() for why in views.values()}
    assert reasons == {"missing", "stale", "null"}


def test_the_same_seed_gives_the_same_rows(trained: Any) -> None:
    one, two = (random_sample(trained.model, 50, np.random.default_rng(3), NOW) for _ in range(2))
    assert one.rows == two.rows and one.stored == two.stored


def test_golden_rows_about_one_entity_are_in_several_samples(bundle: Bundle) -> None:
    samples = golden_samples(bundle, NOW)
    golden = bundle.golden_inputs().known_inputs
    # of 40 rows there are at least five about each of the seven cities, with other features each
    assert 5 < len(samples) <= 32
    assert sorted(np.concatenate([sample.numbers for sample in samples]).tolist()) == list(range(40))
    pipeline = bundle.pipeline()
    for sample in samples:
        assert sample.timed.all()
        check_stored(bundle.model, sample)
        expected = pipeline.vectors(golden.take(sample.numbers))
        for name, tensor in pipeline.vectors(sample.inputs).items():
            assert first_difference(tensor, expected[name]) is None


def test_golden_rows_that_no_client_can_send_are_left_out(trained: Any, tmp_path: Any) -> None:
    inputs = trained.inputs.take(np.arange(40))
    inputs.request["distance_km"][3] = 1e6
    bundle = trained.write(tmp_path, golden=inputs, expected=predictions(trained, inputs))
    numbers = np.concatenate([sample.numbers for sample in golden_samples(bundle, NOW)])
    assert sorted(numbers.tolist()) == [row for row in range(40) if row != 3]


def predictions(trained: Any, inputs: Inputs) -> Any:
    (vectors,) = trained.pipeline.vectors(inputs).values()
    return 3 + vectors @ np.linspace(1, 2, vectors.shape[1])


@pytest.mark.parametrize("alone", [(), (0, 7, 99), range(100)])
def test_requests_have_every_row_once(alone: Any) -> None:
    requests = split_rows(100, set(alone), seed=1)
    assert sorted(row for rows in requests for row in rows) == list(range(100))
    assert all([row] in requests for row in alone)
    assert max(map(len, requests)) <= 40
