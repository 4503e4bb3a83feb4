from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tandem import (
    Feature,
    FeatureView,
    Field,
    Inputs,
    Model,
    Pipeline,
    Prediction,
    fit,
    model_dependent,
    on_demand,
    postprocess,
)
from tandem.comparison import first_difference
from tandem.errors import ContractViolation, Internal, NotFound, Unavailable
from tandem.inputs import Degradation
from tandem.packed_rows import Outage, ViewColumns
from tandem.sampling import random_inputs
from tandem.signature import Signature, TensorSpec

AS_OF = np.datetime64("2026-05-01T12:00", "us")
NAT = np.datetime64("NaT", "us")


def view_columns(ages: list[str | None], **columns: Any) -> ViewColumns:
    """Features stored some time before AS_OF; None for an entity that is unknown."""
    times = [NAT if age is None else AS_OF - np.timedelta64(int(age[:-1]), age[-1]) for age in ages]
    nulls = columns.pop("nulls", {})
    return ViewColumns({k: np.array(v) for k, v in columns.items()}, np.array(times, "datetime64[us]"), nulls)


def make(*inputs: Any, views: Any = (), **more: Any) -> Pipeline:
    model = Model(
        "m",
        serving_keys={"id": "string"},
        passed_features={"x": Field("float64")},
        views=views,
        inputs=inputs or ["x"],
        prediction=Prediction("y"),
        **more,
    )
    signature = Signature((), (TensorSpec("out", "float32", (), (-1, 1)),))
    return Pipeline(model, signature, {})


def inputs(rows: int, *views: ViewColumns) -> Inputs:
    ids = np.array([f"e{index}" for index in range(rows)], object)
    return Inputs({"id": ids, "x": np.arange(float(rows))}, views, np.full(rows, AS_OF))


SPEED = FeatureView(
    "city", keys=["id"], max_age="1h", features=[Feature("speed", default=30.0), Feature("lanes", "int64", default=2)]
)
LIMIT = FeatureView("limits", keys=["id"], max_age="1h", features=[Feature("limit"), Feature("low", default=1.0)])


def test_during_an_outage_rows_are_what_is_known_of_them_or_defaults() -> None:
    stored = view_columns(["5m", "2h", None, None, "1m"], speed=[1.0, 2.0, 0.0, 0.0, 5.0], lanes=[1, 1, 0, 0, 4])
    # read a minute ago, read but too old by now, read and not there, never read, and answered by the store
    stored.outage = Outage("unavailable", np.array([60.0, 60.0, 2.5, np.inf, np.nan]))
    features = make("x", views=[SPEED]).features(inputs(5, stored))
    assert features.columns["speed"].tolist() == [1.0, 30.0, 30.0, 30.0, 5.0]
    assert features.degraded == {
        0: {"city": Degradation("unavailable", "last_known", 60.0)},
        1: {"city": Degradation("stale", "default")},
        2: {"city": Degradation("missing", "default")},
        3: {"city": Degradation("unavailable", "default")},
    }
    assert not features.refused


@pytest.mark.parametrize("view", [LIMIT, msgspec.structs.replace(SPEED, fallback="refuse")])
def test_during_an_outage_a_row_that_may_not_be_guessed_is_refused(view: FeatureView) -> None:
    names = [feature.name for feature in view.features]
    stored = view_columns([None, "1m"], **{name: [0, 1] for name in names})
    stored.outage = Outage("unavailable", np.array([np.inf, 2.0]))
    features = make("x", views=[view]).features(inputs(2, stored))
    (refusal,) = features.refused.values()
    assert isinstance(refusal, Unavailable)
    assert (refusal.code, refusal.retry_after) == ("store_unavailable", 1)
    assert view.name in str(refusal)
    assert features.degraded == {1: {view.name: Degradation("unavailable", "last_known", 2.0)}}


def test_missing_stale_and_null_values_become_defaults() -> None:
    pipeline = make("x", views=[SPEED])
    stored = view_columns(
        ["5m", None, "2h", "1h"],
        speed=[1.0, 2.0, 3.0, 4.0],
        lanes=[1, 1, 1, 1],
        nulls={"lanes": np.array([True, False, False, False])},
    )
    features = pipeline.features(inputs(4, stored))
    assert features.columns["speed"].tolist() == [1.0, 30.0, 30.0, 4.0]
    assert features.columns["lanes"].tolist() == [2, 2, 2, 1]
    assert features.columns["lanes"].dtype == np.int64
    assert features.degraded == {
        0: {"city.lanes": Degradation("null", "default")},
        1: {"city": Degradation("missing", "default")},
        2: {"city": Degradation("stale", "default")},
    }
    assert features.refused == {}


def test_row_without_default_is_refused_and_the_others_are_not() -> None:
    pipeline = make("x", views=[SPEED, LIMIT])
    city = view_columns([None, "1s", "1s"], speed=[0.0] * 3, lanes=[0] * 3)
    limits = view_columns([None, "2h", "1s"], limit=[0.0, 0.0, 7.0], low=[0.0, 0.0, 0.0])
    features = pipeline.features(inputs(3, city, limits))
    assert sorted(features.refused) == [0, 1]
    assert all(isinstance(error, NotFound) for error in features.refused.values())
    assert [features.refused[row].code for row in (0, 1)] == ["entity_not_found", "entity_stale"]
    assert str(features.refused[0]) == "feature view 'limits' has nothing for id=e0, and no default for 'limit'"
    assert features.refused[1].details == [{"row": 1, "field": "id", "rule": "must be known to limits"}]
    assert features.columns["limit"][2] == 7.0
    with pytest.raises(NotFound):
        pipeline.vectors(inputs(3, city, limits))


def test_ages_are_counted_from_as_of_not_from_the_clock() -> None:
    @on_demand
    def old(city_age, p_city_age):
        return city_age + p_city_age

    pipeline = make(old, views=[SPEED, SPEED.on(prefix="p_")])
    first = view_columns(["5m", "90s", None], speed=[0.0] * 3, lanes=[0] * 3)
    second = view_columns(["0s", "1s", "0s"], speed=[0.0] * 3, lanes=[0] * 3)
    ages = pipeline.features(inputs(3, first, second)).columns["old"]
    assert ages[:2].tolist() == [300.0, 91.0]
    assert np.isnan(ages[2])
    later = inputs(3, first, second)
    later.as_of = later.as_of + np.timedelta64(10, "s")
    assert pipeline.features(later).columns["old"][:2].tolist() == [320.0, 111.0]


def test_columns_are_bound_by_name_whatever_their_order() -> None:
    @on_demand
    def ratio(speed, x):
        return x / speed

    pipeline = make(ratio, views=[SPEED])
    stored = view_columns(["1s"], lanes=[9], speed=[4.0])
    batch = Inputs({"x": np.array([2.0]), "id": np.array(["a"], object)}, (stored,), np.array([AS_OF]))
    assert pipeline.features(batch).columns["ratio"].tolist() == [0.5]


def test_encoder_fills_several_columns_of_the_vector() -> None:
    @model_dependent(fit=lambda x: {"edges": [1.0, 2.0]})
    def bucket(x, *, edges):
        return (x[:, None] >= edges[None, :]).astype(np.float64)

    fitted = fit(make("x").model.__class__(
        "m", serving_keys={"id": "string"}, passed_features={"x": "float64"}, inputs=["x", bucket("x")],
        prediction=Prediction("y")), inputs(4))  # fmt: skip
    assert fitted.signature.columns == ("x", "bucket_x[0]", "bucket_x[1]")
    (tensor,) = fitted.vectors(inputs(4)).values()
    assert tensor.dtype == np.float32
    assert tensor.tolist() == [[0, 0, 0], [1, 1, 0], [2, 1, 1], [3, 1, 1]]


def test_failing_transform_is_named() -> None:
    @on_demand
    def broken(x):
        raise KeyError("oops")

    with pytest.raises(Internal, match="broken: KeyError: 'oops'") as caught:
        make(broken).features(inputs(2))
    assert caught.value.code == "transform_failed"


def test_lost_rows_are_noticed() -> None:
    @on_demand
    def short(x):
        return x[1:]

    with pytest.raises(Internal, match="short must return an array of 2 rows, not ndarray"):
        make(short).features(inputs(2))


def test_predictions_and_postprocessing() -> None:
    @postprocess("string")
    def label(y, x):
        return np.where(y > x, "above", "below")

    pipeline = make("x", postprocess=[label])
    columns = pipeline.features(inputs(2)).columns
    answers = pipeline.predictions({"out": np.array([[5.0], [0.5]], np.float32)}, columns)
    assert list(answers) == ["y", "label"]
    assert answers["y"].tolist() == [5.0, 0.5]
    assert answers["y"].dtype == np.float64
    assert answers["label"].tolist() == ["above", "below"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_prediction_that_is_no_number_is_refused(value: float) -> None:
    pipeline = make("x")
    columns = pipeline.features(inputs(2)).columns
    with pytest.raises(Internal, match="row 1: y is") as caught:
        pipeline.predictions({"out": np.array([1.0, value], np.float32)}, columns)
    assert caught.value.code == "prediction_not_finite"


def test_postprocessing_of_another_type_is_refused() -> None:
    @postprocess("string")
    def label(y):
        return y

    pipeline = make("x", postprocess=[label])
    with pytest.raises(Internal, match="label must be of type string"):
        pipeline.predictions({"out": np.zeros((2, 1), np.float32)}, pipeline.features(inputs(2)).columns)


def same(actual: Any, expected: Any) -> bool:
    return actual.keys() == expected.keys() and all(
        first_difference(actual[name], expected[name]) is None for name in actual
    )


def run(pipeline: Pipeline, batch: Inputs) -> dict[str, Any]:
    """Everything that the pipeline makes of a batch, with made-up outputs that depend on the row alone."""
    features = pipeline.features(batch)
    tensors = pipeline.tensors(features.columns)
    outputs = {"out": tensors["X"][:, :1] * 3 + 1}
    return {**tensors, **pipeline.predictions(outputs, features.columns)}


def with_output(pipeline: Pipeline, state: dict[str, Any] | None = None) -> Pipeline:
    signature = Signature(pipeline.signature.inputs, (TensorSpec("out", "float32", (), (-1, 1)),))
    return Pipeline(pipeline.model, signature, {**pipeline.state, **(state or {})})


def test_each_row_of_ten_thousand_is_the_same_in_any_company(athlete: Model) -> None:
    rng = np.random.default_rng(5)
    batch = random_inputs(athlete, 10_000, rng)
    state = {"finish_time_range": {"below": 0.9, "above": 1.1}}
    pipeline = with_output(fit(athlete, batch), state)
    whole = run(pipeline, batch)
    order = rng.permutation(10_000)
    shuffled = run(pipeline, batch.take(order))
    assert same(shuffled, {name: column[order] for name, column in whole.items()})
    edges = [0, *sorted(rng.integers(0, 10_000, 40).tolist()), 10_000]
    parts = [run(pipeline, batch.take(slice(*pair))) for pair in itertools.pairwise(edges) if pair[0] < pair[1]]
    assert same({name: np.concatenate([part[name] for part in parts]) for name in whole}, whole)
    for row in range(0, 10_000, 97):
        alone = run(pipeline, batch.take([row]))
        assert same(alone, {name: column[row : row + 1] for name, column in whole.items()})


@model_dependent(fit=lambda x: {"mean": float(np.nanmean(x)), "std": float(np.nanstd(x)) or 1.0})
def standardize(x, *, mean, std):
    return (x - mean) / std


@model_dependent
def squash(x, y):
    return np.log1p(np.abs(x)) * np.tanh(y)


@on_demand
def mixed(a, b):
    return a * np.sin(b) + b / 3


@st.composite
def models(draw: st.DrawFn) -> Model:
    """A random model: fields, views with and without age limits, transforms of both kinds."""
    names = ["a", "b"]
    views = []
    for number in range(draw(st.integers(0, 3))):
        features = [
            Feature(f"f{number}_{index}", default=draw(st.floats(-5, 5))) for index in range(draw(st.integers(1, 3)))
        ]
        views.append(
            FeatureView(f"v{number}", keys=["id"], features=features, max_age=draw(st.sampled_from([None, "1h"])))
        )
        names += [feature.name for feature in features]
    chosen = draw(st.lists(st.sampled_from(names), min_size=1, max_size=len(names), unique=True))
    inputs: list[Any] = [standardize(name) if draw(st.booleans()) else name for name in chosen]
    if draw(st.booleans()):
        inputs.append(mixed)
    if draw(st.booleans()):
        inputs.append(squash(draw(st.sampled_from(names)), mixed))
    return Model(
        "m",
        serving_keys={"id": "string"},
        passed_features={"a": Field("float64", ge=-1e6, le=1e6), "b": Field("float64", default=0.5)},
        views=views,
        inputs=inputs,
        prediction=Prediction("y"),
    )


@given(models(), st.integers(2, 60), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_rows_of_any_model_are_independent(model: Model, rows: int, random: Any) -> None:
    rng = np.random.default_rng(random.getrandbits(32))
    batch = random_inputs(model, rows, rng)
    pipeline = with_output(fit(model, batch))
    whole = run(pipeline, batch)
    order = rng.permutation(rows)
    assert same(run(pipeline, batch.take(order)), {name: column[order] for name, column in whole.items()})
    cut = int(rng.integers(1, rows))
    parts = [run(pipeline, batch.take(slice(0, cut))), run(pipeline, batch.take(slice(cut, rows)))]
    assert same({name: np.concatenate([part[name] for part in parts]) for name in whole}, whole)


def signed(dtype: str, *columns: str, source: Any = "x") -> Pipeline:
    pipeline = make(source)
    return Pipeline(
        pipeline.model, Signature((TensorSpec("X", dtype, columns or ("x",), (-1, len(columns) or 1)),), ()), {}
    )


FLOAT32 = "must be from -3.4028235e+38 to 3.4028235e+38, as the model computes in float32"
INT32 = "must be a whole number from -2147483648 to 2147483647, as the model takes int32"


@pytest.mark.parametrize(
    ("dtype", "values", "wrong", "rule"),
    [
        ("float32", [1.0, 1e308, np.nan, np.inf, -3.5e38], [1, 4], FLOAT32),
        ("float16", [65504.0, 70000.0], [1], "must be from -65504 to 65504, as the model computes in float16"),
        ("int32", [1.0, 1.5, np.nan, 2.0**31, -(2.0**31)], [1, 2, 3], INT32),
        ("uint8", [-1.0, 255.0, 256.0], [0, 2], "must be a whole number from 0 to 255, as the model takes uint8"),
        ("bool", [0.0, 1.0, 2.0], [2], "must be a whole number from 0 to 1, as the model takes bool"),
    ],
)
def test_values_that_a_tensor_cannot_hold(dtype: str, values: list[float], wrong: list[int], rule: str) -> None:
    batch = inputs(len(values))
    batch.request["x"] = np.array(values)
    with pytest.raises(ContractViolation) as refused:
        signed(dtype).vectors(batch)
    assert [(violation.row, violation.field, violation.rule) for violation in refused.value.violations] == [
        (row, "x", rule) for row in wrong
    ]
    rest = np.setdiff1d(np.arange(len(values)), wrong)
    assert signed(dtype).vectors(batch.take(rest))["X"].dtype == np.dtype(dtype)


def test_an_element_that_a_tensor_cannot_hold_is_named_as_in_the_vector() -> None:
    @model_dependent
    def powers(x: Any) -> Any:
        return np.stack([x, x**40], axis=1)

    batch = inputs(3)
    batch.request["x"] = np.array([1.0, 1e5, 2.0])
    with pytest.raises(ContractViolation, match=r"row 1, field 'powers_x\[1\]': must be from"):
        signed("float32", "powers_x[0]", "powers_x[1]", source=powers("x")).vectors(batch)
