from __future__ import annotations

import asyncio
import gc
import hashlib
import weakref
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from onnx import TensorProto, helper

from tandem.errors import BundleError, MalformedRequest, RequestError
from tandem.manifest import MANIFEST, MODEL
from tandem.oip import InferRequest, RequestedOutput, Tensor
from tandem_predictor.config import PredictorConfig
from tandem_predictor.metrics import PredictorMetrics
from tandem_predictor.model import ServedModel
from tandem_predictor.sources import find

from . import graphs
from .conftest import Models


def load(directory: Path, **flags: Any) -> ServedModel:
    (source,) = find(directory)
    return ServedModel(source, PredictorConfig(**flags), PredictorMetrics().of(source.name))


def request(*tensors: Tensor, **rest: Any) -> InferRequest:
    return InferRequest("m", tensors, **rest)


ROWS = Tensor.of("x", np.ones((2, 3), np.float32))


async def test_answer(models: Models) -> None:
    response = await load(models.path / "linear").infer(request(ROWS, id="7"))
    assert (response.model_name, response.model_version, response.id) == ("linear", "1", "7")
    assert response.output("y").datatype == "FP32"
    assert response.output("y").data.tolist() == [[6], [6]]


@pytest.mark.parametrize(
    ("tensors", "outputs", "rule"),
    [
        ([], [], "'x': this input is missing"),
        ([ROWS, Tensor.of("z", np.ones(1))], [], "'z': the model has no such input; it has x"),
        ([Tensor.of("x", np.ones((2, 3)))], [], "'x': datatype is FP64, the model takes FP32"),
        ([Tensor.of("x", np.ones((2, 4), np.float32))], [], r"'x': shape is \[2, 4\], the model takes \[-1, 3\]"),
        ([Tensor.of("x", np.ones(3, np.float32))], [], r"'x': shape is \[3\]"),
        ([ROWS], [RequestedOutput("z")], "'z': the model has no such output; it has y"),
        ([ROWS], [RequestedOutput("y", {"classification": 2})], "'y': classification is not served"),
    ],
)
async def test_refused(tensors: list[Tensor], outputs: list[RequestedOutput], rule: str, models: Models) -> None:
    with pytest.raises(MalformedRequest, match=rule):
        await load(models.path / "linear").infer(request(*tensors, outputs=outputs))


async def test_inputs_with_different_rows(tmp_path: Path) -> None:
    graphs.add(tmp_path / "model.onnx")
    tensors = [Tensor.of("a", np.ones((1, 1), np.float32)), Tensor.of("b", np.ones((2, 1), np.float32))]
    with pytest.raises(MalformedRequest, match="number of rows: 'a' has 1, 'b' has 2"):
        await load(tmp_path).infer(request(*tensors))


async def test_a_bad_value_disturbs_no_other_request(models: Models) -> None:
    model = load(models.path / "lookup", inline_below_ms=0.0)
    good, bad, neighbour = await asyncio.gather(
        *(model.infer(request(Tensor.of("x", np.array([index])))) for index in (0, 99, 2)), return_exceptions=True
    )
    assert not isinstance(good, BaseException)
    assert not isinstance(neighbour, BaseException)
    assert good.output("y").data.tolist() == [10]
    assert neighbour.output("y").data.tolist() == [30]
    assert isinstance(bad, RequestError)


async def test_a_model_of_fixed_shape_is_not_batched(models: Models) -> None:
    model = load(models.path / "fixed", inline_below_ms=0.0)
    responses = await asyncio.gather(*(model.infer(request(ROWS)) for _ in range(3)))
    assert [response.output("y").data.tolist() for response in responses] == [[[6], [6]]] * 3


async def test_text_that_is_not_utf8(models: Models) -> None:
    with pytest.raises(MalformedRequest, match="'x': an element is not UTF-8"):
        await load(models.path / "text").infer(request(Tensor.of("x", np.array([[b"\xff", b""]], object))))


def test_a_bundle_that_answers_wrongly_is_refused(tmp_path: Path) -> None:
    bundle = graphs.linear_bundle(tmp_path, error=0.5)
    with pytest.raises(BundleError, match="golden replay: row 2 of output 'y' is"):
        load(bundle.path)


@pytest.mark.parametrize(("inline_below_ms", "inline"), [(0.0, False), (1e9, True)])
def test_inline_is_decided_by_measurement(inline_below_ms: float, inline: bool, models: Models) -> None:
    assert load(models.path / "linear", inline_below_ms=inline_below_ms).batcher.inline is inline


def test_metrics_do_not_keep_a_model(models: Models) -> None:
    (source,) = find(models.path / "linear")
    metrics = PredictorMetrics()
    model = weakref.ref(ServedModel(source, PredictorConfig(), metrics.of("linear")))
    gc.collect()
    assert model() is None


@pytest.mark.parametrize(
    ("graph", "reason"), [(graphs.centred, "RowsDependOnEachOther"), (graphs.total, "OtherNumberOfRows")]
)
async def test_rows_that_depend_on_each_other_are_not_merged(
    graph: Any, reason: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    graph(tmp_path / "model.onnx")
    model = load(tmp_path, inline_below_ms=0.0)
    assert model.metadata()["parameters"] == {"batching": "off", "batching_reason": reason}
    assert [record.__dict__["reason"] for record in caplog.records] == [reason]
    width = model.metadata()["inputs"][0]["shape"][1]
    rows = [Tensor.of("x", np.full((2, width), [[value], [value + 1]], np.float32)) for value in range(5)]
    alone = [(await model.infer(request(row))).output("y").data.tolist() for row in rows]
    together = await asyncio.gather(*(model.infer(request(row)) for row in rows))
    assert [response.output("y").data.tolist() for response in together] == alone


def test_a_bundle_whose_rows_depend_on_each_other_is_refused(tmp_path: Path) -> None:
    bundle = graphs.linear_bundle(tmp_path)
    vectors = bundle.golden().vectors["x"]
    graphs.save(
        bundle.model_path,
        [
            helper.make_node("MatMul", ["x", "w"], ["sums"]),
            helper.make_node("ReduceMean", ["sums"], ["mean"], axes=[0], keepdims=1),
            helper.make_node("Sub", ["sums", "mean"], ["rest"]),
            helper.make_node("Add", ["rest", "shift"], ["y"]),
        ],
        [("x", TensorProto.FLOAT, [None, 3])],
        [("y", TensorProto.FLOAT, [None, 1])],
        w=np.array([[1], [2], [3]], np.float32),
        shift=(vectors @ np.array([1, 2, 3], np.float32)).mean(),
    )
    sums = {**bundle.manifest.files, MODEL: hashlib.sha256(bundle.model_path.read_bytes()).hexdigest()}
    manifest = msgspec.structs.replace(bundle.manifest, files=sums)
    (bundle.path / MANIFEST).write_bytes(msgspec.json.encode(manifest))  # as if it had been written so
    (source,) = find(bundle.path)
    with pytest.raises(BundleError, match=r"among 4 rows and .*depend on each other"):
        ServedModel(source, PredictorConfig(), PredictorMetrics().of("m"))


async def test_labels_that_claim_to_be_one_are_batched_and_described_as_they_are(tmp_path: Path) -> None:
    graphs.labels(tmp_path / "model.onnx")
    model = load(tmp_path, inline_below_ms=0.0)
    assert [output["shape"] for output in model.metadata()["outputs"]] == [[-1], [-1, 2]]
    assert "parameters" not in model.metadata()
    tensors = [Tensor.of("x", np.array([[a, 1 - a]], np.float32)) for a in (0, 1, 0)]
    responses = await asyncio.gather(*(model.infer(request(tensor)) for tensor in tensors))
    assert [response.output("label").data.tolist() for response in responses] == [[1], [0], [1]]
