from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tandem_predictor.session import Session
from tandem_predictor.warmup import warm_up

from . import graphs


def test_a_model_of_rows(tmp_path: Path) -> None:
    observed = warm_up(Session(graphs.linear(tmp_path / "model.onnx")), 8)
    assert observed.batchable
    assert 0 < observed.seconds < math.inf


def test_a_model_that_only_claims_to_have_rows(tmp_path: Path) -> None:
    assert not warm_up(Session(graphs.total(tmp_path / "model.onnx")), 8).batchable


def test_a_model_of_fixed_shape(tmp_path: Path) -> None:
    assert not warm_up(Session(graphs.linear(tmp_path / "model.onnx", rows=2)), 8).batchable


def test_text(tmp_path: Path) -> None:
    assert warm_up(Session(graphs.identity(tmp_path / "model.onnx", TensorProto.STRING)), 8).batchable


def test_a_refused_sample(tmp_path: Path) -> None:
    observed = warm_up(Session(graphs.lookup(tmp_path / "model.onnx")), 8, {"x": np.array([99])})
    assert observed.seconds == math.inf
    assert observed.batchable


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (graphs.centred, "RowsDependOnEachOther"),
        (graphs.recurrent, "RowsDependOnEachOther"),
        (graphs.total, "OtherNumberOfRows"),
        (graphs.linear, ""),
        (graphs.lookup, ""),
        (graphs.labels, ""),
    ],
)
def test_rows_are_compared_together_and_alone(graph: Any, reason: str, tmp_path: Path) -> None:
    assert warm_up(Session(graph(tmp_path / "model.onnx")), 8).reason == reason


def test_a_model_that_takes_no_made_up_input_is_not_batched(tmp_path: Path) -> None:
    model = graphs.save(
        tmp_path / "model.onnx",
        [helper.make_node("Sub", ["x", "first"], ["at"]), helper.make_node("Gather", ["table", "at"], ["y"])],
        [("x", TensorProto.INT64, [None])],
        [("y", TensorProto.FLOAT, [None])],
        first=np.array(2000),
        table=np.array([10, 20, 30], np.float32),
    )
    observed = warm_up(Session(model), 8)
    assert (observed.reason, observed.seconds) == ("NotCompared", math.inf)


def test_a_model_whose_made_up_rows_are_all_equal_is_not_batched(tmp_path: Path) -> None:
    model = graphs.save(
        tmp_path / "model.onnx",
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [("x", TensorProto.INT64, [None])],
        [("y", TensorProto.FLOAT, [None])],
        table=np.array([10], np.float32),
    )
    assert warm_up(Session(model), 8).reason == "NotCompared"
