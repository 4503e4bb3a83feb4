"""Binding of a model to the tensors of its ONNX graph, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from tandem.contract import Prediction
from tandem.dtypes import array_length
from tandem.errors import DefinitionError
from tandem.model import Model, input_name
from tandem.signature import Signature, TensorSpec, column_names, prediction_tensor


def bind(
    model: Model, widths: Mapping[str, int | None], inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]
) -> Signature:
    """Bind a model's inputs to the tensors of its ONNX graph, by name.

    Args:
        model: The model.
        widths: For each model input, how many elements per row it has; None for a plain column.
        inputs: The graph's inputs, as yet without columns.
        outputs: The graph's outputs.

    Raises:
        DefinitionError: naming the tensor or column that does not fit.
    """
    tensors = {tensor.name: tensor for tensor in inputs}
    bound = []
    for tensor_name, columns in _assignment(model, inputs).items():
        if tensor_name not in tensors:
            raise DefinitionError(f"the ONNX model has no input {tensor_name!r}; it has {', '.join(tensors)}")
        names = tuple(part for column in columns for part in column_names(column, widths[column]))
        bound.append(_fill(tensors.pop(tensor_name), names))
    if tensors:
        raise DefinitionError(f"no column goes into input {', '.join(map(repr, tensors))} of the ONNX model")
    for prediction in model.contract.predictions:
        prediction_tensor(prediction, outputs)
    return Signature(tuple(bound), tuple(outputs))


def with_rows(outputs: Sequence[TensorSpec], results: Mapping[str, NDArray[Any]], rows: int) -> tuple[TensorSpec, ...]:
    """Outputs with a free first dimension, whatever the graph declares: ``[1]`` is common for any number of labels.

    Args:
        outputs: The graph's outputs.
        results: What came out of a run.
        rows: How many rows went in.

    Raises:
        DefinitionError: naming an output that has not a row for each row that went in.
    """
    specs = []
    for spec in outputs:
        shape = results[spec.name].shape
        if shape[:1] != (rows,):
            raise DefinitionError(
                f"output {spec.name!r} of the ONNX model has shape {shape} for {rows} row(s), not a row for each"
            )
        rest = spec.shape[1:] if len(spec.shape) == len(shape) else (-1,) * (len(shape) - 1)
        specs.append(TensorSpec(spec.name, spec.dtype, (), (-1, *rest)))
    return tuple(specs)


def check_prediction(prediction: Prediction, result: NDArray[Any]) -> None:
    """Refuse an output that has not the prediction's numbers in each row, and of which it names no column.

    Args:
        prediction: The prediction.
        result: The output that :func:`prediction_tensor` names, of some rows.

    Raises:
        DefinitionError: naming the output, and how to choose a column.
    """
    where = f"prediction {prediction.name!r}: its output has shape {(-1, *result.shape[1:])}"
    width = result.shape[1] if result.ndim == 2 else None
    length = array_length(prediction.type)
    if length is not None:
        if width != length:
            raise DefinitionError(f"{where}; a {prediction.type} has {length} numbers in each row")
    elif prediction.column is None:
        if result.ndim > 1 and width != 1:
            raise DefinitionError(f"{where}; choose one of its columns, from 0, with column=")
    elif width is None or prediction.column >= width:
        raise DefinitionError(f"{where}, which has no column {prediction.column}")


def _fill(tensor: TensorSpec, columns: tuple[str, ...]) -> TensorSpec:
    """An input of the graph with its columns, if these fit it."""
    subject = f"input {tensor.name!r} of the ONNX model"
    if len(tensor.shape) not in (1, 2) or tensor.width not in (None, -1, len(columns)):
        raise DefinitionError(
            f"{subject} has shape {tensor.shape}, the model package gives it {len(columns)} column(s)"
        )
    # batches have any number of rows
    if tensor.shape[0] != -1:
        raise DefinitionError(
            f"{subject} takes exactly {tensor.shape[0]} row(s); export it with a free first dimension"
        )
    if tensor.width is None and len(columns) != 1:
        raise DefinitionError(f"{subject} takes one column, not {len(columns)}")
    return TensorSpec(tensor.name, tensor.dtype, columns, (-1,) if tensor.width is None else (-1, len(columns)))


def _assignment(model: Model, inputs: Sequence[TensorSpec]) -> dict[str, tuple[str, ...]]:
    """Which model inputs go into which tensor: as the author says, else one tensor for all, or one for each."""
    if None not in model.inputs:
        return {str(tensor): tuple(map(input_name, columns)) for tensor, columns in model.inputs.items()}
    columns = tuple(map(input_name, model.inputs[None]))
    if len(inputs) == 1:
        return {inputs[0].name: columns}
    return {column: (column,) for column in columns}
