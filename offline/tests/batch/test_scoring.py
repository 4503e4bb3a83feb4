"""What becomes of rows: the answers of the embedded model, or the error that a client would get."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa

from tandem import EmbeddedModel, inputs_from_table
from tandem.clock import utc_now
from tandem.inputs import Inputs
from tandem.lookup import LookupPlan
from tandem.materialize import materialize
from tandem.rows import RowReader
from tandem.stores.memory import MemoryStore
from tandem.table_inputs import inputs_row_by_row
from tandem_offline import FeatureTable, OfflineStore
from tandem_offline.batch import score

from .conftest import DAY, Rows, tables, times

NOW = DAY + timedelta(days=20)


def random_tables(rng: np.random.Generator, entities: int) -> dict[str, pa.Table]:
    """Some rows of each entity in both views, up to twenty days old; of some none at all."""
    ids = [f"e{number}" for number in rng.integers(0, entities, 3 * entities)]
    moments = times(*(20 * rng.random(len(ids))).tolist())
    load = {"id": ids, "event_time": moments, "ctl": rng.normal(size=len(ids)), "acwr": rng.normal(size=len(ids))}
    load["acwr"] = pa.array(load["acwr"], mask=rng.random(len(ids)) < 0.1)
    profile_ids = [f"e{number}" for number in range(0, entities, 2)] + [
        f"e{number}" for number in range(1, entities // 2, 2)
    ]
    age = rng.integers(10, 90, len(profile_ids))
    return tables(load=load, profile={"id": profile_ids, "event_time": times(*[0.0] * len(profile_ids)), "age": age})


async def fill(model: EmbeddedModel, views: dict[str, pa.Table]) -> MemoryStore:
    store = MemoryStore()
    for use in model.bundle.model.views:
        await materialize(use.view, views[use.view.name], store)
    return store


def join(model: EmbeddedModel, views: dict[str, pa.Table], ids: list[str], x: np.ndarray) -> FeatureTable:
    spine = pa.table({"id": ids, "ts": pa.array([NOW] * len(ids), pa.timestamp("us", "UTC")), "x": x})
    return OfflineStore(views).batch_data(model.bundle.model, spine=spine, duplicates=True)


async def test_vectors_and_predictions_are_those_of_the_embedded_model_bit_for_bit(embedded: EmbeddedModel) -> None:
    rng = np.random.default_rng(5)
    entities, rows = 500, 20_000
    views = random_tables(rng, entities)
    store = await fill(embedded, views)
    online = EmbeddedModel(embedded.bundle, get=store.get_now)
    ids, x = [f"e{number}" for number in rng.integers(0, entities, rows)], 100 * rng.random(rows)
    (batch,) = join(online, views, ids, x).batches()
    scored = score(embedded, batch)
    assert {error.code for error in scored.errors.values()} == {"entity_not_found"}
    answered = np.flatnonzero(~scored.unanswered)
    requests = [{"id": ids[row], "ts": NOW, "x": float(x[row])} for row in answered]
    for row, answer in zip(answered.tolist(), online.predict(requests), strict=True):
        degraded = {
            view: {"reason": why.reason, "source": why.source} for view, why in scored.degraded.get(row, {}).items()
        }
        assert answer.pop("degraded", {}) == degraded
        assert answer == {
            name: column[row].item() if name != "label" else column[row] for name, column in scored.columns.items()
        }
    assert 0 < len(scored.degraded) < len(answered) < rows

    inputs, refused = inputs_row_by_row(online.bundle.model, batch)
    assert not refused
    plan, reader = LookupPlan(online.bundle.model.views), RowReader(online.bundle.contract)
    views_online = plan.unpack(store.get_now(plan.keys(inputs.request)), rows)
    looked_up = Inputs(inputs.request, views_online, reader.as_of(inputs.request, utc_now()))
    for name, tensor in online.pipeline.vectors(looked_up.take(answered)).items():
        assert tensor.tobytes() == online.pipeline.vectors(inputs.take(answered))[name].tobytes()


def test_each_kind_of_bad_row_fails_alone(embedded: EmbeddedModel, rows: Rows) -> None:
    x = [1.0, -1.0, None, float("nan"), 13.0, 17.0, float("inf"), 2.0, 3.0, 13.0]
    ids = ["a"] * 7 + ["c", "b", "a"]
    (batch,) = rows(id=ids, ts=times(*[2 + number / 10 for number in range(10)]), x=x).batches()
    scored = score(embedded, batch)
    assert {row: error.code for row, error in scored.errors.items()} == {
        1: "contract_violation",
        2: "contract_violation",
        3: "contract_violation",
        4: "transform_failed",
        5: "prediction_not_finite",
        6: "invalid_value",
        7: "entity_not_found",
        9: "transform_failed",
    }
    messages = {row: error.message for row, error in scored.errors.items()}
    assert messages[1] == "field 'x': must be >= 0"
    assert messages[2] == messages[3] == "field 'x': must not be null"
    assert messages[4] == "label: ValueError: thirteen"
    assert messages[5] == "field 'root': must be finite"
    assert messages[6] == "column 'x' is infinite; values must be finite"
    assert "has nothing for id=c" in messages[7]
    # of a nothing is known of acwr, and of b only what is too old
    assert {row: list(reasons) for row, reasons in scored.degraded.items()} == {0: ["load.acwr"], 8: ["load"]}
    good = batch.take(pa.array([0, 8]))
    alone = embedded.predict_columns(inputs_from_table(embedded.bundle.model, good))
    for name, column in alone.items():
        assert scored.columns[name][[0, 8]].tolist() == column.tolist()


def test_rows_of_which_none_has_a_prediction(embedded: EmbeddedModel, rows: Rows) -> None:
    (batch,) = rows(id=["c", "d"], ts=times(2, 2), x=[1.0, -1.0]).batches()
    scored = score(embedded, batch)
    assert not scored.columns and scored.unanswered.all()
    assert {error.code for error in scored.errors.values()} == {"entity_not_found", "contract_violation"}


def test_a_null_for_which_nothing_stands_is_refused_as_online(embedded: EmbeddedModel, rows: Rows) -> None:
    profile = {"id": ["a", "b"], "event_time": times(-9, -9), "age": [None, 40]}
    store = OfflineStore(tables(profile=profile))
    (batch,) = rows(store=store, id=["a", "b"], ts=times(2, 2), x=[1.0, 1.0]).batches()
    scored = score(embedded, batch)
    assert {row: error.code for row, error in scored.errors.items()} == {0: "feature_null"}
