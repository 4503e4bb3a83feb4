"""The transforms of a bundle as an ONNX graph, for programs that have ONNX Runtime and no Python.

The graph takes a column for each field and feature that the model reads, and gives the input tensors of ``model.onnx``.
What stands for missing and old values is not in it, nor is post-processing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tandem.assembly import Assembly
from tandem.bundle import Bundle
from tandem.dtypes import Columns
from tandem.errors import DefinitionError
from tandem.onnx_files import Graph
from tandem.onnx_graphs import ELEMENT_TYPES, GraphWriter
from tandem.onnx_model import OnnxModel
from tandem.pipeline import Pipeline
from tandem.tracing import SAMPLE_ROWS, NotTraceable, Traced


@dataclass(frozen=True)
class PipelineGraph:
    """What could be written of a pipeline.

    Attributes:
        content: The ONNX file; None if a transform, or an input of the model, cannot be written.
        written: Names of the transforms that can be written.
        refused: Names of the others, and what they do that cannot be written.
    """

    content: bytes | None
    written: tuple[str, ...]
    refused: Mapping[str, str]


def write_pipeline(bundle: Bundle) -> PipelineGraph:
    """Write the transforms of a bundle as a graph, and run its golden rows through it.

    Args:
        bundle: The bundle.

    Raises:
        DefinitionError: if the graph does not give the golden vectors; names tensor and row. NumPy and ONNX Runtime
            may differ in the last bits of functions such as ``exp``.
        BundleError: if the bundle's code is refused.
    """
    pipeline = bundle.pipeline()
    golden = bundle.golden_inputs()
    columns = pipeline.given(golden.known_inputs).columns
    trace = _Trace({name: column[:SAMPLE_ROWS] for name, column in columns.items()})
    for step in pipeline.steps:
        trace.run(step.name, step.function, step.inputs)
    content = trace.finish(pipeline, bundle.wire_name)
    if content is not None:
        _check(content, {name: columns[name] for name in trace.inputs}, golden.vectors)
    return PipelineGraph(content, tuple(trace.written), trace.refused)


class _Trace:
    """Columns of a pipeline as values of a graph."""

    def __init__(self, given: Columns) -> None:
        self.graph = GraphWriter()
        self.written: list[str] = []
        self.refused: dict[str, str] = {}
        self.inputs: list[str] = []
        self._given = given
        self._columns: dict[str, Traced] = {}

    def column(self, name: str) -> Traced:
        """A column; the first use of one that is given makes it an input."""
        if name not in self._columns:
            if name not in self._given:
                raise NotTraceable(f"reads {name}, which cannot be written")
            sample = self._given[name]
            if str(sample.dtype) not in ELEMENT_TYPES:
                raise NotTraceable(f"reads {name}, which is {sample.dtype}")
            self.graph.input(name, str(sample.dtype), (None, *sample.shape[1:]))
            self.inputs.append(name)
            self._columns[name] = Traced(self.graph, name, sample)
        return self._columns[name]

    def run(self, name: str, function: Any, inputs: tuple[str, ...]) -> None:
        """Call a transform; it is written, or refused."""
        try:
            result = function(*[self.column(source) for source in inputs])
            if not isinstance(result, Traced):
                raise NotTraceable("does not compute with its columns")
            self._columns[name] = result
            self.written.append(name)
        except NotTraceable as error:
            self.refused[name] = str(error)
        except Exception as error:
            self.refused[name] = f"{type(error).__name__}: {error}"

    def finish(self, pipeline: Pipeline, name: str) -> bytes | None:
        """The graph with the input tensors of the model as its outputs; None if anything is refused."""
        if self.refused:
            return None
        for assembly in pipeline.assembly:
            try:
                self._assemble(assembly)
            except NotTraceable as error:
                self.refused[f"tensor {assembly.tensor.name}"] = str(error)
        return None if self.refused else self.graph.content(name)

    def _assemble(self, assembly: Assembly) -> None:
        tensor, dtype = assembly.tensor, assembly.dtype
        columns = [self.column(name) for name, _ in assembly.sources]
        if len(tensor.shape) == 1:
            self.graph.node("Identity", [columns[0].cast(dtype)], tensor.name)
            self.graph.output(tensor.name, str(dtype), (None,))
            return
        parts = [column if column.ndim == 2 else column[:, None] for column in columns]
        self.graph.node("Concat", [part.cast(dtype) for part in parts], tensor.name, axis=1)
        self.graph.output(tensor.name, str(dtype), (None, len(tensor.columns)))


def _check(content: bytes, columns: Columns, vectors: Mapping[str, Any]) -> None:
    """Refuse a graph that does not give the golden vectors."""
    outputs = OnnxModel(Graph(content, {})).run(columns)
    for name, expected in vectors.items():
        if expected.dtype.kind == "f":
            close = np.isclose(outputs[name], expected, rtol=1e-6, atol=1e-12, equal_nan=True)
        else:
            close = outputs[name] == expected
        if not close.all():
            row = int(np.argwhere(~close)[0][0])
            raise DefinitionError(f"the transforms as ONNX give another tensor {name!r} in row {row} than in training")
