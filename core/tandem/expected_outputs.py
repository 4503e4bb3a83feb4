"""The training framework's predictions as output tensors of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tandem.errors import DefinitionError
from tandem.inputs import Tensors
from tandem.signature import Signature, TensorSpec


def as_outputs(
    signature: Signature, expected: Any, prediction_tensor: str, rows: int, *, readers: Mapping[str, str] | None = None
) -> Tensors:
    """The training framework's predictions in the shape and dtype of the model's output tensors.

    Args:
        signature: The model's tensors.
        expected: Predictions of shape ``(rows,)`` or ``(rows, 1)``, or all outputs by tensor name.
        prediction_tensor: Which output the predictions are.
        rows: How many golden rows there are.
        readers: Which post-processing step reads an output, by output.

    Raises:
        DefinitionError: naming the output whose expected values are missing or have another shape.
    """
    outputs = expected if isinstance(expected, Mapping) else {prediction_tensor: expected}
    specs = {spec.name: spec for spec in signature.outputs}
    _check_names(outputs, specs, prediction_tensor, readers or {})
    return {name: _as_output(specs[name], values, rows) for name, values in outputs.items()}


def _check_names(
    outputs: Mapping[str, Any], specs: Mapping[str, TensorSpec], prediction_tensor: str, readers: Mapping[str, str]
) -> None:
    """Refuse outputs that the model does not have, and the lack of those that are read."""
    if strange := outputs.keys() - specs.keys():
        raise DefinitionError(
            f"expected: the model has no output {', '.join(sorted(strange))}; it has {', '.join(specs)}"
        )
    if prediction_tensor not in outputs:
        raise DefinitionError(f"expected: the values of output {prediction_tensor!r} are missing")
    for name, step in readers.items():
        if name not in outputs:
            raise DefinitionError(
                f"expected: the values of output {name!r} are missing, which {step} reads; give a dict by output"
            )


def _as_output(spec: TensorSpec, values: Any, rows: int) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim in (1, 2) and len(spec.shape) in (1, 2) and array.size == len(array):
        # one value per row, with or without an axis of its own
        array = array.reshape((len(array), 1)[: len(spec.shape)])
    shape = (rows, *spec.shape[1:]) if spec.shape else (rows, *array.shape[1:])
    fits = array.ndim == len(shape) and all(size in (-1, have) for size, have in zip(shape, array.shape, strict=True))
    if not fits:
        raise DefinitionError(
            f"expected: output {spec.name!r} has shape {np.shape(values)}; for {rows} golden rows it must be {shape}"
        )
    return array.astype(np.dtype(spec.dtype))
