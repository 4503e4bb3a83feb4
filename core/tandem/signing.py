"""The signature of a version, proved on golden rows before a bundle is written."""

from __future__ import annotations

from tandem.assembly import measure_widths
from tandem.binding import bind, check_prediction, with_rows
from tandem.errors import BundleError
from tandem.golden import Golden
from tandem.inputs import Inputs, Tensors
from tandem.onnx_model import OnnxModel
from tandem.pipeline import Pipeline
from tandem.row_independence import check_row_independence
from tandem.signature import Signature, check_types, prediction_tensor


def sign(pipeline: Pipeline, graph: OnnxModel, golden: Inputs) -> tuple[Pipeline, Tensors]:
    """The pipeline with the graph's tensors bound, its transforms shown to be row-independent; and the outputs."""
    pipeline.check_state()
    model = pipeline.model
    columns = pipeline.features(golden).columns
    pipeline.tensors(columns)
    signature = bind(model, measure_widths(model, columns), graph.inputs, graph.outputs)
    check_types(signature, columns)
    # a graph may declare any number of rows: only its results show the number
    results = _run(graph, Pipeline(model, signature, pipeline.state).tensors(columns))
    signature = Signature(signature.inputs, with_rows(graph.outputs, results, len(golden)))
    for prediction in model.contract.predictions:
        check_prediction(prediction, results[prediction_tensor(prediction, graph.outputs)])
    signed = Pipeline(model, signature, pipeline.state)
    for transform in (*model.on_demand, *model.model_dependent):
        check_row_independence(transform, columns, signed.state.get(transform.name, {}))
    return signed, results


def _run(graph: OnnxModel, vectors: Tensors) -> Tensors:
    try:
        return graph.run(vectors)
    except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
        raise BundleError(f"ONNX Runtime fails on the golden rows: {error}") from error


def check_postprocess(pipeline: Pipeline, rows: Golden) -> None:
    """Run post-processing over the golden rows, and check that each of its steps treats each row by itself.

    Raises:
        DefinitionError: naming a step that leaks across rows.
        Internal: if a step fails.
    """
    columns = pipeline.features(rows.known_inputs).columns
    pipeline.predictions(rows.outputs, columns)
    for step in pipeline.model.ordered_postprocess:
        check_row_independence(step, columns, pipeline.state.get(step.name, {}))
