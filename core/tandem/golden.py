"""Golden rows: a sample of inputs with the vectors, outputs and answers that training made of them.

The outputs come from the training framework itself, not from ONNX Runtime, so that replaying them checks the export
too.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import msgspec
import numpy as np
from numpy.typing import NDArray

from tandem.archives import read_arrays
from tandem.contract import Columns
from tandem.errors import BundleError, DefinitionError
from tandem.features import ViewColumns
from tandem.model import Model
from tandem.pipeline import Inputs, Pipeline, Tensors
from tandem.signature import Signature, TensorSpec


class Tolerance(msgspec.Struct, frozen=True):
    """How far a prediction may be from the training framework's: ``|a - b| <= atol + rtol * |b|``."""

    rtol: float = 1e-5
    atol: float = 1e-6


DEFAULT_TOLERANCES = {
    "CPUExecutionProvider": Tolerance(),
    "CUDAExecutionProvider": Tolerance(1e-4, 1e-5),
    "TensorrtExecutionProvider": Tolerance(1e-3, 1e-4),
}


MAX_UNPACKED_BYTES = 256 * 2**20
"""Most bytes that the golden rows of a bundle may have in memory."""


@dataclass(frozen=True)
class Golden:
    """Golden rows of one bundle.

    Attributes:
        inputs: Request, features and as-of; None where the file was read for its vectors only.
        vectors: The input tensors.
        outputs: Output tensors as the training framework computed them.
        answers: The fields of the answers that follow from these outputs.
    """

    inputs: Inputs | None
    vectors: Tensors
    outputs: Tensors
    answers: Columns

    def save(self, path: Path, model: Model) -> None:
        """Write to an ``.npz`` without pickle; strings become fixed-width Unicode.

        Raises:
            DefinitionError: for a string that ends with a NUL, which would be lost.
        """
        inputs = self.known_inputs
        arrays: dict[str, Any] = {"as_of": inputs.as_of}
        arrays |= {f"request/{name}": column for name, column in inputs.request.items()}
        for use, view in zip(model.views, inputs.views, strict=True):
            arrays[f"view/{use.name}/event_time"] = view.event_time
            arrays |= {f"view/{use.name}/feature/{name}": column for name, column in view.columns.items()}
            arrays |= {f"view/{use.name}/null/{name}": mask for name, mask in view.nulls.items()}
        for part, tensors in (("vector", self.vectors), ("output", self.outputs), ("answer", self.answers)):
            arrays |= {f"{part}/{name}": tensor for name, tensor in tensors.items()}
        np.savez_compressed(path, **{name: _to_file(name, array) for name, array in arrays.items()})

    @property
    def known_inputs(self) -> Inputs:
        """The inputs.

        Raises:
            BundleError: if they were not read.
        """
        if self.inputs is None:
            raise BundleError("the golden rows were read without their inputs")
        return self.inputs

    @classmethod
    def load(cls, path: Path, model: Model | None = None) -> Golden:
        """Read golden rows.

        Args:
            path: The ``.npz``.
            model: The model, to read inputs too; the predictor has none.

        Raises:
            BundleError: if the file is damaged, or lacks a column of the model.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BundleError(f"{path.name}: {error}") from error
        return cls.read(path.name, content, model)

    @classmethod
    def read(cls, name: str, content: bytes, model: Model | None = None) -> Golden:
        """As :meth:`load`, out of memory.

        Args:
            name: Name of the file, for errors.
            content: The file; unpacked it has at most :data:`MAX_UNPACKED_BYTES`.
            model: As there.
        """
        try:
            arrays = {key: _from_file(array) for key, array in read_arrays(content, MAX_UNPACKED_BYTES).items()}
            parts = {part: _under(arrays, f"{part}/") for part in ("vector", "output", "answer")}
            if not all(len(tensor) for tensor in parts["vector"].values()):
                raise BundleError(f"{name} has no rows: it would prove nothing")
            return cls(_inputs(arrays, model) if model else None, parts["vector"], parts["output"], parts["answer"])
        except KeyError as error:
            raise BundleError(f"{name}: no {error} among the golden rows") from error
        except (ValueError, OSError, EOFError, NotImplementedError, BadZipFile, zlib.error) as error:
            raise BundleError(f"{name}: {error}") from error


def replay_vectors(pipeline: Pipeline, golden: Golden) -> None:
    """Prove that the pipeline still makes the golden vectors and answers, bit for bit.

    Raises:
        BundleError: naming the column and row that differ.
    """
    features = pipeline.features(golden.known_inputs)
    tensors = pipeline.tensors(features.columns)
    for tensor in pipeline.signature.inputs:
        difference = first_difference(tensors[tensor.name], golden.vectors[tensor.name])
        if difference:
            row, element = difference
            where = f"column {tensor.columns[element]!r} of tensor {tensor.name!r}"
            raise BundleError(f"golden replay: {where} differs from training in row {row}")
    answers = pipeline.predictions(golden.outputs, features.columns)
    for name, column in answers.items():
        difference = first_difference(column, golden.answers[name])
        if difference:
            raise BundleError(f"golden replay: {name!r} of the answer differs from training in row {difference[0]}")


def check_outputs(found: Tensors, expected: Tensors, tolerance: Tolerance) -> None:
    """Compare output tensors with those of the training framework.

    Args:
        found: Output tensors of the serving runtime.
        expected: The golden outputs; tensors without one are not compared.
        tolerance: How far numbers may be apart; everything else must be equal.

    Raises:
        BundleError: naming the tensor, the row and both values where they are furthest apart.
    """
    for name, reference in expected.items():
        if found[name].size != reference.size:
            raise BundleError(f"golden replay: output {name!r} has shape {found[name].shape}, not {reference.shape}")
        actual = found[name].reshape(reference.shape)
        row = worst_row(actual, reference, tolerance)
        if row is not None:
            allowed = (
                f"; allowed are rtol {tolerance.rtol:g} and atol {tolerance.atol:g}"
                if reference.dtype.kind == "f"
                else ""
            )
            raise BundleError(
                f"golden replay: row {row} of output {name!r} is {actual[row]}, training says {reference[row]}{allowed}"
            )


def worst_row(found: NDArray[Any], expected: NDArray[Any], tolerance: Tolerance) -> int | None:
    """The row that is furthest out of tolerance; None if all rows are within it.

    Args:
        found: A tensor of the shape of ``expected``.
        expected: What it should be, rows along the first axis.
        tolerance: How far numbers may be apart; everything else must be equal, and NaN is equal to NaN.
    """
    if found.shape != expected.shape:
        return 0
    if expected.dtype.kind != "f":
        wrong = np.flatnonzero((found != expected).reshape(len(expected), -1).any(axis=1))
        return int(wrong[0]) if len(wrong) else None
    with np.errstate(invalid="ignore"):
        excess = np.abs(found - expected) - (tolerance.atol + tolerance.rtol * np.abs(expected))
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    excess = np.where(same, -np.inf, np.where(np.isnan(excess), np.inf, excess))
    if excess.max(initial=-np.inf) <= 0:
        return None
    return int(np.argmax(excess.reshape(len(expected), -1).max(axis=1)))


def first_difference(left: Any, right: Any) -> tuple[int, int] | None:
    """Row and element of the first difference of two tensors, bit for bit; None if they are the same.

    Tensors of different shape or dtype differ at row 0.
    """
    if left.shape != right.shape or left.dtype != right.dtype:
        return 0, 0
    if not left.size:
        return None
    if left.dtype == object:
        different = left != right
    else:
        bits = np.dtype((np.void, left.dtype.itemsize))
        different = np.ascontiguousarray(left).view(bits) != np.ascontiguousarray(right).view(bits)
    where = np.argwhere(different.reshape(len(left), -1))
    return (int(where[0][0]), int(where[0][1])) if len(where) else None


def make(pipeline: Pipeline, inputs: Inputs, outputs: Tensors) -> Golden:
    """Golden rows of the given inputs and the training framework's outputs for them."""
    features = pipeline.features(inputs)
    if features.refused:
        raise next(iter(features.refused.values()))
    vectors = pipeline.tensors(features.columns)
    return Golden(inputs, vectors, outputs, pipeline.predictions(outputs, features.columns))


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
    if strange := outputs.keys() - specs.keys():
        raise DefinitionError(
            f"expected: the model has no output {', '.join(sorted(strange))}; it has {', '.join(specs)}"
        )
    if prediction_tensor not in outputs:
        raise DefinitionError(f"expected: the values of output {prediction_tensor!r} are missing")
    for name, step in (readers or {}).items():
        if name not in outputs:
            raise DefinitionError(
                f"expected: the values of output {name!r} are missing, which {step} reads; give a dict by output"
            )
    return {name: _as_output(specs[name], values, rows) for name, values in outputs.items()}


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


def _inputs(arrays: dict[str, Any], model: Model) -> Inputs:
    views = []
    for use in model.views:
        here = _under(arrays, f"view/{use.name}/")
        features, nulls = _under(here, "feature/"), _under(here, "null/")
        views.append(ViewColumns({f.name: features[f.name] for f in use.view.features}, here["event_time"], nulls))
    request = _under(arrays, "request/")
    return Inputs({name: request[name] for name in model.contract.inputs}, tuple(views), arrays["as_of"])


def _under(arrays: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _to_file(name: str, array: Any) -> Any:
    if array.dtype != object:
        return array
    if any(not isinstance(text, str) or text.endswith("\0") for text in array.ravel().tolist()):
        raise DefinitionError(f"golden rows: {name} must be strings that do not end with a NUL")
    return array.astype(str)


def _from_file(array: Any) -> Any:
    return array.astype(object) if array.dtype.kind == "U" else array
