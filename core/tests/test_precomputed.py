"""Predictions computed ahead answer for one bundle, one request and a limited time, and for nothing else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from tandem import Bundle, DefinitionError, EmbeddedModel, Feature, FeatureView, Model, Prediction
from tandem.dtypes import Columns, pad_ragged
from tandem.errors import ContractViolation
from tandem.feature_changes import apply_changes
from tandem.packed_rows import RowLayout
from tandem.precompute import Summary, precompute
from tandem.precomputed import PrecomputedPredictions
from tandem.stores.memory import MemoryStore

from .conftest import train, write_package
from .test_simpler_model import stored

Trained = Any

NOON = np.datetime64("2026-05-01T12:00", "us")
SECOND = np.timedelta64(1, "s")


def ahead(source: str, max_age: str = "1h") -> str:
    return source.replace('as_of="asked_at",', f'as_of="asked_at", precomputed="{max_age}",')


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, source: str) -> Trained:
    return train(write_package(tmp_path_factory.mktemp("ahead") / "rides", source=ahead(source)))


@pytest.fixture(scope="module")
def bundles(model: Trained, tmp_path_factory: pytest.TempPathFactory, source: str) -> dict[str, Bundle]:
    """Bundles that differ in one thing each: version, model, contract, graph."""
    directory = tmp_path_factory.mktemp("bundles")

    def write(name: str, old: str, new: str) -> Bundle:
        assert old in source
        package = write_package(directory / name, source=ahead(source).replace(old, new))
        return train(package).write(directory)

    return {
        "own": model.write(directory),
        "version": model.write(directory, version="v2"),
        "model": write("model", '"rides",\n', '"rides-too",\n'),
        "contract": write("contract", 'unit="EUR"', 'unit="USD"'),
        "range": write("range", "le=500", "le=600"),
        "data": write("data", "city_age) / 3600.0", "city_age) / 1800.0"),
    }


def request(rows: int, **changes: Any) -> Columns:
    columns = {
        "city_id": np.full(rows, "city-1", object),
        "driver_id": np.full(rows, 7),
        "distance_km": np.linspace(1, 20, rows),
        "shared": np.zeros(rows, bool),
        "asked_at": np.full(rows, NOON),
        "tariff": np.full(rows, "day", object),
        "seats": np.full(rows, 1),
        "rain_mm": np.zeros(rows),
    }
    return columns | changes


def answers(rows: int) -> Columns:
    fares = np.linspace(3, 9, rows)
    return {"fare": fares, "minutes": np.array([f"{fare:.1f}" for fare in fares], object)}


def test_what_is_written_answers_equal_requests(bundles: dict[str, Bundle]) -> None:
    own = PrecomputedPredictions(bundles["own"])
    rows = dict(zip(own.keys(request(4)), own.pack(answers(4), np.full(4, NOON)), strict=True))
    # another time of the question, another zero, and one row that nothing is written for
    later = request(4, asked_at=np.full(4, NOON + 60 * SECOND), rain_mm=np.full(4, -0.0))
    later["distance_km"][2] = 99.0
    stored = own.unpack([rows.get(key) for key in own.keys(later)])
    hits = own.select(stored, later["asked_at"])
    assert hits is not None
    assert hits.rows.tolist() == [0, 1, 3]
    assert hits.age_s.tolist() == [60.0] * 3
    for name, column in answers(4).items():
        assert hits.columns[name].tolist() == column[hits.rows].tolist()
        assert hits.columns[name].dtype == column.dtype


def test_no_rows_have_no_keys(bundles: dict[str, Bundle]) -> None:
    assert PrecomputedPredictions(bundles["own"]).keys(request(0)) == []


@pytest.mark.parametrize(
    ("seconds", "answers_it", "stale"), [(-1, False, 0), (0, True, 0), (3600, True, 0), (3601, False, 2)]
)
def test_it_answers_for_a_limited_time(bundles: dict[str, Bundle], seconds: int, answers_it: bool, stale: int) -> None:
    own = PrecomputedPredictions(bundles["own"])
    rows = own.unpack([*own.pack(answers(2), np.full(2, NOON)), None])
    as_of = np.full(3, NOON + seconds * SECOND)
    assert (own.select(rows, as_of) is not None) == answers_it
    assert own.count_stale(rows, as_of) == stale


def test_rows_that_cannot_be_read_are_none(bundles: dict[str, Bundle]) -> None:
    own = PrecomputedPredictions(bundles["own"])
    good = own.pack(answers(1), np.full(1, NOON))[0]
    hits = own.select(own.unpack([good, None, b"", good[:-1], good + b"x", b"x" * len(good)]), np.full(6, NOON))
    assert hits is not None
    assert hits.rows.tolist() == [0]


VALUES: dict[str, Any] = {
    "city_id": st.text(max_size=4),
    "driver_id": st.integers(-3, 3),
    "distance_km": st.floats(1, 4),
    "shared": st.booleans(),
    "tariff": st.sampled_from(["day", "night"]),
    "seats": st.integers(1, 2),
    "rain_mm": st.floats(0, 2),
}


def columns_of(row: dict[str, Any]) -> Columns:
    dtypes = {str: object, int: np.int64, float: np.float64, bool: np.bool_}
    columns: Columns = {name: np.array([value], dtypes[type(value)]) for name, value in row.items()}
    return columns | {"asked_at": np.full(1, NOON)}


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries(VALUES), st.fixed_dictionaries(VALUES), st.data())
def test_it_never_answers_for_another_request(
    bundles: dict[str, Bundle], written: dict[str, Any], question: dict[str, Any], data: st.DataObject
) -> None:
    own = PrecomputedPredictions(bundles["own"])
    # mostly equal rows, which differ in what is drawn
    question = {name: question[name] if data.draw(st.booleans()) else value for name, value in written.items()}
    same_key = own.keys(columns_of(written)) == own.keys(columns_of(question))
    assert same_key == (written == question)


@settings(max_examples=100, deadline=None)
@given(st.fixed_dictionaries(VALUES), st.sampled_from(["version", "model", "contract", "range", "data"]))
def test_it_never_answers_for_another_model_version_or_contract(
    bundles: dict[str, Bundle], row: dict[str, Any], variation: str
) -> None:
    own, other_predictions = PrecomputedPredictions(bundles["own"]), PrecomputedPredictions(bundles[variation])
    assert set(own.keys(columns_of(row))).isdisjoint(other_predictions.keys(columns_of(row)))
    packed = own.pack(answers(1), np.full(1, NOON))
    assert own.select(own.unpack(packed), np.full(1, NOON)) is not None
    # not even where somebody has copied the row to the other's key
    assert other_predictions.select(other_predictions.unpack(packed), np.full(1, NOON)) is None


def test_a_model_must_declare_it(bundle: Bundle, make_package: Any, source: str) -> None:
    with pytest.raises(DefinitionError, match="model 'rides' takes no predictions computed ahead"):
        PrecomputedPredictions(bundle)
    with pytest.raises(DefinitionError, match="'soon' is not a duration"):
        train(make_package(source=ahead(source, "soon")))


def requests(rows: int) -> pa.Table:
    return pa.table({name: list(column) for name, column in request(rows).items()} | {"note": ["x"] * rows})


async def test_a_table_of_requests_is_written(bundles: dict[str, Bundle], tmp_path: Path) -> None:
    bundle = bundles["own"]
    table = requests(6).set_column(0, "city_id", pa.array(["city-1", "city-1", "?", "city-1", "?", "city-1"]))
    parquet.write_table(table, tmp_path / "requests.parquet")
    store = stored(bundle, day="2026-05-01T11:00")
    model, progress = EmbeddedModel.open(bundle.path, get=store.get_now), []
    summary = await precompute(model, tmp_path / "requests.parquet", store, progress=progress.append)
    assert summary == Summary(rows_read=6, rows_written=4, rows_degraded=2)
    assert progress == [summary]
    own = PrecomputedPredictions(bundle)
    columns = request(6)
    hits = own.select(own.unpack(store.get_now(own.keys(columns))), columns["asked_at"])
    assert hits is not None
    assert hits.rows.tolist() == [0, 1, 3, 5]
    rows = [{**row, "asked_at": "2026-05-01T12:00:00Z"} for row in table.drop(["note"]).to_pylist()]
    expected = [answer for answer in model.predict(rows) if "degraded" not in answer]
    assert [answer["minutes"] for answer in expected] == hits.columns["minutes"].tolist()
    np.testing.assert_allclose([answer["fare"] for answer in expected], hits.columns["fare"], rtol=1e-6)
    # a run about an earlier time changes nothing
    earlier = requests(6).set_column(4, "asked_at", pa.array([NOON - 600 * SECOND] * 6))
    again = await precompute(model, earlier, store)
    assert (again.rows_newer, again.rows_written) == (4, 2)


@pytest.mark.parametrize(("ahead_s", "expires_s"), [(-7200, 3600), (0, 3600), (600, 4200)])
async def test_the_store_removes_what_is_too_old(
    bundles: dict[str, Bundle], monkeypatch: pytest.MonkeyPatch, ahead_s: int, expires_s: int
) -> None:
    monkeypatch.setattr("tandem.precompute.utc_now", lambda: NOON)
    bundle, clock = bundles["own"], [0.0]
    store = MemoryStore(lambda: clock[0])
    features = stored(bundle, day="2026-05-01T09:30")._rows
    await store.put(features.items())
    asked_at = pa.array([NOON + ahead_s * SECOND] * 3)
    model = EmbeddedModel.open(bundle.path, get=store.get_now)
    assert (await precompute(model, requests(3).set_column(4, "asked_at", asked_at), store)).rows_written == 3
    keys = PrecomputedPredictions(bundle).keys(request(3))
    clock[0] = expires_s - 1.0
    assert None not in store.get_now(keys)
    clock[0] = float(expires_s)
    assert store.get_now(keys) == [None] * 3
    assert store.get_now(list(features)) == list(features.values())


async def test_a_table_that_breaks_the_contract_is_refused(bundles: dict[str, Bundle]) -> None:
    model, store = EmbeddedModel.open(bundles["own"].path), MemoryStore()
    with pytest.raises(DefinitionError, match="the table has no column 'driver_id'"):
        await precompute(model, requests(2).drop(["driver_id"]), store)
    with pytest.raises(ContractViolation, match="'distance_km'"):
        await precompute(model, requests(2).set_column(2, "distance_km", pa.array([1.0, -1.0])), store)
    assert store._rows == {}


TYPED = Model(
    "typed",
    serving_keys={"item": "string"},
    passed_features={"image": "bytes", "words": "int64[<=3]", "query": "float32[2]", "weight": "float32"},
    inputs=["words", "query", "weight"],
    predictions=[Prediction("vector", "float32[3]"), Prediction("odds", classes=("yes", "no")), Prediction("score")],
    precomputed="1h",
)


def typed() -> PrecomputedPredictions:
    signature = SimpleNamespace(hash="0" * 64)
    bundle: Any = SimpleNamespace(
        name="typed", wire_name="typed-00000000", digest="1" * 64, signature=signature, model=TYPED,
        contract=TYPED.contract,
    )  # fmt: skip
    return PrecomputedPredictions(bundle)


def typed_request(**changes: Any) -> Columns:
    columns: Columns = {
        "item": np.array(["a", "a"], object),
        "image": np.array([b"\x00", b"\x00\x00"], object),
        "words": pad_ragged([[1, 2], [1, 2, 0]], "int64[<=3]"),
        "query": np.array([[0.5, -0.0], [0.5, 0.0]], np.float32),
        "weight": np.array([1, 1], np.float32),
    }
    return columns | changes


def test_arrays_and_bytes_are_part_of_the_request() -> None:
    keys = typed().keys(typed_request())
    assert len(set(keys)) == 2
    same_image = np.array([b"\x00", b"\x00"], object)
    # a zero at the end of an array is a number, and no padding
    assert len(set(typed().keys(typed_request(image=same_image)))) == 2
    same_words = pad_ragged([[1, 2], [1, 2]], "int64[<=3]")
    assert len(set(typed().keys(typed_request(image=same_image, words=same_words)))) == 1
    other_query = np.array([[0.5, 0.0], [0.0, 0.5]], np.float32)
    assert len(set(typed().keys(typed_request(image=same_image, words=same_words, query=other_query)))) == 2


def test_answers_that_are_arrays_come_back_as_they_were() -> None:
    answers: Columns = {
        "vector": np.arange(6, dtype=np.float32).reshape(2, 3),
        "odds": np.array([[0.25, 0.75], [np.nan, 0.5]]),
        "score": np.array([1.5, 2.5]),
    }
    stored = typed().unpack(typed().pack(answers, np.full(2, NOON)))
    hits = typed().select(stored, np.full(2, NOON))
    assert hits is not None
    # no answer has a NaN
    assert hits.rows.tolist() == [0]
    for name, column in answers.items():
        assert hits.columns[name].dtype == column.dtype
        np.testing.assert_array_equal(hits.columns[name], column[:1])


def test_changed_arrays_are_laid_over_stored_ones() -> None:
    features = (Feature("words", "int64[<=3]", default=[]), Feature("vector", "float32[2]", default=[0.0, 0.0]))
    view = FeatureView("item", keys=("item",), features=features)
    stored = RowLayout(view).unpack([None, None])
    changes = [{"words": [7, 8], "vector": [1, 2]}, {"words": [1, 2, 3, 4]}]
    changed = apply_changes(view.on(), stored, changes, np.full(2, NOON))
    assert [(violation.row, violation.field) for violation in changed.violations] == [(1, "item.words")]
    changed = apply_changes(view.on(), stored, [*changes[:1], None], np.full(2, NOON))
    assert changed.violations == []
    assert changed.columns.columns["words"][0].tolist() == [7, 8, 0, 2]
    assert changed.columns.columns["vector"][0].tolist() == [1.0, 2.0]
