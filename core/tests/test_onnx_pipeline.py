"""Transforms as ONNX compute what NumPy does, and those that cannot be written are named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tandem import Bundle, DefinitionError
from tandem.comparison import first_difference
from tandem.onnx_files import Graph
from tandem.onnx_graphs import GraphWriter
from tandem.onnx_model import OnnxModel
from tandem.onnx_pipeline import write_pipeline
from tandem.tracing import _OPERATORS, NotTraceable, Traced

COLUMNS: dict[str, Any] = {
    "x": np.array([0.5, -1.5, np.nan, np.inf, -0.0, 2.5, 1e300]),
    "y": np.array([2.0, -1.5, 1.0, -np.inf, np.nan, 0.1, 1e300]),
    "f": np.array([0.1, 0.2, -3.5, 1e30, 0.0, 7.0, 2.5], np.float32),
    "n": np.array([3, -7, 0, 2**40, 1, 1, 5]),
    "sure": np.array([True, False, True, False, True, False, True]),
    "text": np.array(["a", "b", "", "ö", "a", "c", "b"], object),
    "list": np.arange(14.0).reshape(7, 2),
}
WORDS = np.array(["a", "ö", "?"])

FUNCTIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "arithmetic": lambda c: (c["x"] - 1.5) / 2.0 + c["y"] * c["x"] - 3 / c["n"],
    "whole numbers": lambda c: 7 - c["n"] * 2 + abs(-c["n"]),
    "of two types": lambda c: c["f"] * c["x"] + c["n"],
    "narrow": lambda c: (c["f"] + 1.5) * c["f"] - np.float32(0.1),
    "functions": lambda c: np.exp(-abs(c["x"])) + np.sqrt(abs(c["y"])) + np.tanh(c["x"]) + np.cos(c["n"]),
    "logarithm": lambda c: np.log(c["x"]),
    "rounded": lambda c: np.floor(c["x"]) + np.ceil(c["f"]) + np.rint(c["x"] * 1.0) + np.sign(c["f"]),
    "powers": lambda c: c["f"] ** 2 + np.square(c["f"]),
    "extremes": lambda c: np.minimum(c["x"], c["y"]) + 0.0,
    "greatest": lambda c: np.maximum(c["y"], c["x"]),
    "limits": lambda c: np.clip(c["x"], -1.0, 2.0),
    "limits as a method": lambda c: c["x"].clip(0.0),
    "of whole numbers": lambda c: np.maximum(c["n"], 2),
    "comparisons": lambda c: ((c["x"] < c["y"]) | (c["n"] >= 1) & ~c["sure"]) ^ (c["x"] == 0.5) ^ (c["f"] != c["x"]),
    "chosen": lambda c: np.where(c["x"] > 0, c["x"], c["n"]),
    "null": lambda c: np.where(np.isnan(c["x"]), -1.0, c["x"]),
    "without null": lambda c: np.nan_to_num(c["x"]) + np.nan_to_num(c["n"]),
    "other types": lambda c: c["sure"].astype(float) + c["n"].astype(np.float64) + c["f"].astype("float64"),
    "one hot": lambda c: (c["text"][:, None] == WORDS[None, :]).astype(np.float64),
    "a text": lambda c: (c["text"] == "a") & (c["text"] != "b"),
    "a column of an array": lambda c: c["list"][:, 1] * 2.0,
    "an array": lambda c: c["list"] / c["x"][:, None],
}


def run(function: Callable[[dict[str, Any]], Any]) -> Any:
    """What a function gives as ONNX."""
    graph = GraphWriter()
    for name, column in COLUMNS.items():
        graph.input(name, str(column.dtype), (None, *column.shape[1:]))
    result = function({name: Traced(graph, name, column[:2]) for name, column in COLUMNS.items()})
    graph.node("Identity", [result.name], "result")
    graph.output("result", str(result.dtype), (None, *result.sample.shape[1:]))
    return OnnxModel(Graph(graph.content("test"), {})).run(COLUMNS)["result"]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_gives_what_it_gives_with_numpy(name: str) -> None:
    with np.errstate(all="ignore"):
        expected = FUNCTIONS[name](COLUMNS)
    result = run(FUNCTIONS[name])
    assert (result.dtype, result.shape) == (expected.dtype, expected.shape)
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(result, expected, rtol=1e-6 if expected.dtype == np.float32 else 1e-14)
    else:
        np.testing.assert_array_equal(result, expected)


def branch(c: dict[str, Any]) -> Any:
    return c["x"] if c["x"] > 0 else c["y"]


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a branch": (branch, "reads single values"),
    "a loop": (lambda c: np.array(list(c["x"])), "reads single values"),
    "an average": (lambda c: c["x"] - c["x"].mean(), r"uses \.mean of an array"),
    "a sum": (lambda c: np.add.reduce(c["x"]), r"calls numpy\.add with reduce"),
    "an output": (lambda c: np.add(c["x"], 1, where=c["sure"]), r"calls numpy\.add with where"),
    "another function": (lambda c: np.median(c["x"]), r"calls numpy\.median"),
    "another operator": (lambda c: c["n"] % 3, r"calls numpy\.remainder"),
    "rows": (lambda c: c["x"][::-1], "takes rows by their number"),
    "texts": (lambda c: c["text"].astype(float), "could not convert|turns object into"),
    "bits": (lambda c: ~c["n"], r"calls numpy\.invert of int64"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_written_is_said(name: str) -> None:
    function, reason = REFUSED[name]
    with pytest.raises((NotTraceable, ValueError), match=reason):
        run(function)


def test_a_pipeline_gives_the_golden_vectors(bundle: Bundle, tmp_path: Path) -> None:
    graph = write_pipeline(bundle)
    assert graph.refused == {} and graph.content is not None
    assert set(graph.written) == {"hours", "city_hours_old", "standardize_distance_km", "one_hot_zone"}
    (tmp_path / "pipeline.onnx").write_bytes(graph.content)
    model = OnnxModel(tmp_path / "pipeline.onnx")
    golden = bundle.golden_inputs()
    given = bundle.pipeline().given(golden.known_inputs).columns
    outputs = model.run({spec.name: given[spec.name] for spec in model.inputs})
    for name, vector in golden.vectors.items():
        assert first_difference(outputs[name], vector) is None


def test_transforms_that_cannot_be_written_are_named(make_package: Any, train_package: Any, source: str) -> None:
    changed = source.replace("return distance_km / speed", "return distance_km / np.array([s for s in speed])")
    changed = changed.replace("return np.nan_to_num(city_age) / 3600.0", "return np.log1p(np.nan_to_num(city_age))")
    trained = train_package(make_package(source=changed))
    graph = write_pipeline(trained.write(trained.package.parent / "bundles"))
    assert graph.content is None
    assert set(graph.written) == {"standardize_distance_km", "one_hot_zone"}
    assert graph.refused["hours"].startswith("reads single values")
    assert graph.refused["city_hours_old"] == "calls numpy.log1p of float64"


def test_a_graph_that_differs_from_training_is_refused(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(_OPERATORS, "divide", "Mul")  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match="give another tensor 'X' in row 0 than in training"):
        write_pipeline(bundle)
