"""One row alone gets the vector that it gets in a batch, bit for bit, or is left to the pipeline."""

from __future__ import annotations

import math
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem import (
    Bundle,
    BundleError,
    EmbeddedModel,
    Feature,
    FeatureView,
    Field,
    Model,
    Pipeline,
    Prediction,
    RequestError,
    StoreError,
    model_dependent,
    on_demand,
    postprocess,
)
from tandem.golden import Golden, replay_single_rows
from tandem.inputs import Inputs
from tandem.lookup import LookupPlan
from tandem.packed_rows import RowLayout
from tandem.rows import RowReader
from tandem.sampling import random_inputs
from tandem.signature import Signature, TensorSpec
from tandem.single_row import SingleRow
from tandem.training import draft_signature

NOW = 1_777_000_000_000_000
DAY = 86_400_000_000

WEAR = FeatureView(
    "wear",
    keys=("id",),
    max_age="2d",
    features=(
        Feature("a", default=1.0),
        Feature("b", "float32", default=2.0),
        Feature("many", "int64", default=3),
        Feature("other", "int64", default=3),
        Feature("sure", "bool", default=False),
        Feature("since", "timestamp", default="2026-01-01T00:00:00Z"),
        Feature("note", "string", default="none"),
        Feature("kind", "string", default=""),
        Feature("c", default=0.0),
    ),
)
PLACE = FeatureView("place", keys=("id", "number"), features=(Feature("embedding", "float32[3]"), Feature("height")))


@on_demand
def ratio(a, x):
    return a / x


@on_demand
def whole(many):
    return many * 3


@on_demand
def days(since, as_of):
    return (as_of - since) / np.timedelta64(1, "D")


@on_demand
def overwritten(c):
    # a model trained with this has the changed column as an input
    c += 1.0
    return np.log(c)


@model_dependent(fit=lambda note: {"words": sorted(set(note.tolist()))})
def one_hot(note, *, words):
    return (note[:, None] == words.astype(object)[None, :]).astype(np.float64)


@model_dependent(fit=lambda x: {"mean": x.mean()})
def scaled(x, *, mean):
    return (x - mean) / 3.0


STATE = {"one_hot_note": {"words": ["none", "a"]}, **{f"scaled_{name}": {"mean": 0.25} for name in ("a", "c", "x")}}


@postprocess("float64")
def higher(y, height):
    return y + height


KEYS = {"id": "string", "number": "int64"}
PASSED = {"x": Field("float64"), "f": Field("float32"), "n": Field("int64"), "flag": Field("bool")}


def model(*inputs: Any, **changes: Any) -> Model:
    arguments = {
        "serving_keys": KEYS,
        "passed_features": PASSED,
        "request_parameters": {"opt": Field("float64", default=0.5), "ts": Field("timestamp", optional=True)},
        "as_of": "ts",
        "views": [WEAR],
        "inputs": list(inputs),
        "prediction": Prediction("y"),
    }
    return Model("alone", **(arguments | changes))


MODELS: dict[str, Model] = {
    "numbers": model(
        "a",
        "b",
        "many",
        "other",
        "sure",
        "c",
        "x",
        "f",
        "n",
        "flag",
        "opt",
        ratio,
        whole,
        days,
        scaled("a"),
        "wear_age",
    ),
    "written to": model("c", overwritten, scaled("c")),
    "arrays": model("a", "embedding", one_hot("note"), "height", views=[WEAR, PLACE], postprocess=[higher]),
    "without as-of": model("a", "x", "wear_age", scaled("x"), as_of=None, request_parameters={}),
    "without views": model("x", scaled("x"), "n", views=[]),
}


@dataclass
class Case:
    """A model with both ways to its vectors."""

    model: Model
    dtype: str = "float32"

    def __post_init__(self) -> None:
        inputs = random_inputs(self.model, 4, np.random.default_rng(0))
        draft = Pipeline(self.model, Signature((), ()), STATE)
        columns = draft.features(inputs).columns
        draft.tensors(columns)
        signature = draft_signature(self.model, columns)
        tensors = tuple(replace_dtype(tensor, self.dtype) for tensor in signature.inputs)
        self.pipeline = Pipeline(self.model, Signature(tensors, signature.outputs), STATE)
        self.reader = RowReader(self.model.contract)
        self.plan = LookupPlan(self.model.views)
        self.single = SingleRow(self.pipeline, self.reader)

    def in_a_batch(self, row: dict[str, Any], stored: list[bytes | None]) -> dict[str, bytes] | None:
        """Bytes of its tensors; None where something stands for what is missing, or it is refused."""
        request = self.reader.columns([msgspec.convert(row, self.reader.row_type)])
        as_of = self.reader.as_of(request, np.datetime64(NOW, "us"))
        try:
            features = self.pipeline.features(Inputs(request, self.plan.unpack(stored, 1), as_of))
            if features.refused or features.degraded:
                return None
            return {name: tensor.tobytes() for name, tensor in self.pipeline.tensors(features.columns).items()}
        except RequestError:
            return None

    def alone(self, row: dict[str, Any], stored: list[bytes | None]) -> dict[str, bytes] | None:
        values = self.reader.values(msgspec.convert(row, self.reader.row_type))
        result = self.single.tensors(values, stored, NOW)
        return result and {name: tensor.tobytes() for name, tensor in result[0].items()}


def replace_dtype(tensor: TensorSpec, dtype: str) -> TensorSpec:
    return TensorSpec(tensor.name, dtype, tensor.columns, tensor.shape)


CASES = {(name, dtype): Case(case, dtype) for name, case in MODELS.items() for dtype in ("float32", "float64")}

FLOATS = st.one_of(
    st.floats(width=64), st.floats(-1e3, 1e3), st.sampled_from([0.0, -0.0, 1e39, 1e308, 0.1, math.nan, math.inf])
)
FINITE = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.floats(-1e3, 1e3))
INTEGERS = st.one_of(st.integers(-5, 5), st.integers(-(2**63), 2**63 - 1), st.sampled_from([2**53 + 1, -(2**60) - 1]))
TIMES = st.one_of(
    st.integers(NOW - 3 * DAY, NOW + DAY), st.sampled_from([NOW - 2 * DAY, NOW - 2 * DAY - 1, -(2**63), 2**63 - 1, 0])
)
ROWS = st.fixed_dictionaries(
    {
        "id": st.text(max_size=2),
        "number": INTEGERS,
        "x": FINITE,
        "f": st.floats(-1e6, 1e6),
        "n": INTEGERS,
        "flag": st.booleans(),
    },
    optional={"opt": FINITE, "ts": st.sampled_from(["2026-04-24T03:06:40Z", "2026-04-20T00:00:00+02:00", None])},
)


DAMAGES: list[Callable[[bytes], bytes | None]] = [
    lambda row: row,
    lambda row: None,
    lambda row: b"",
    lambda row: row[:-1],
    lambda row: row + b"x",
    lambda row: bytes(len(row)),
    # no time
    lambda row: row[:4] + struct.pack("<q", -(2**63)) + row[12:],
]


@st.composite
def stored_rows(draw: st.DrawFn, view: FeatureView) -> bytes | None:
    """A row of a view as a store may have it, whole or not."""
    kinds = {"float64": FLOATS, "float32": st.floats(width=32), "int64": INTEGERS, "bool": st.booleans()}
    columns: dict[str, Any] = {}
    for feature in view.features:
        if feature.type == "timestamp":
            columns[feature.name] = np.array([draw(TIMES)], "datetime64[us]")
        elif feature.type == "string":
            columns[feature.name] = np.array([draw(st.sampled_from(["none", "a", "", "äö"]))], object)
        elif feature.type == "float32[3]":
            columns[feature.name] = np.array([draw(st.lists(kinds["float32"], min_size=3, max_size=3))], np.float32)
        else:
            columns[feature.name] = np.array([draw(kinds[feature.type])], feature.type)
    nulls = {feature.name: np.array([draw(st.integers(0, 30)) == 0]) for feature in view.features}
    (row,) = RowLayout(view).pack(columns, np.array([draw(TIMES)], "datetime64[us]"), nulls)
    return draw(st.sampled_from(DAMAGES) if draw(st.integers(0, 3)) == 0 else st.just(DAMAGES[0]))(row)


@pytest.mark.parametrize("name", CASES, ids=lambda name: " ".join(name))
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_row_alone_has_the_vector_that_it_has_in_a_batch(name: tuple[str, str], data: st.DataObject) -> None:
    case = CASES[name]
    fields = case.model.contract.inputs
    row = {field: value for field, value in data.draw(ROWS).items() if field in fields}
    stored = [data.draw(stored_rows(use.view)) for use in case.model.views]
    alone = case.alone(row, stored)
    assert alone is None or alone == case.in_a_batch(row, stored)


def usual(case: Case) -> tuple[dict[str, Any], list[bytes | None]]:
    """A row of which nothing is missing."""
    row = {"id": "e", "number": 3, "x": 0.1, "f": 0.7, "n": 8, "flag": True, "ts": "2026-04-24T03:06:40Z"}
    columns = {
        "a": np.array([0.3]),
        "b": np.array([0.1], np.float32),
        "many": np.array([7]),
        "other": np.array([-1]),
        "sure": np.array([True]),
        "since": np.array(["2026-04-01"], "datetime64[us]"),
        "note": np.array(["a"], object),
        "kind": np.array(["ö"], object),
        "c": np.array([2.5]),
        "embedding": np.array([[0.1, 0.2, 0.3]], np.float32),
        "height": np.array([9.0]),
    }
    times = np.array([NOW - DAY], "datetime64[us]")
    stored: list[bytes | None] = [RowLayout(use.view).pack(columns, times)[0] for use in case.model.views]
    return {name: value for name, value in row.items() if name in case.model.contract.inputs}, stored


@pytest.mark.parametrize("name", CASES, ids=lambda name: " ".join(name))
def test_a_usual_row_is_taken_alone(name: tuple[str, str]) -> None:
    case = CASES[name]
    row, stored = usual(case)
    assert case.alone(row, stored) == case.in_a_batch(row, stored) != None  # noqa: E711 (both are not None)


@pytest.mark.parametrize("name", CASES, ids=lambda name: " ".join(name))
def test_keys_are_those_of_a_batch(name: tuple[str, str]) -> None:
    case = CASES[name]
    for id_ in ("e", "", "ö", "a:b"):
        row = {**usual(case)[0], "id": id_}
        struct_ = msgspec.convert(row, case.reader.row_type)
        assert case.single.keys(case.reader.values(struct_)) == case.plan.keys(case.reader.columns([struct_]))


def test_what_a_transform_divides_by_is_its_own_business() -> None:
    case = CASES["numbers", "float32"]
    row, stored = usual(case)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert case.alone({**row, "x": 0.0}, stored) is None


@pytest.mark.parametrize("x", [3.5e38, 2.0**128 * (1 - 2**-25)])
def test_what_overflows_the_models_type_is_left_to_the_pipeline(x: float) -> None:
    for dtype, is_taken in (("float32", False), ("float64", True)):
        case = CASES["without views", dtype]
        assert (case.alone({**usual(case)[0], "x": x}, []) is not None) is is_taken


@pytest.mark.parametrize("result", [np.array(1.0), np.ones(2), np.float64(1.0), [1.0]], ids=repr)
def test_results_of_another_shape_are_left_to_the_pipeline(result: Any) -> None:
    @on_demand
    def other(x):
        return result

    signature = Signature((TensorSpec("X", "float32", ("other",), (-1, 1)),), ())
    case = model(other, views=[])
    reader = RowReader(case.contract)
    values = reader.values(
        msgspec.convert({"id": "e", "number": 3, "x": 0.1, "f": 0.7, "n": 8, "flag": True}, reader.row_type)
    )
    assert SingleRow(Pipeline(case, signature, {}), reader).tensors(values, [], NOW) is None


def test_arrays_of_different_length_are_left_to_the_pipeline() -> None:
    ragged = FeatureView("list", keys=("id",), features=(Feature("items", "int64[<=3]"),))

    @on_demand
    def count(items_mask):
        return items_mask.sum(axis=1)

    case = model(count, views=[ragged])
    assert not SingleRow.takes(Pipeline(case, Signature((), ()), {}))
    assert SingleRow.takes(CASES["arrays", "float32"].pipeline)


ROW = {"city_id": "city-1", "driver_id": 7, "distance_km": 12.0, "shared": True, "asked_at": "2026-05-01T08:00:00Z"}


def test_golden_rows_are_replayed_one_by_one(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = bundle.golden_inputs()
    single = SingleRow(bundle.pipeline(), RowReader(bundle.contract))
    taken = []
    compute = single._compute

    def counted(*arguments: Any) -> Any:
        taken.append(compute(*arguments))
        return taken[-1]

    monkeypatch.setattr(single, "_compute", counted)
    replay_single_rows(single, golden, bundle.model)
    assert len(taken) == 8 and None not in taken
    vectors = {name: tensor.copy() for name, tensor in golden.vectors.items()}
    next(iter(vectors.values()))[3, 2] += 1
    with pytest.raises(BundleError, match="differs from training in row 3, taken alone"):
        replay_single_rows(single, Golden(golden.inputs, vectors, golden.outputs, golden.answers), bundle.model)


def test_the_store_is_asked_once_for_a_row(bundle: Bundle) -> None:
    """Also where the row is not a usual one, or the store does not answer."""
    calls = []

    def missing(keys: Any) -> list[bytes | None]:
        calls.append(len(keys))
        return [None] * len(keys)

    def down(keys: Any) -> list[bytes | None]:
        calls.append(len(keys))
        raise StoreError("down")

    for get in (missing, down):
        (answer,) = EmbeddedModel(bundle, get=get).predict([ROW])
        assert set(answer["degraded"]) == {"city", "driver"}
    assert calls == [2, 2]
