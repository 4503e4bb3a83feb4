"""``tandem log`` on a log that a service has written."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from core.tests.small import write_small

from tandem import Bundle
from tandem.prediction_log.records import LoggedFeedback
from tandem.prediction_log.segments import read_segment
from tandem.prediction_log.spool import segments
from tandem.sampling import random_rows
from tandem.stores.memory import MemoryStore
from tandem_transformer.config import TransformerConfig
from tandem_transformer.metrics import Recorder
from tandem_transformer.prediction_log.metrics import open_log
from tandem_transformer.predictors.inprocess import InProcessPredictor
from tandem_transformer.service import Service

from .test_commands import tandem

ROWS = 30


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, Bundle]:
    parent = tmp_path_factory.mktemp("bundles")
    return write_small(parent / "v1"), write_small(parent / "v2", version="v2", scale=2.0)


@pytest.fixture
def log(bundles: tuple[Bundle, Bundle], tmp_path: Path) -> Path:
    """A log with predictions of the first version, one request each, and feedback about every third."""
    bundle, directory = bundles[0], tmp_path / "log"

    async def run() -> None:
        config = TransformerConfig(model_dir=bundle.path, predictor_protocol="inprocess", prediction_log=str(directory))
        recorder = Recorder(bundle, "small")
        prediction_log = open_log(bundle, "small", config, recorder)
        service = Service(bundle, MemoryStore(), InProcessPredictor(bundle), config, recorder, prediction_log)
        ids = []
        for row in random_rows(bundle.model, ROWS, np.random.default_rng(1)):
            call = service.call(1, None)
            call.rows = msgspec.convert([row], list[service.reader.row_type])  # type: ignore[name-defined]
            service.submit(call)
            ids.append((await call.answer).prediction_id.partition("-"))
        third = ids[::3]
        assert prediction_log is not None
        now = np.datetime64("2026-05-01T08:00:00", "us")
        numbers = [int(number) for _, _, number in third]
        truths = np.array(numbers, np.float64)
        await prediction_log.feedback(
            LoggedFeedback([writer for writer, _, _ in third], numbers, [0] * len(third), truths, now)
        )
        await service.close()

    asyncio.run(run())
    return directory


def test_tail_prints_the_newest_records(log: Path) -> None:
    result = tandem("log", "tail", log, "-n", "4")
    assert result.exit_code == 0, result.output
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [int(line["prediction_id"].partition("-")[2]) for line in lines] == [27, 28, 29, 30]
    assert set(lines[0]["request"]) == {"id", "x", "ts"}
    feedback = tandem("log", "tail", log, "--feedback")
    assert len(feedback.stdout.splitlines()) == 10


def test_export_and_join_write_parquet(log: Path, tmp_path: Path) -> None:
    assert (
        f"exported {ROWS} predictions and 10 records" in tandem("log", "export", log, "--to", tmp_path / "out").stdout
    )
    assert pq.read_table(tmp_path / "out" / "predictions").num_rows == ROWS
    result = tandem("log", "join", log, "--to", tmp_path / "joined", "-o", "json")
    assert json.loads(result.stdout) == {"predictions": ROWS, "joined": 10, "feedback": 10, "unmatched": 0}
    table = pq.read_table(tmp_path / "joined")
    assert sorted(table["truth"].to_pylist()) == [float(number) for number in range(1, 31, 3)]


def test_check_finds_no_bit_and_then_one(log: Path, bundles: tuple[Bundle, Bundle]) -> None:
    result = tandem("log", "check", bundles[0].path, log, "-o", "json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) | {"columns": {}} == {
        "rows": ROWS, "rows_differing": 0, "bits": 0, "columns": {}, "skipped": 0,
    }  # fmt: skip
    other_version = tandem("log", "check", bundles[1].path, log, "-o", "json")
    assert other_version.exit_code == 1, "it has no predictions of this version"
    assert json.loads(other_version.stdout)["skipped"] == ROWS


def test_replay_compares_with_another_version(log: Path, bundles: tuple[Bundle, Bundle]) -> None:
    same = json.loads(tandem("log", "replay", log, "--against", bundles[0].path, "-o", "json").stdout)
    assert (same["rows"], same["largest_difference"] < 1e-3) == (ROWS, True)
    result = tandem("log", "replay", log, "--against", bundles[1].path, "-o", "json")
    assert result.exit_code == 0, result.output
    comparison = json.loads(result.stdout)
    assert comparison["differing"] == ROWS
    assert comparison["mean_replayed"] == pytest.approx(2 * comparison["mean_logged"], rel=1e-3)


def test_a_log_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x-1.log").write_bytes(b"not a segment")
    result = tandem("log", "tail", tmp_path)
    assert result.exit_code == 1
    assert "is not a segment" in result.stderr


def test_the_fixture_has_one_segment(log: Path) -> None:
    (path,) = segments(log)
    assert {kind for kind, _ in read_segment(path)} == {"predictions", "feedback"}
