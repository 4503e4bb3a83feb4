"""Golden rows: a sample of inputs with the vectors, outputs and answers that training made of them.

The outputs come from the training framework itself, not from ONNX Runtime, so that replaying them checks the export
too.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from tandem.archives import read_arrays
from tandem.comparison import first_difference
from tandem.dtypes import Columns
from tandem.errors import BundleError, DefinitionError
from tandem.features import ViewUse
from tandem.inputs import Inputs, Tensors
from tandem.model import Model
from tandem.packed_rows import RowLayout, ViewColumns
from tandem.pipeline import Pipeline
from tandem.single_row import SingleRow

MOST_SINGLE_ROWS = 8
"""Rows that are taken alone when a model is loaded; their vectors cost tens of microseconds each."""

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
        """Write to an ``.npz`` without pickle; strings become fixed-width Unicode, and bytes fixed-width base64.

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
                raise BundleError(f"{name} has no rows: a replay needs at least one")
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
    # from the stored outputs, not from the model: the transformer is ready without a predictor
    answers = pipeline.predictions(golden.outputs, features.columns)
    for name, column in answers.items():
        difference = first_difference(column, golden.answers[name])
        if difference:
            raise BundleError(f"golden replay: {name!r} of the answer differs from training in row {difference[0]}")


def replay_single_rows(single: SingleRow, golden: Golden, model: Model) -> None:
    """Prove that rows have the golden vectors one by one too, bit for bit; those that are not usual ones are left out.

    Args:
        single: Of the pipeline.
        golden: Golden rows with their inputs, of which the first few are taken.
        model: The model.

    Raises:
        BundleError: naming tensor and row.
    """
    inputs = golden.known_inputs.take(slice(0, MOST_SINGLE_ROWS))
    fields = [[_sent(value) for value in column.tolist()] for column in inputs.request.values()]
    stored = [_stored(use, view) for use, view in zip(model.views, inputs.views, strict=True)]
    moments = inputs.as_of.astype(np.int64).tolist()
    for row, (values, moment) in enumerate(zip(zip(*fields, strict=True), moments, strict=True)):
        result = single.tensors(values, [rows[row] for rows in stored], moment)
        for name, tensor in result[0].items() if result is not None else ():
            if first_difference(tensor, golden.vectors[name][row : row + 1]):
                raise BundleError(f"golden replay: tensor {name!r} differs from training in row {row}, taken alone")


def _sent(value: Any) -> Any:
    """A value of a request as a client sends it."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


def _stored(use: ViewUse, view: ViewColumns) -> list[bytes | None]:
    """Rows as a store has them."""
    has_row = ~np.isnat(view.event_time)
    rows = view.take(has_row)
    packed = iter(RowLayout(use.view).pack(rows.columns, rows.event_time, rows.nulls))
    return [next(packed) if is_stored else None for is_stored in has_row.tolist()]


def make_golden(pipeline: Pipeline, inputs: Inputs, outputs: Tensors) -> Golden:
    """Golden rows of the given inputs and the training framework's outputs for them."""
    features = pipeline.features(inputs)
    # golden rows prove answers, and a row that is refused has none
    if features.refused:
        raise next(iter(features.refused.values()))
    vectors = pipeline.tensors(features.columns)
    return Golden(inputs, vectors, outputs, pipeline.predictions(outputs, features.columns))


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
    contents = array.ravel().tolist()
    # NumPy's fixed-width bytes and strings are padded with NULs, of which base64 has none
    if contents and all(isinstance(content, bytes) for content in contents):
        return np.array([b64encode(content) for content in contents])
    if any(not isinstance(text, str) or text.endswith("\0") for text in contents):
        raise DefinitionError(f"golden rows: {name} must be strings that do not end with a NUL")
    return array.astype(str)


def _from_file(array: Any) -> Any:
    if array.dtype.kind == "S":
        return np.array([b64decode(content) for content in array.tolist()], object)
    return array.astype(object) if array.dtype.kind == "U" else array
