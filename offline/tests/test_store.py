"""Training sets and batch data: the three queries, and what is wrong with tables and spines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tandem import DefinitionError, Feature, FeatureView, Field, Model, Prediction, fit, inputs_from_table, matrix
from tandem.package import ModelPackage
from tandem.pipeline import Pipeline
from tandem.signature import Signature
from tandem_offline import OfflineStore, Source

DAY = datetime(2026, 5, 1, tzinfo=UTC)
LOAD = FeatureView("load", keys=["athlete_id"], max_age="2d", features=[Feature("ctl", default=40.0), Feature("acwr")])
MODEL = Model(
    "races",
    serving_keys={"athlete_id": "string"},
    passed_features={"pace": Field("float64", ge=0)},
    request_parameters={"ts": "timestamp", "km": Field("float64", default=10.0)},
    as_of="ts",
    views=[LOAD],
    inputs=["ctl", "acwr", "pace", "km"],
    prediction=Prediction("minutes"),
)


def days(*numbers: float, zone: str | None = "UTC") -> pa.Array:
    moments = pa.array([DAY + timedelta(days=number) for number in numbers], pa.timestamp("us", "UTC"))
    return moments.cast(pa.timestamp("us", zone))


def loads(**changes: Any) -> pa.Table:
    columns = {
        "athlete_id": ["a", "a", "b", "a"],
        "event_time": days(0, 1, 1, 3),
        "created": days(0.1, 1.1, 5, 3.1),
        "ctl": [1.0, 2.0, 9.0, 3.0],
        "acwr": [0.1, None, 0.9, 0.3],
        "pace": [300.0, 310.0, 320.0, 330.0],
    }
    return pa.table({name: column for name, column in (columns | changes).items() if column is not None})


def spine(**changes: Any) -> pa.Table:
    columns = {"athlete_id": ["a", "b", "a"], "ts": days(1.5, 1.5, 9), "pace": [1.0, 2.0, 3.0], "time": [5, 6, 7]}
    return pa.table({name: column for name, column in (columns | changes).items() if column is not None})


def test_a_training_set_has_what_was_known_then() -> None:
    joined = OfflineStore({"load": loads()}).training_set(MODEL, spine(), label="time")
    assert joined.to_arrow().column_names == [*spine().column_names, "load_event_time", "ctl", "acwr"]
    assert joined.to_arrow()["ctl"].to_pylist() == [2.0, None, None]
    # of b nothing was known then, and of a only values that were too old
    assert joined.to_arrow()["load_event_time"].to_pylist() == [DAY + timedelta(days=1), None, DAY + timedelta(days=3)]
    assert joined.labels().tolist() == [5, 6, 7]
    assert joined.schema == joined.to_arrow().schema


def test_without_the_time_of_arrival_rows_count_from_their_event_time() -> None:
    store = OfflineStore({"load": loads()})
    assert store.training_set(MODEL, spine(), bitemporal=False).to_arrow()["ctl"].to_pylist() == [2.0, 9.0, None]
    store = OfflineStore({"load": loads(created=None)})
    assert store.training_set(MODEL, spine()).to_arrow()["ctl"].to_pylist() == [2.0, 9.0, None]


def test_a_training_set_is_a_table_to_train_on() -> None:
    store = OfflineStore({"load": loads(acwr=[0.1, 0.2, 0.9, 0.3])})
    joined = store.training_set(MODEL, spine(athlete_id=["a", "a", "a"], ts=days(1.5, 3.5, 0.5)), label="time")
    pipeline = fit(MODEL, joined)
    assert matrix(pipeline, joined).tolist() == [
        [2.0, np.float32(0.2), 1.0, 10.0],
        [3.0, np.float32(0.3), 2.0, 10.0],
        [1.0, np.float32(0.1), 3.0, 10.0],
    ]


def test_values_that_are_too_old_count_as_when_the_model_is_served() -> None:
    joined = OfflineStore({"load": loads(acwr=[0.1, 0.2, 0.9, 0.3])}).training_set(MODEL, spine())
    features = Pipeline(MODEL, Signature((), ()), {}).features(joined.inputs())
    # acwr has no default: rows without it cannot be answered
    assert {row: error.code for row, error in features.refused.items()} == {1: "entity_not_found", 2: "entity_stale"}


def test_stale_values_of_a_type_that_has_no_null() -> None:
    view = FeatureView("n", keys=["id"], max_age="1d", features=[Feature("count", "int64"), Feature("on", "bool")])
    model = Model("m", serving_keys={"id": "string"}, views=[view], inputs=["count", "on"], prediction=Prediction("y"))
    table = pa.table({"id": ["a"], "event_time": days(0), "count": [3], "on": [True]})
    joined = OfflineStore({"n": table}).training_set(model, pa.table({"id": ["a", "a"], "as_of": days(0.5, 2)}))
    features = Pipeline(model, Signature((), ()), {}).features(joined.inputs())
    assert features.columns["count"][0] == 3
    assert {row: error.code for row, error in features.refused.items()} == {1: "entity_stale"}


def test_the_order_and_all_columns_of_the_spine_are_kept() -> None:
    rows = 5_000
    shuffled = np.random.default_rng(0).permutation(rows)
    spine_table = pa.table(
        {
            "note": pa.array([f"n{row}" for row in shuffled]).dictionary_encode(),
            "Athlete_Id": shuffled,
            "athlete_id": [f"{row % 7}" for row in shuffled],
            "ts": days(*(shuffled / 100).tolist()),
            "km": shuffled.astype(float),
        }
    )
    joined = OfflineStore({"load": loads()}).training_set(MODEL, spine_table).to_arrow()
    assert joined.select(["Athlete_Id", "athlete_id", "ts", "km"]).equals(
        spine_table.select(["Athlete_Id", "athlete_id", "ts", "km"])
    )
    assert joined["note"].to_pylist() == spine_table["note"].to_pylist()


def test_keys_of_another_type_than_those_of_the_spine() -> None:
    store = OfflineStore({"load": loads(athlete_id=[1, 1, 2, 1], created=None)})
    assert store.training_set(MODEL, spine(athlete_id=["1", "2", "01"])).to_arrow()["ctl"].to_pylist() == [
        2.0,
        9.0,
        None,
    ]


@pytest.mark.parametrize(
    ("changes", "label", "reason"),
    [
        ({"athlete_id": None}, None, "the spine has no column 'athlete_id'; it has ts, pace, time"),
        ({"ts": None}, None, "the spine has no column 'ts'; it has athlete_id, pace, time"),
        ({}, "seconds", "the spine has no column 'seconds'"),
        ({"athlete_id": [1.0, 2.0, 3.0]}, None, "column 'athlete_id' is double; a key is text or an integer"),
        ({"ts": [1, 2, 3]}, None, "column 'ts' is int64; it must be a timestamp with a time zone"),
        ({"ts": days(1, 2, 3, zone=None)}, None, "column 'ts' has no time zone; name it with timezone='UTC'"),
        ({"ctl": [1.0, 2.0, 3.0]}, None, "has a column 'ctl', which feature view 'load' provides"),
        (
            {"load_event_time": days(1, 2, 3)},
            None,
            "has a column 'load_event_time', which feature view 'load' provides",
        ),
        ({"athlete_id": ["a", None, "b"]}, None, "column 'athlete_id' has nulls in row 1; a key must always be given"),
        ({"time": [None, 1, None]}, "time", "column 'time' has nulls in rows 0, 2; a row without a label cannot"),
        ({"athlete_id": ["a", "b", "a"], "ts": days(1, 1, 1), "pace": [1.0] * 3}, None, "rows 0 and 2 ask the same"),
    ],
)
def test_a_spine_that_does_not_fit(changes: dict[str, Any], label: str | None, reason: str, tmp_path: Path) -> None:
    store = OfflineStore({"load": loads()})
    with pytest.raises(DefinitionError, match=reason):
        store.training_set(MODEL, spine(**changes), label=label).to_arrow()
    pq.write_table(spine(**changes), tmp_path / "spine.parquet")
    with pytest.raises(DefinitionError, match=f"spine.parquet: .*{reason}"):
        store.training_set(MODEL, tmp_path / "spine.parquet", label=label).to_arrow()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ctl": None}, "the table has no column 'ctl'; it has athlete_id"),
        ({"ctl": ["1"] * 4}, "column 'ctl' is string; the feature is float64"),
        ({"event_time": [1, 2, 3, 4]}, "column 'event_time' is int64; it must be a timestamp"),
        ({"created": [1, 2, 3, 4]}, "column 'created' is int64; it must be a timestamp that tells"),
        (
            {"athlete_id": ["a", None, "b", None]},
            "column 'athlete_id' has nulls in rows 1, 3; a key must always be given",
        ),
        ({"event_time": pa.array([None, DAY, DAY, DAY], pa.timestamp("us", "UTC"))}, "'event_time' has nulls in row 0"),
        ({"created": pa.array([None, DAY, DAY, DAY], pa.timestamp("us", "UTC"))}, "'created' has nulls in row 0; each"),
    ],
)
def test_a_table_that_does_not_fit(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    pq.write_table(loads(**changes), tmp_path / "load.parquet")
    store = OfflineStore({"load": tmp_path / "load.parquet"})
    with pytest.raises(DefinitionError, match=f"feature view 'load': .*load.parquet: .*{reason}"):
        store.training_set(MODEL, spine()).to_arrow()


def test_tables_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"feature view 'load' has no table; there are tables of other"):
        OfflineStore({"other": loads()}).training_set(MODEL, spine())
    with pytest.raises(DefinitionError, match=r"feature view 'load': .*nowhere does not exist"):
        OfflineStore({"load": tmp_path / "nowhere"}).training_set(MODEL, spine())
    with pytest.raises(DefinitionError, match="no column 'known_at'"):
        OfflineStore({"load": Source(loads(), created="known_at")}).training_set(MODEL, spine())


def test_a_file_that_is_broken_in_the_middle_is_named(tmp_path: Path) -> None:
    for number in range(3):
        pq.write_table(loads(), tmp_path / f"part-{number}.parquet", compression="none", use_dictionary=False)
    broken = tmp_path / "part-1.parquet"
    content = bytearray(broken.read_bytes())
    content[4:200] = b"\xff" * 196
    broken.write_bytes(content)
    store = OfflineStore({"load": tmp_path})
    joined = store.training_set(MODEL, spine())
    with pytest.raises(DefinitionError, match=r"feature view 'load': .*part-1.parquet cannot be read"):
        joined.write_parquet(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(list(tmp_path.iterdir())) == 3


def test_times_without_a_zone_are_taken_in_the_zone_that_is_named() -> None:
    store = OfflineStore({"load": loads(created=None)})
    # two in the morning in Berlin is midnight in UTC
    frame = pd.DataFrame({"athlete_id": ["a", "a"], "ts": pd.to_datetime(["2026-05-02 01:59", "2026-05-02 02:00"])})
    joined = store.training_set(MODEL, frame, timezone="Europe/Berlin").to_arrow()
    assert joined["ctl"].to_pylist() == [1.0, 2.0]
    assert joined["ts"].to_pylist()[1] == DAY + timedelta(days=1)
    frame = pd.DataFrame({"athlete_id": ["a"], "ts": pd.to_datetime(["2026-03-29 02:30"])})
    with pytest.raises(DefinitionError, match="column 'ts' has times that are none in Europe/Berlin"):
        store.training_set(MODEL, frame, timezone="Europe/Berlin").to_arrow()


def test_write_parquet_is_what_to_arrow_is(tmp_path: Path) -> None:
    joined = OfflineStore({"load": loads()}).training_set(MODEL, spine())
    assert joined.write_parquet(tmp_path / "out.parquet") == 3
    assert pq.read_table(tmp_path / "out.parquet").equals(joined.to_arrow())
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_a_range_of_time() -> None:
    store = OfflineStore({"load": loads()})
    rows = store.batch_data(MODEL, start_time=DAY + timedelta(days=1), end_time=DAY + timedelta(days=3)).to_arrow()
    assert rows.column_names == ["athlete_id", "ts", "pace", "load_event_time", "ctl", "acwr"]
    # b became known after the range; in a range everything counts that is known now
    assert rows["athlete_id"].to_pylist() == ["a", "b"]
    assert rows["ctl"].to_pylist() == [2.0, 9.0]
    assert rows["pace"].to_pylist() == [310.0, 320.0]
    assert rows["ts"].to_pylist() == [DAY + timedelta(days=1)] * 2
    subset = store.batch_data(MODEL, start_time=DAY, entity_ids=["a"]).to_arrow()
    assert subset["ctl"].to_pylist() == [1.0, 2.0, 3.0]


def test_of_corrected_rows_the_last_correction_counts() -> None:
    table = loads(event_time=days(0, 1, 1, 1), created=days(0, 3, 5, 2), athlete_id=["a"] * 4)
    rows = OfflineStore({"load": table}).batch_data(MODEL, start_time=DAY + timedelta(days=1)).to_arrow()
    assert rows["ctl"].to_pylist() == [9.0]


def test_the_newest_rows() -> None:
    store = OfflineStore({"load": loads()})
    at = DAY + timedelta(days=4)
    rows = store.batch_data(MODEL, latest=True, as_of=at).to_arrow()
    assert rows["athlete_id"].to_pylist() == ["a"]
    assert rows["ctl"].to_pylist() == [3.0]
    assert rows["ts"].to_pylist() == [at]
    subset = store.batch_data(
        MODEL, latest=True, as_of=at, entity_ids=["z", "a", "b", "a"], request={"km": 5}
    ).to_arrow()
    assert subset["athlete_id"].to_pylist() == ["z", "a", "b"]
    assert subset["ctl"].to_pylist() == [None, 3.0, None]
    assert subset["pace"].to_pylist() == [None, 330.0, None]
    assert subset["km"].to_pylist() == [5.0] * 3
    later = store.batch_data(MODEL, latest=True, as_of=DAY + timedelta(days=5), entity_ids=["b"]).to_arrow()
    assert later["load_event_time"].to_pylist() == [DAY + timedelta(days=1)]


def test_batch_data_of_a_spine_is_a_training_set_without_a_label() -> None:
    store = OfflineStore({"load": loads()})
    rows = store.batch_data(MODEL, spine=spine()).to_arrow()
    assert rows.equals(store.training_set(MODEL, spine()).to_arrow())
    assert (
        store.batch_data(MODEL, spine=spine(pace=None), request={"pace": 7}).inputs().request["pace"].tolist()
        == [7] * 3
    )


def test_batch_data_is_input_to_the_pipeline() -> None:
    at = DAY + timedelta(days=4)
    inputs = OfflineStore({"load": loads()}).batch_data(MODEL, latest=True, as_of=at).inputs()
    assert Pipeline(MODEL, Signature((), ()), {}).features(inputs).columns["ctl"].tolist() == [3.0]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "takes start_time and end_time, or latest=True, or spine: one of them"),
        ({"latest": True, "start_time": DAY}, "one of them"),
        ({"spine": {}, "entity_ids": ["a"]}, "takes no entity_ids"),
        ({"start_time": DAY, "as_of": DAY}, "as_of= with latest=True only"),
        ({"start_time": DAY.replace(tzinfo=None)}, "start_time 2026-05-01 00:00:00 has no time zone"),
        ({"start_time": DAY, "end_time": DAY}, "is not before end_time"),
        ({"latest": True, "root": "x"}, "has no feature view 'x'; it has load"),
        ({"latest": True, "entity_ids": [1.5]}, "'athlete_id' is double; a key is text or an integer"),
        ({"latest": True, "entity_ids": {"id": ["a"]}}, "entity_ids has no column 'athlete_id'; it has id"),
        ({"latest": True, "request": {"k": 1}}, "the contract has no field 'k'; it has athlete_id, pace, ts, km"),
        ({"latest": True, "request": {"km": "x"}}, "'km' is 'x'; the field is float64"),
        ({"latest": True, "request": {"pace": 1.0}}, "'pace' is a column of the rows already"),
    ],
)
def test_queries_that_are_none(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(DefinitionError, match=reason):
        OfflineStore({"load": loads()}).batch_data(MODEL, **arguments)


def test_a_root_is_chosen_among_several_views(model: Model) -> None:
    store = OfflineStore({"station": loads(), "weather": loads()})
    with pytest.raises(DefinitionError, match="no column 'city'"):
        store.batch_data(model, latest=True)


def test_rows_of_several_keys() -> None:
    view = FeatureView("station", keys=["city", "line"], features=[Feature("delay")])
    weather = FeatureView("weather", keys=["city"], features=[Feature("rain")])
    keys = {"town": "string", "line": "int64"}
    model = Model(
        "m",
        serving_keys=keys,
        views=[weather.on(city="town"), view.on(city="town")],
        inputs=["delay", "rain"],
        prediction=Prediction("y"),
    )
    store = OfflineStore(
        {
            "station": pa.table(
                {"city": ["B", "B", "M"], "line": [1, 2, 1], "event_time": days(0, 0, 0), "delay": [1.0, 2.0, 3.0]}
            ),
            "weather": pa.table({"city": ["B"], "event_time": days(-1), "rain": [0.5]}),
        }
    )
    rows = store.batch_data(model, latest=True, as_of=DAY, entity_ids=[("M", 1), ("B", 2), ("X", 1)]).to_arrow()
    assert rows.column_names == ["town", "line", "as_of", "weather_event_time", "rain", "station_event_time", "delay"]
    assert rows["delay"].to_pylist() == [3.0, 2.0, None]
    assert rows["rain"].to_pylist() == [None, 0.5, None]
    with pytest.raises(DefinitionError, match="'M' must be a tuple of town, line"):
        store.batch_data(model, latest=True, entity_ids=["M"])
    with pytest.raises(DefinitionError, match="'weather' cannot be the root, since it has no line"):
        store.batch_data(model, latest=True, root="weather")


def test_leaks_are_counted_and_shown() -> None:
    leaks = OfflineStore({"load": loads()}).leaks(MODEL, spine())
    assert (leaks.rows, leaks.changed_rows) == (3, 1)
    (view,) = leaks.views
    assert (view.view, view.bitemporal, view.rows, view.values) == ("load", True, 1, {"ctl": 1, "acwr": 1})
    value = leaks.examples[0]
    assert (value.row, value.keys, value.feature, value.known, value.leaked) == (
        1,
        {"athlete_id": "b"},
        "ctl",
        None,
        9.0,
    )
    assert (value.time, value.created) == (DAY + timedelta(days=1.5), DAY + timedelta(days=5))


def test_leaks_of_a_table_that_does_not_say_when_rows_became_known() -> None:
    leaks = OfflineStore({"load": loads(created=None)}).leaks(MODEL, spine())
    assert leaks.changed_rows == 0
    assert [view.bitemporal for view in leaks.views] == [False]


@pytest.mark.parametrize("form", ["file", "directory", "delta", "dataset", "frame"])
def test_tables_of_any_kind(form: str, tmp_path: Path) -> None:
    table: Any = loads()
    if form in ("file", "directory"):
        pq.write_table(table, tmp_path / "part.parquet")
        table = tmp_path / "part.parquet" if form == "file" else tmp_path
    elif form == "delta":
        deltalake = pytest.importorskip("deltalake")
        deltalake.write_deltalake(str(tmp_path / "load"), table.slice(0, 2))
        deltalake.write_deltalake(str(tmp_path / "load"), table.slice(2), mode="append")
        table = tmp_path / "load"
    elif form == "dataset":
        table = pa.dataset.dataset(table)
    elif form == "frame":
        table = table.to_pandas()
    joined = OfflineStore({"load": table}).training_set(MODEL, spine()).to_arrow()
    assert joined["ctl"].to_pylist() == [2.0, None, None]


def test_sources_are_named_in_the_package(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text("")
    settings = {"features": {"load": {"path": "load.parquet", "event_time": "day", "created": "known"}}}
    pq.write_table(loads().rename_columns({"event_time": "day", "created": "known"}), tmp_path / "load.parquet")
    store = OfflineStore.of(ModelPackage(tmp_path, "m:model", settings))
    assert store.training_set(MODEL, spine()).to_arrow()["ctl"].to_pylist() == [2.0, None, None]


def test_inputs_are_those_of_the_table() -> None:
    joined = OfflineStore({"load": loads()}).training_set(MODEL, spine())
    assert (
        joined.inputs().request["pace"].tolist()
        == inputs_from_table(MODEL, joined.to_pandas()).request["pace"].tolist()
    )


def bare_model() -> Model:
    """A model without views."""
    return Model(
        "bare",
        serving_keys={"athlete_id": "string"},
        passed_features={"pace": Field("float64")},
        request_parameters={"ts": "timestamp", "km": Field("float64", default=10.0)},
        as_of="ts",
        inputs=["pace", "km"],
        prediction=Prediction("minutes"),
    )


def test_rows_of_a_model_without_views_are_those_of_the_spine(tmp_path: Path) -> None:
    numbers = np.arange(1000)
    table = spine(
        athlete_id=[f"a{number}" for number in numbers], ts=days(*numbers.tolist()), pace=numbers * 1.0, time=numbers
    )
    pq.write_table(table, tmp_path / "spine.parquet", row_group_size=300)
    rows = OfflineStore({}).batch_data(bare_model(), spine=tmp_path / "spine.parquet", request={"km": 5.0})
    assert rows.count() == 1000 and rows.schema.names == [*table.column_names, "km"]
    batches = list(rows.batches(128))
    assert max(batch.num_rows for batch in batches) == 128
    joined = pa.Table.from_batches(batches)
    assert joined.drop_columns("km").equals(table) and set(joined["km"].to_pylist()) == {5.0}
    other = OfflineStore({}).batch_data(bare_model(), spine=tmp_path / "spine.parquet", request={"km": 6.0})
    assert rows.identity() != other.identity()
    inputs = rows.inputs()
    assert inputs.views == () and inputs.request["km"].tolist() == [5.0] * 1000


def test_what_is_wrong_with_the_spine_of_a_model_without_views() -> None:
    rows = OfflineStore({}).batch_data(bare_model(), spine=spine(ts=pa.array([DAY, None, DAY])), duplicates=True)
    with pytest.raises(DefinitionError, match=r"the spine: column 'ts' has nulls in row 1"):
        rows.to_arrow()
    with pytest.raises(DefinitionError, match="ask the same"):
        OfflineStore({}).batch_data(bare_model(), spine=spine(athlete_id=["a"] * 3, ts=days(1, 1, 1), pace=[1.0] * 3))
