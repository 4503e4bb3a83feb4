"""The model's private interface: named, typed tensors, and which column stands where in them.

A version's signature is fixed when its bundle is written. Its hash covers the order of the columns, so that a
transformer and a vector log can tell at once whether they speak of the same vectors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import msgspec
from numpy.typing import NDArray

from tandem.contract import Prediction
from tandem.dtypes import Columns
from tandem.errors import DefinitionError

_FEW = 8
"""Columns of an array that are listed one by one."""


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
        # msgspec writes the fields in the order of the struct: the text is the same in every process
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of the vector, tensor after tensor."""
        return tuple(column for tensor in self.inputs for column in tensor.columns)


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
    if column.dtype.kind not in "OUfiub" or _holds_bytes(column):
        raise DefinitionError(f"model input {name!r} is {column.dtype}; a model input is a number, boolean or string")
    return column.dtype.kind in "OU"


def _holds_bytes(column: NDArray[Any]) -> bool:
    return column.dtype == object and column.size > 0 and isinstance(column.flat[0], bytes)


def prediction_tensor(prediction: Prediction, outputs: Sequence[TensorSpec]) -> str:
    """Name of the output tensor that a prediction is, or is a column of.

    Raises:
        DefinitionError: if the graph has several outputs and the prediction names none of them.
    """
    names = [tensor.name for tensor in outputs]
    if prediction.tensor is None and len(names) == 1:
        return names[0]
    target = prediction.tensor or prediction.name
    if target not in names:
        raise DefinitionError(
            f"prediction {prediction.name!r}: name its output with tensor=, one of {', '.join(names)}"
        )
    return target


def describe_columns(columns: Sequence[str]) -> str:
    """Columns in words, those of a long array as one: ``price, embedding[0…383]``."""
    groups = (list(group) for _, group in groupby(columns, lambda column: column.partition("[")[0]))
    return ", ".join(
        ", ".join(group) if len(group) <= _FEW else f"{group[0].removesuffix(']')}…{len(group) - 1}]"
        for group in groups
    )


def column_names(name: str, width: int | None) -> tuple[str, ...]:
    """Names in the vector of a column of the given width: ``x``, or ``x[0]``, ``x[1]`` and so on."""
    return (name,) if width is None else tuple(f"{name}[{index}]" for index in range(width))
