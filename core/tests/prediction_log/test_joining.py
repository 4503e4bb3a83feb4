"""Export to Parquet and the join with feedback: each record once, the last truth counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem.prediction_log.blocks import encode_block
from tandem.prediction_log.gathering import gather_feedback, join_records
from tandem.prediction_log.joining import export_log, join_feedback
from tandem.prediction_log.records import LoggedFeedback, Records
from tandem.prediction_log.schema import LogSchema
from tandem.prediction_log.segments import SegmentWriter
from tandem.prediction_log.spool import segments

WRITERS = ("00112233aabbccdd", "ffeeddccbbaa9988")
NOW = np.datetime64("2026-05-01T08:00:00", "us")


def schema_of(writer: str, version: str = "v1") -> LogSchema:
    return LogSchema(
        writer=writer, model="m", version=version, digest=f"{version}-digest", host="h", request={"key": "string"},
        views={"load": {"ctl": "float64", "tag": "string", "wave": "float64[2]"}}, vectors=(),
        answers={"y": "float64"}, truth="float64", traffic=("direct",), stages=("decode", "predict"),
    )  # fmt: skip


def predictions(writer: str, numbers: list[int], version: str = "v1") -> Records:
    rows = len(numbers)
    columns = {
        "number": np.array(numbers, np.int64),
        "row": np.zeros(rows, np.int32),
        "time": np.full(rows, NOW),
        "as_of": np.full(rows, NOW),
        "traffic": np.zeros(rows, np.uint8),
        "stages": np.zeros((rows, 2), np.float32),
        "request/key": np.array([f"k{number}" for number in numbers], object),
        "view/load/event_time": np.full(rows, NOW),
        "view/load/feature/ctl": np.arange(rows, dtype=np.float64),
        "view/load/feature/tag": np.array(["a"] * rows, object),
        "view/load/feature/wave": np.ones((rows, 2)),
        "answer/y": np.array(numbers, np.float64) / 3,
    }
    return Records(schema_of(writer, version), rows, columns, {})


def truths(writer: str, numbers: list[int], values: list[float], minute: int = 0) -> Records:
    time = NOW + np.timedelta64(minute, "m")
    feedback = LoggedFeedback([writer] * len(numbers), numbers, [0] * len(numbers), np.array(values), time)
    return gather_feedback(schema_of(WRITERS[0]), feedback)


def write(directory: Path, number: int, *parts: Records) -> None:
    directory.mkdir(exist_ok=True)
    segment = SegmentWriter(directory, number, parts[0].schema)
    for records in parts:
        kind = "feedback" if "truth" in records.columns else "predictions"
        segment.write([(records.rows, encode_block(kind, records))])
    segment.complete()


def test_an_export_has_each_record_once_however_often_it_runs(tmp_path: Path) -> None:
    log, target = tmp_path / "log", tmp_path / "out"
    write(log, 0, predictions(WRITERS[0], [1, 2]), truths(WRITERS[0], [1], [5.0]), predictions(WRITERS[0], [3]))
    write(log, 1, predictions(WRITERS[0], [4]))
    assert export_log(log, target) == (4, 1)
    assert export_log(log, target) == (0, 0)
    write(log, 2, predictions(WRITERS[0], [5]))
    assert export_log(log, target, remove=True) == (1, 0)
    assert segments(log) == []
    table = pq.read_table(target / "predictions")
    assert sorted(table["prediction_id"].to_pylist()) == [f"{WRITERS[0]}-{number}" for number in range(1, 6)]
    row = table.sort_by("prediction_id").to_pylist()[0]
    assert row["request"] == {"key": "k1"}
    assert row["features"]["load"] == {"event_time": row["time"], "ctl": 0.0, "tag": "a", "wave": [1.0, 1.0]}
    assert pq.read_table(target / "feedback").to_pylist()[0]["truth"] == 5.0


def test_feedback_is_joined_with_its_own_prediction(tmp_path: Path) -> None:
    log, target = tmp_path / "log", tmp_path / "out"
    write(log, 0, predictions(WRITERS[0], [1, 2, 3]), truths(WRITERS[1], [2, 3, 9], [20.0, 30.0, 90.0]))
    write(log, 0, predictions(WRITERS[1], [1, 2, 3], "v2"), truths(WRITERS[0], [3], [7.0]))
    write(log, 1, truths(WRITERS[1], [2], [21.0], minute=1))
    joined = join_feedback(log, target)
    assert (joined.predictions, joined.joined, joined.feedback, joined.unmatched) == (6, 3, 5, 1)
    rows = [row for path in target.iterdir() for row in pq.read_table(path).to_pylist()]
    assert {(row["prediction_id"], row["version"]): row["truth"] for row in rows} == {
        (f"{WRITERS[0]}-3", "v1"): 7.0,
        (f"{WRITERS[1]}-2", "v2"): 21.0,
        (f"{WRITERS[1]}-3", "v2"): 30.0,
    }


def test_a_log_without_feedback_joins_to_nothing(tmp_path: Path) -> None:
    write(tmp_path / "log", 0, predictions(WRITERS[0], [1]))
    joined = join_feedback(tmp_path / "log", tmp_path / "out")
    assert (joined.predictions, joined.joined, joined.feedback, joined.unmatched) == (1, 0, 0, 0)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_join_is_that_of_a_dictionary(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("join")
    keys = [(writer, number) for writer in WRITERS for number in range(1, 8)]
    logged = data.draw(st.lists(st.sampled_from(keys), unique=True, min_size=1))
    given_truths = data.draw(st.lists(st.tuples(st.sampled_from(keys), st.floats(-9, 9)), max_size=12))
    for at, writer in enumerate(WRITERS):
        numbers = [number for name, number in logged if name == writer]
        if numbers:
            write(directory / "log", at, predictions(writer, numbers))
    for minute, ((writer, number), truth) in enumerate(given_truths):
        write(directory / "log", 100 + minute, truths(writer, [number], [truth], minute))
    last = dict(given_truths)
    joined = join_feedback(directory / "log", directory / "out")
    paths = (directory / "out").iterdir() if joined.joined else ()
    rows = [row for path in paths for row in pq.read_table(path).to_pylist()]
    expected = {f"{writer}-{number}": last[writer, number] for writer, number in logged if (writer, number) in last}
    assert {row["prediction_id"]: row["truth"] for row in rows} == expected
    assert (len(rows), joined.unmatched) == (len(expected), len(last) - len(expected))


def test_records_of_which_only_some_have_a_column_are_joined() -> None:
    first, second = predictions(WRITERS[0], [1]), predictions(WRITERS[0], [2, 3])
    second.columns["error"] = np.array(["", "late"], object)
    second.columns["view/load/null/ctl"] = np.array([True, False])
    second.degraded[1] = "{}"
    records = join_records([first, second])
    assert records.columns["error"].tolist() == ["", "", "late"]
    assert records.columns["view/load/null/ctl"].tolist() == [False, True, False]
    assert records.degraded == {2: "{}"}


def test_a_failure_among_predictions_has_no_answer(tmp_path: Path) -> None:
    failure = predictions(WRITERS[0], [2])
    failure.columns = {
        name: column
        for name, column in failure.columns.items()
        if name in ("number", "row", "time", "traffic", "request/key")
    }
    failure.columns["error"] = np.array(["predictor_unavailable"], object)
    write(tmp_path / "log", 0, predictions(WRITERS[0], [1]), failure, predictions(WRITERS[0], [3]))
    export_log(tmp_path / "log", tmp_path / "out")
    rows = pq.read_table(tmp_path / "out" / "predictions").sort_by("prediction_id").to_pylist()
    assert [row["answer"]["y"] for row in rows] == [1 / 3, None, 1.0]
    assert [row["features"]["load"]["wave"] for row in rows] == [[1.0, 1.0], None, [1.0, 1.0]]
    assert [row["error"] for row in rows] == [None, "predictor_unavailable", None]
    assert rows[1]["request"] == {"key": "k2"}
