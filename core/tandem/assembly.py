"""Columns of a batch assembled into the input tensors of the model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tandem.dtypes import Columns
from tandem.elements import describe_rule, find_misfits
from tandem.errors import ContractViolation, Internal, Violation
from tandem.model import Model, input_name
from tandem.signature import TensorSpec


class Assembly:
    """Copies columns into one input tensor, casting to its element type what that can hold."""

    def __init__(self, tensor: TensorSpec) -> None:
        self.tensor = tensor
        self.dtype = np.dtype(tensor.dtype)
        self.is_float = self.dtype.kind == "f"
        # blocks of several elements per row are written x[0], x[1], … in the signature
        sources: dict[str, int] = {}
        for column in tensor.columns:
            name = column.partition("[")[0]
            sources[name] = sources.get(name, 0) + 1
        self.sources = list(sources.items())
        self.plain = list(sources) if list(sources) == list(tensor.columns) and self.dtype != object else []

    def assemble(self, columns: Columns) -> NDArray[Any]:
        """The tensor, C-contiguous.

        Raises:
            ContractViolation: for values that its element type cannot hold.
            Internal: ``transform_failed`` if a column has another width than the signature.
        """
        if self.is_float:
            # the cast shows an overflow as an infinity: one check of the result replaces one of each column
            tensor = self._fill(columns)
            if np.count_nonzero(np.isinf(tensor)):
                self._check(columns)
            return tensor
        if self.dtype != object:
            self._check(columns)
        return self._fill(columns)

    def _check(self, columns: Columns) -> None:
        """Refuse values that the element type cannot hold."""
        violations = []
        for source, _ in self.sources:
            wrong = find_misfits(columns[source], self.dtype)
            for row, *element in np.argwhere(wrong).tolist() if wrong.any() else ():
                name = f"{source}[{element[0]}]" if element else source
                violations.append(Violation(row, name, describe_rule(self.dtype)))
        if violations:
            raise ContractViolation(sorted(violations, key=lambda violation: violation.row or 0))

    def _fill(self, columns: Columns) -> NDArray[Any]:
        name = self.tensor.name
        first = columns[self.sources[0][0]]
        if len(self.tensor.shape) == 1:
            return np.ascontiguousarray(first, dtype=self.dtype)
        plain = [columns[source] for source in self.plain]
        # one call of NumPy for all columns, where each is a plain one: faster than a loop over a tensor
        if plain and all(column.ndim == 1 for column in plain):
            return np.ascontiguousarray(np.array(plain, self.dtype).T)
        tensor = np.empty((len(first), len(self.tensor.columns)), self.dtype)
        at = 0
        for source, width in self.sources:
            column = columns[source]
            if column.ndim == 1:
                tensor[:, at] = column
            elif column.shape[1] == width:
                tensor[:, at : at + width] = column
            else:
                raise Internal(
                    f"{source} has {column.shape[1]} elements per row, tensor {name!r} takes {width}",
                    code="transform_failed",
                )
            at += width
        return tensor


def measure_widths(model: Model, columns: Columns) -> dict[str, int | None]:
    """For each model input, its number of elements per row; None for a plain column."""
    width_of: dict[str, int | None] = {}
    for inputs in model.inputs.values():
        for source in inputs:
            column = columns[input_name(source)]
            width_of[input_name(source)] = None if column.ndim == 1 else column.shape[1]
    return width_of
