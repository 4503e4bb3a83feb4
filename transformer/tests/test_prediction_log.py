"""What a service logs of the calls that it answers, and of those that it does not."""

from __future__ import annotations

import asyncio
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tandem import Bundle, EmbeddedModel, StoreError
from tandem.errors import DeadlineExceeded, DefinitionError, Unavailable
from tandem.inputs import Tensors
from tandem.onnx_model import OnnxModel
from tandem.prediction_log.arrow import prediction_batch
from tandem.prediction_log.comparing import replay_against
from tandem.prediction_log.fields import documents
from tandem.prediction_log.gathering import join_records
from tandem.prediction_log.records import LoggedFeedback, Records
from tandem.prediction_log.skew import measure_skew
from tandem.prediction_log.spool import read_log
from tandem.stores.memory import MemoryStore
from tandem_transformer.predictors.inprocess import InProcessPredictor
from tandem_transformer.service import Service

from . import world
from .parts import make_service
from .test_precomputed import store_with, written
from .test_service import ask, ask_all
from .world import STALE_DEPOT, STANDING_DEPOT, good_row


def logged(directory: Path) -> list[Records]:
    return [records for kind, records in read_log(directory) if kind == "predictions"]


def answered(directory: Path) -> Records:
    return join_records([records for records in logged(directory) if "as_of" in records.columns])


def contents(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.iterdir()]


async def make_log(bundle: Bundle, directory: Path, **settings: Any) -> Service:
    return make_service(bundle, prediction_log=str(directory), **settings)


class Failing(MemoryStore):
    async def get(self, keys: Any) -> Any:
        raise StoreError("the store is gone")


class Stuck(InProcessPredictor):
    """A predictor that answers when it is let go."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle)
        self.gate = asyncio.Event()

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        await self.gate.wait()
        return await super().infer(tensors, deadline)


async def test_what_is_logged_gives_the_vectors_and_answers_again(bundle: Bundle, tmp_path: Path) -> None:
    service = await make_log(bundle, tmp_path)
    requests = [world.rows(1 + index % 4, seed=index) for index in range(60)]
    answers = await ask_all(service, requests)
    await service.close()
    parts = logged(tmp_path)
    records = join_records(parts)
    assert records.rows == sum(map(len, requests))
    skew = measure_skew(bundle, parts)
    assert (skew.rows, skew.rows_differing, skew.bits) == (records.rows, 0, 0)
    # by the ids that the calls got, each row is that of its answer
    where = {
        key: at for at, key in enumerate(zip(records.prediction_ids, records.columns["row"].tolist(), strict=True))
    }
    assert len(where) == records.rows
    for answer in answers:
        for row in range(answer.stop - answer.start):
            at = where[answer.prediction_id, row]
            assert records.columns["answer/minutes"][at] == answer.batch.columns["minutes"][answer.start + row]
            assert (at in records.degraded) == (row in answer.degraded)
    # and the logged inputs come to the logged answers
    inputs = records.inputs(world.model())
    features = bundle.pipeline().features(inputs)
    outputs = OnnxModel(bundle.model_path).run(bundle.pipeline().tensors(features.columns))
    again = bundle.pipeline().predictions(outputs, features.columns)
    np.testing.assert_allclose(again["minutes"], records.columns["answer/minutes"], rtol=1e-5)


async def test_a_skew_is_measured_in_bits(bundle: Bundle, tmp_path: Path) -> None:
    service = await make_log(bundle, tmp_path)
    await ask_all(service, [world.rows(3, seed=1)])
    await service.close()
    (records,) = logged(tmp_path)
    vectors = records.columns["vector/x"].copy()
    vectors.view(np.uint32)[1, 2] ^= 0b101
    records.columns["vector/x"] = vectors
    skew = measure_skew(bundle, [records])
    assert (skew.rows, skew.rows_differing, skew.bits) == (3, 1, 2)
    assert skew.columns == {bundle.signature.inputs[0].columns[2]: 1}


async def test_documents_and_arrow_say_the_same(bundle: Bundle, tmp_path: Path) -> None:
    service = await make_log(bundle, tmp_path)
    await ask_all(service, [world.rows(20, seed=3), [good_row()], [good_row(customer_id="nobody")]])
    await service.close()
    for records in logged(tmp_path):
        batch = prediction_batch(records)
        for document, row in zip(documents(records), batch.to_pylist(), strict=True):
            assert document["prediction_id"] == row["prediction_id"]
            assert document["request"]["customer_id"] == row["request"]["customer_id"]
            assert document["features"]["depot"]["toll"] == row["features"]["depot"]["toll"]
            assert document["features"]["customer"]["orders"] == row["features"]["customer"]["orders"]
            assert document["answer"]["minutes"] == row["answer"]["minutes"]
            assert np.array_equal(np.float32(document["vector"]["x"]), np.float32(row["vector"]["x"]), equal_nan=True)
            assert (document["degraded"] is None) == (row["degraded"] is None)
            assert document["version"] == row["version"] == "v1"
            assert set(document) == set(row)
    last = list(documents(records))[-1]
    assert set(last["features"]["customer"].values()) == {None}
    assert last["degraded"]["customer"] == {"reason": "missing", "source": "default"}


async def test_failures_of_the_server_are_logged_and_mistakes_are_not(bundle: Bundle, tmp_path: Path) -> None:
    service = await make_log(bundle, tmp_path)
    results = await ask_all(
        service, [[good_row(depot_id=STANDING_DEPOT)], [good_row()], [good_row(depot_id=STALE_DEPOT)]]
    )
    await service.close()
    failed = [records for records in logged(tmp_path) if "as_of" not in records.columns]
    faults = [result for result in results if isinstance(result, Exception) and result.status >= 500]
    assert sum(records.rows for records in failed) == len(faults) == 1
    (document,) = [document for records in failed for document in documents(records)]
    assert document["error"] == "prediction_not_finite"
    assert document["request"]["depot_id"] == STANDING_DEPOT
    assert "answer" not in document


async def test_a_call_that_expires_is_logged_once_with_its_error(bundle: Bundle, tmp_path: Path) -> None:
    predictor = Stuck(bundle)
    service = await make_log(bundle, tmp_path, predictor=predictor)
    with pytest.raises(DeadlineExceeded):
        await ask(service, good_row(), seconds=0.01)
    predictor.gate.set()
    await service.close()
    assert [document["error"] for records in logged(tmp_path) for document in documents(records)] == [
        "deadline_exceeded"
    ]


async def test_of_a_sample_all_of_an_entity_or_nothing_is_logged(bundle: Bundle, tmp_path: Path) -> None:
    service = await make_log(bundle, tmp_path, prediction_log_sample=0.3)
    rows = [good_row(customer_id=f"c{number}") for number in range(200)]
    first = await ask(service, *rows)
    await ask(service, *rows)
    await service.close()
    records = answered(tmp_path)
    customers = records.columns["request/customer_id"]
    counts = {name: int((customers == name).sum()) for name in {row["customer_id"] for row in rows}}
    degraded = {rows[row]["customer_id"] for row in first.degraded}
    assert set(counts.values()) == {0, 2}
    assert all(counts[name] == 2 for name in degraded)
    share = sum(count > 0 for name, count in counts.items() if name not in degraded) / (200 - len(degraded))
    assert 0.15 < share < 0.45


async def test_what_is_redacted_is_nowhere_in_the_files(bundle: Bundle, tmp_path: Path) -> None:
    settings = {"prediction_log_redact": ("customer_id", "depot.speed", "route", "minutes")}
    service = await make_log(bundle, tmp_path, **settings)
    await ask(service, good_row(customer_id="somebody"))
    await service.close()
    records = answered(tmp_path)
    assert not {"request/customer_id", "view/depot/feature/speed", "view/route/event_time", "answer/minutes"} & set(
        records.columns
    )
    assert not any(name.startswith("vector/") for name in records.columns)
    assert "view/depot/feature/toll" in records.columns
    assert all(b"somebody" not in content for content in contents(tmp_path))
    with pytest.raises(DefinitionError, match="cannot redact depots"):
        await make_log(bundle, tmp_path, prediction_log_redact=("depots",))


async def test_more_than_may_wait_is_lost_and_counted(bundle: Bundle, tmp_path: Path) -> None:
    service = await make_log(bundle, tmp_path, prediction_log_queue_bytes=1)
    await ask(service, *[good_row()] * 3)
    log = service.prediction_log
    assert log is not None
    await service.close()
    assert log.lost["queue_full"] == 3
    assert logged(tmp_path) == []


async def test_a_full_directory_costs_records_and_no_answers(bundle: Bundle, tmp_path: Path) -> None:
    service = await make_log(bundle, tmp_path, prediction_log_max_bytes=10_000, prediction_log_flush_ms=0)
    log = service.prediction_log
    assert log is not None
    for count in range(1, 51):
        await ask(service, good_row())
        # a block for each, since one with all of them would not fit into the directory
        while log.written + log.lost["disk_full"] < count:  # noqa: ASYNC110 (a thread writes, without an event)
            await asyncio.sleep(0)
    await service.close()
    rows = sum(records.rows for records in logged(tmp_path))
    assert rows + log.lost["disk_full"] == 50
    assert 0 < log.lost["disk_full"] < 50
    assert log.written == rows
    assert sum(map(len, contents(tmp_path))) <= 10_000


async def test_a_durable_answer_is_in_the_file_before_it_is_given(bundle: Bundle, tmp_path: Path) -> None:
    service = await make_log(bundle, tmp_path, prediction_log_durable=True, prediction_log_sync=True)
    for count in range(1, 6):
        answer = await ask(service, good_row())
        ids = [name for records in logged(tmp_path) for name in records.prediction_ids]
        assert len(ids) == count
        assert ids[-1] == answer.prediction_id
    await service.close()


async def test_a_durable_answer_that_cannot_be_logged_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    service = await make_log(bundle, tmp_path, prediction_log_durable=True, prediction_log_max_bytes=10)
    with pytest.raises(Unavailable) as refusal:
        await ask(service, good_row())
    assert refusal.value.code == "prediction_log_unavailable"
    await service.close()
    assert logged(tmp_path) == []
    service = await make_log(bundle, tmp_path, prediction_log_durable=True, prediction_log_queue_bytes=10)
    with pytest.raises(Unavailable):
        await ask(service, good_row())
    await service.close()


async def test_an_outage_of_the_store_is_logged_with_what_stood_for_it(bundle: Bundle, tmp_path: Path) -> None:
    service = await make_log(bundle, tmp_path, store=Failing())
    results = await ask_all(service, [[good_row()]])
    await service.close()
    (records,) = logged(tmp_path)
    (document,) = documents(records)
    if isinstance(results[0], Exception):
        assert document["error"] == "store_unavailable"
    else:
        assert document["degraded"]["depot"]["reason"] == "unavailable"
        assert measure_skew(bundle, [records]).bits == 0


async def test_feedback_is_in_the_file_when_it_is_acknowledged(bundle: Bundle, tmp_path: Path) -> None:
    service = await make_log(bundle, tmp_path)
    log = service.prediction_log
    assert log is not None
    time = np.datetime64("2026-05-01T08:00:00", "us")
    await log.feedback(LoggedFeedback(["0123456789abcdef"] * 2, [1, 7], [0, 3], np.array([1.5, 2.5]), time))
    ((kind, records),) = read_log(tmp_path)
    assert kind == "feedback"
    assert records.columns["number"].tolist() == [1, 7]
    assert records.columns["truth"].tolist() == [1.5, 2.5]
    await service.close()


async def test_what_other_sources_than_the_model_answered_is_logged_as_such(
    nested_ahead_bundle: Bundle, tmp_path: Path
) -> None:
    unknown = [good_row(depot_id=7777, parts=parts) for parts in (2, 3)]
    store = await store_with(*written(nested_ahead_bundle, unknown[:1], value=-5.0, age=90 * np.timedelta64(1, "s")))
    service = await make_log(nested_ahead_bundle, tmp_path, store=store, prediction_log_sample=1e-9)
    answer = await ask(service, good_row(), *unknown)
    await ask(service, unknown[1])
    await service.close()
    logs = [document for records in logged(tmp_path) for document in documents(records)]
    assert {document["answer"]["minutes"] for document in logs} == {float(answer.batch.columns["minutes"][2])}
    assert {document["degraded"]["depot"]["source"] for document in logs} == {"simpler_model"}
    service = await make_log(nested_ahead_bundle, tmp_path / "all", store=store)
    await ask(service, good_row(), *unknown)
    await service.close()
    records = answered(tmp_path / "all")
    assert [document["precomputed_age_s"] for document in documents(records)] == [None, 90.0, None]
    assert prediction_batch(records)["precomputed_age_s"].to_pylist() == [None, 90.0, None]
    # the vectors of the others are not those of this model
    skew = measure_skew(nested_ahead_bundle, [records])
    assert (skew.rows, skew.rows_differing, skew.skipped) == (1, 0, 2)
    replay = replay_against(EmbeddedModel.open(nested_ahead_bundle.path), [records])
    assert (replay.rows, replay.skipped) == (1, 2)
