"""The model's private interface: named, typed tensors, and which column stands where in them.

A version's signature is fixed when its bundle is written. Its hash covers the order of the columns, so that a
transformer and a vector log can tell at once whether they speak of the same vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from numpy.typing import NDArray

from tandem.dtypes import Columns
from tandem.errors import DefinitionError
from tandem.model import Model, input_name


class TensorSpec(msgspec.Struct, frozen=True):
    """One tensor of the model.

    Attributes:
        name: Its name in the ONNX graph.
        dtype: NumPy name of its element type, ``object`` for strings.
        columns: Names of the columns that it holds, in order; empty for outputs.
        shape: Its shape as in the ONNX graph, -1 where a dimension is free; the first is the rows.
    """

    name: str
    dtype: str
    columns: tuple[str, ...]
    shape: tuple[int, ...]

    @property
    def width(self) -> int | None:
        """Elements per row: ``None`` for a tensor of shape ``(rows,)``."""
        return None if len(self.shape) < 2 else self.shape[1]


class Signature(msgspec.Struct, frozen=True):
    """Input and output tensors of one version."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def hash(self) -> str:
        """SHA-256 over names, dtypes and the order of the columns, in hex."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of the vector, tensor after tensor."""
        return tuple(column for tensor in self.inputs for column in tensor.columns)


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
        raise DefinitionError(f"nothing is given to input {', '.join(map(repr, tensors))} of the ONNX model")
    prediction_tensor(model, outputs)
    return Signature(tuple(bound), tuple(outputs))


def check_types(signature: Signature, columns: Columns) -> None:
    """Refuse columns of another kind than the tensors that they go into.

    Raises:
        DefinitionError: naming tensor and column.
    """
    for tensor in signature.inputs:
        for name in dict.fromkeys(column.partition("[")[0] for column in tensor.columns):
            strings = holds_strings(name, columns[name])
            if strings != (tensor.dtype == "object"):
                kind = "strings" if tensor.dtype == "object" else tensor.dtype
                own = "strings" if strings else columns[name].dtype
                raise DefinitionError(f"input {tensor.name!r} of the ONNX model takes {kind}, column {name!r} is {own}")


def holds_strings(name: str, column: NDArray[Any]) -> bool:
    """Whether a model input has strings and not numbers.

    Raises:
        DefinitionError: if it has neither.
    """
    if column.dtype.kind not in "OUfiub":
        raise DefinitionError(f"model input {name!r} is {column.dtype}; a model input is a number, boolean or string")
    return column.dtype.kind in "OU"


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


def check_prediction(model: Model, result: NDArray[Any]) -> None:
    """Refuse an output that is not one value per row, and of which the prediction names no column.

    Args:
        model: The model.
        result: The output that :func:`prediction_tensor` names, of some rows.

    Raises:
        DefinitionError: naming the output, and how to choose a column.
    """
    prediction = model.contract.prediction
    where = f"prediction {prediction.name!r}: its output has shape {(-1, *result.shape[1:])}"
    width = result.shape[1] if result.ndim == 2 else None
    if prediction.column is None:
        if result.ndim > 1 and width != 1:
            raise DefinitionError(f"{where}; choose one of its columns, from 0, with column=")
    elif width is None or prediction.column >= width:
        raise DefinitionError(f"{where}, which has no column {prediction.column}")


def prediction_tensor(model: Model, outputs: Sequence[TensorSpec]) -> str:
    """Name of the output tensor that is the prediction.

    Raises:
        DefinitionError: if the graph has several outputs and the prediction names none of them.
    """
    names = [tensor.name for tensor in outputs]
    prediction = model.contract.prediction
    if prediction.tensor is None and len(names) == 1:
        return names[0]
    target = prediction.tensor or prediction.name
    if target not in names:
        raise DefinitionError(
            f"prediction {prediction.name!r}: name its output with tensor=, one of {', '.join(names)}"
        )
    return target


def column_names(name: str, width: int | None) -> tuple[str, ...]:
    """Names in the vector of a column of the given width: ``x``, or ``x[0]``, ``x[1]`` and so on."""
    return (name,) if width is None else tuple(f"{name}[{index}]" for index in range(width))


def _fill(tensor: TensorSpec, columns: tuple[str, ...]) -> TensorSpec:
    """An input of the graph with its columns, if these fit it."""
    subject = f"input {tensor.name!r} of the ONNX model"
    if len(tensor.shape) not in (1, 2) or tensor.width not in (None, -1, len(columns)):
        raise DefinitionError(
            f"{subject} has shape {tensor.shape}, the model package gives it {len(columns)} column(s)"
        )
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
