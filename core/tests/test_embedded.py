from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from tandem import Bundle, EmbeddedModel
from tandem.errors import ContractViolation, Internal
from tandem.packed_rows import RowLayout
from tandem.stores.memory import MemoryStore
from tandem.stores.redis import RedisStore

ROW = {"city_id": "city-1", "driver_id": 7, "distance_km": 12.0, "shared": True, "asked_at": "2026-05-01T08:00:00Z"}
MISSING = {"reason": "missing", "source": "default"}
NOON = np.datetime64("2026-05-01T07:00", "us")


async def fill(store: Any, bundle: Bundle, event_time: np.datetime64 = NOON) -> None:
    city, driver = (RowLayout(use.view) for use in bundle.model.views)
    cities = [np.array(["city-1"], object)]
    values = {"speed": np.array([24.0]), "zone": np.array(["a"], object), "lanes": np.array([3])}
    await store.put(zip(city.keys(cities), city.pack(values, np.array([event_time])), strict=True))
    keys = driver.keys([np.array([7]), *cities])
    await store.put(zip(keys, driver.pack({"rating": np.array([5.0])}, np.array([event_time])), strict=True))


@pytest.fixture
async def store(bundle: Bundle) -> MemoryStore:
    store = MemoryStore()
    await fill(store, bundle)
    return store


def test_answers_have_prediction_and_postprocessing(bundle: Bundle, store: MemoryStore) -> None:
    model = EmbeddedModel.open(bundle.path, get=store.get_now)
    first, second = model.predict([ROW, {**ROW, "seats": 2, "tariff": "night"}])
    assert list(first) == ["fare", "minutes"]
    assert first["minutes"] == f"{first['fare'] / 0.5:.1f}"
    assert first != second


def test_a_row_has_the_same_answer_in_any_company(bundle: Bundle, store: MemoryStore) -> None:
    model = EmbeddedModel.open(bundle.path, get=store.get_now)
    rows = [{**ROW, "distance_km": float(km), "city_id": f"city-{km % 3}"} for km in range(1, 50)]
    alone = [model.predict([row])[0] for row in rows]
    # ONNX Runtime adds up in another order when there are more rows
    fares = [answer.pop("fare") for answer in alone]
    together = model.predict(rows)
    assert [answer.pop("fare") for answer in together] == pytest.approx(fares, rel=1e-6)
    assert together == alone


def test_unknown_and_outdated_entities_are_told(bundle: Bundle, store: MemoryStore) -> None:
    model = EmbeddedModel.open(bundle.path, get=store.get_now)
    answer, unknown, later = model.predict([ROW, {**ROW, "city_id": "?"}, {**ROW, "asked_at": "2026-05-03T08:00:00Z"}])
    assert "degraded" not in answer
    assert unknown["degraded"] == {"city": MISSING, "driver": MISSING}
    assert later["degraded"] == {"city": {"reason": "stale", "source": "default"}}


def test_without_a_store_every_entity_is_unknown(bundle: Bundle) -> None:
    (answer,) = EmbeddedModel.open(bundle.path).predict([ROW])
    assert answer["degraded"] == {"city": MISSING, "driver": MISSING}


def test_timestamps_may_be_datetimes(bundle: Bundle, store: MemoryStore) -> None:
    model = EmbeddedModel.open(bundle.path, get=store.get_now)
    when = datetime(2026, 5, 1, 8, tzinfo=UTC)
    assert model.predict([{**ROW, "asked_at": when}]) == model.predict([ROW])
    with pytest.raises(ContractViolation) as caught:
        model.predict([{**ROW, "asked_at": when, "distance_km": -1.0}])
    assert [violation.field for violation in caught.value.violations] == ["distance_km"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"distance_km": 0}, "row 0, field 'distance_km': must be > 0"),
        ({"distance_km": float("nan")}, "row 0, field 'distance_km': must be finite"),
        ({"rain_mm": float("inf")}, "row 0, field 'rain_mm': must be finite"),
        ({"tariff": "dawn"}, "row 0, field 'tariff': must be one of day, night"),
        ({"x": 1, "seats": 9}, "row 0, field 'x': unknown field (and 1 more)"),
    ],
)
def test_broken_contract_is_explained(bundle: Bundle, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ContractViolation) as caught:
        EmbeddedModel(bundle).predict([{**ROW, **change}])
    assert str(caught.value) == message


def test_no_rows_are_refused(bundle: Bundle) -> None:
    with pytest.raises(ContractViolation, match="at least one row"):
        EmbeddedModel(bundle).predict([])


def test_rows_of_another_view_version_are_not_read(bundle: Bundle) -> None:
    with pytest.raises(Internal, match="materialize the view again") as refused:
        EmbeddedModel(bundle, get=lambda keys: [b"\0" * 60] * len(keys)).predict([ROW])
    assert refused.value.code == "stored_row_unreadable"
    assert {detail["row"] for detail in refused.value.details} == {0}


async def test_reads_from_valkey(bundle: Bundle, store: MemoryStore, valkey: Any) -> None:
    redis = RedisStore(valkey.connection_url)
    await fill(redis, bundle)
    model = EmbeddedModel.open(bundle.path, get=redis.get_now)
    assert model.predict([ROW]) == EmbeddedModel.open(bundle.path, get=store.get_now).predict([ROW])
    await redis.close()


def test_columns_give_the_golden_answers(bundle: Bundle) -> None:
    golden = bundle.golden_inputs()
    answers = EmbeddedModel(bundle).predict_columns(golden.known_inputs)
    np.testing.assert_allclose(answers["fare"], golden.answers["fare"], rtol=1e-5)


def test_values_beyond_the_models_numbers_are_violations(make_package: Any, train_package: Any, source: str) -> None:
    trained = train_package(make_package(source=source.replace('Field("float64", ge=0, ', 'Field("float64", ')))
    model = EmbeddedModel(trained.write(trained.package.parent / "bundles"))
    with pytest.raises(ContractViolation) as refused:
        model.predict([ROW, {**ROW, "rain_mm": -1e308}])
    rule = "must be from -3.4028235e+38 to 3.4028235e+38, as the model computes in float32"
    assert refused.value.details == [{"row": 1, "field": "rain_mm", "rule": rule}]


PLAIN = {**ROW, "seats": 2, "rain_mm": 1.5, "tariff": "night"}


def test_values_of_numpy_and_pandas(bundle: Bundle, store: MemoryStore) -> None:
    model = EmbeddedModel.open(bundle.path, get=store.get_now)
    expected = model.predict([PLAIN])
    berlin = pd.Timestamp("2026-05-01T10:00:00.000000001", tz="Europe/Berlin")
    for asked_at in (berlin, np.datetime64("2026-05-01T08:00"), np.datetime64("2026-05-01T08:00:00", "ns")):
        row = {
            "city_id": np.str_("city-1"),
            "driver_id": np.int16(7),
            "distance_km": np.float32(12.0),
            "shared": np.True_,
            "asked_at": asked_at,
            "seats": np.uint8(2),
            "rain_mm": np.array(1.5),
            "tariff": np.str_("night"),
        }
        assert model.predict([row]) == expected
        assert model.predict((row,)) == expected


@pytest.mark.parametrize("null", [None, float("nan"), np.nan, np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT")])
def test_nulls_of_python_numpy_and_pandas_are_fields_left_out(bundle: Bundle, store: MemoryStore, null: Any) -> None:
    model = EmbeddedModel.open(bundle.path, get=store.get_now)
    assert model.predict([{**ROW, "seats": null, "rain_mm": null, "tariff": null}]) == model.predict([ROW])
    with pytest.raises(ContractViolation, match="row 1, field 'driver_id': must"):
        model.predict([ROW, {**ROW, "driver_id": null}])


ROWS = [PLAIN, {**PLAIN, "seats": None, "rain_mm": None}, {**PLAIN, "tariff": None, "city_id": "?"}]


@pytest.mark.parametrize("form", ["pandas", "polars", "arrow", "batch", "arrays"])
def test_tables_of_requests(bundle: Bundle, store: MemoryStore, form: str) -> None:
    model = EmbeddedModel.open(bundle.path, get=store.get_now)
    rows = [{**row, "asked_at": datetime(2026, 5, 1, 8, tzinfo=UTC)} for row in ROWS]
    arrow = pa.Table.from_pylist(rows)
    table = {
        "pandas": lambda: pd.DataFrame(rows),
        "polars": lambda: pl.DataFrame(rows),
        "arrow": lambda: arrow,
        "batch": lambda: arrow.to_batches()[0],
        "arrays": lambda: {name: np.array([row[name] for row in rows]) for name in PLAIN},
    }[form]()
    assert model.predict(table) == model.predict(ROWS)


@pytest.mark.parametrize(
    ("change", "violations"),
    [
        ({"distance_km": [-1.0, 2.0]}, [(0, "distance_km", "must be > 0")]),
        ({"distance_km": [1.0, None]}, [(1, "distance_km", "must not be null")]),
        (
            {"distance_km": [1.0, np.inf]},
            [(None, "distance_km", "column 'distance_km' is infinite in row 1; values must be finite")],
        ),
        ({"strange": [1, 2]}, [(None, "strange", "unknown field")]),
        ({"tariff": ["day", "dawn"]}, [(1, "tariff", "must be one of day, night")]),
        ({"shared": None}, [(None, "shared", "is required")]),
    ],
)
def test_tables_that_break_the_contract(bundle: Bundle, change: dict[str, Any], violations: list[Any]) -> None:
    table = {name: [value, value] for name, value in ROW.items()} | change
    frame = pd.DataFrame({name: values for name, values in table.items() if values is not None})
    with pytest.raises(ContractViolation) as caught:
        EmbeddedModel(bundle).predict(frame)
    assert [(violation.row, violation.field, violation.rule) for violation in caught.value.violations] == violations


def test_a_table_without_rows_is_refused(bundle: Bundle) -> None:
    with pytest.raises(ContractViolation, match="at least one row"):
        EmbeddedModel(bundle).predict(pd.DataFrame([ROW]).iloc[:0])
