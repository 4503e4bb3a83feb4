from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from onnx import TensorProto

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
