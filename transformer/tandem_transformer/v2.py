"""Open Inference Protocol v2 at the front: one tensor per field of the contract, rows along the first axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from tandem.column_rules import MAX_VIOLATIONS, check_columns, fill_nulls
from tandem.contract import Contract
from tandem.dtypes import Column, Columns, parse_timestamp
from tandem.errors import ContractViolation, RequestTooLarge, Violation
from tandem.examples import datatypes
from tandem.fields import Field
from tandem.oip import InferRequest, InferResponse, Tensor
from tandem.oip.extensions import model_config
from tandem.rows import json_values
from tandem_transformer.batch import CallAnswer

PRECOMPUTED: Final = "precomputed_age_s"
"""Output with the ages of predictions computed ahead in seconds, NaN for other rows."""


class V2:
    """Reads requests and writes answers of one version.

    Args:
        contract: The contract.
        model_name: As clients know it.
        version: Name of the version.
        max_rows: Most rows of one request.
    """

    def __init__(self, contract: Contract, model_name: str, version: str, max_rows: int) -> None:
        self._contract = contract
        self._model_name = model_name
        self._version = version
        self._max_rows = max_rows

    def metadata(self) -> dict[str, Any]:
        """Answer to the protocol's model metadata request."""
        return {
            "name": self._model_name,
            "versions": [self._version],
            "platform": "tandem",
            "inputs": [_describe(name, field) for name, field in self._contract.inputs.items()],
            "outputs": [_describe(name, field) for name, field in self._contract.answers.items()],
        }

    def configuration(self) -> dict[str, Any]:
        """Answer to a configuration request of Triton's extension.

        A row has one value for each field and no dimension of its own, which Triton knows only where the first
        dimension is not called a batch.
        """
        optional = [name for name, field in self._contract.inputs.items() if not field.required]
        return model_config(self.metadata(), backend="tandem", max_batch_size=0, optional=optional)

    def decode(self, request: InferRequest) -> Columns:
        """Columns of a request.

        Raises:
            ContractViolation: naming field and rule, and the row where there is one.
            RequestTooLarge: if it has too many rows.
        """
        tensors = {tensor.name: tensor for tensor in request.inputs}
        violations = list(self._violations(tensors, request))
        if violations:
            raise ContractViolation(violations[:MAX_VIOLATIONS])
        rows = next(iter(tensors.values())).shape[0]
        if rows > self._max_rows:
            raise RequestTooLarge(f"{rows} rows; at most {self._max_rows} are taken", code="too_many_rows")
        columns = {
            name: _column(name, field, tensors[name]) if name in tensors else field.filling(rows)
            for name, field in self._contract.inputs.items()
        }
        columns = fill_nulls(self._contract, columns)
        check_columns(self._contract, columns)
        return columns

    def encode(self, answer: CallAnswer, request: InferRequest) -> InferResponse:
        """Answer to a request: the outputs it asks for, or all; others that clients may ignore only if not empty."""
        requested = [output.name for output in request.outputs]
        outputs = [
            _tensor(name, field, answer.batch.columns[name][answer.start : answer.stop])
            for name, field in self._contract.answers.items()
            if not requested or name in requested
        ]
        degraded = answer.degraded
        if degraded or "degraded" in requested:
            texts = np.empty(answer.stop - answer.start, object)
            texts[:] = [
                ",".join(f"{view}:{degradation}" for view, degradation in degraded.get(row, {}).items()).encode()
                for row in range(len(texts))
            ]
            outputs.append(Tensor("degraded", "BYTES", texts.shape, texts))
        precomputed = answer.precomputed
        if precomputed or PRECOMPUTED in requested:
            ages = np.array([precomputed.get(row, np.nan) for row in range(answer.stop - answer.start)])
            outputs.append(Tensor(PRECOMPUTED, "FP64", ages.shape, ages))
        return InferResponse(self._model_name, outputs, model_version=self._version, id=request.id)

    def _violations(self, tensors: dict[str, Tensor], request: InferRequest) -> Sequence[Violation]:
        violations = [Violation(None, name, "unknown field") for name in tensors if name not in self._contract.inputs]
        for name, field in self._contract.inputs.items():
            tensor = tensors.get(name)
            if tensor is None:
                violations += [Violation(None, name, "is required")] if field.required else []
                continue
            if tensor.datatype not in datatypes(field.type):
                violations.append(Violation(None, name, f"must have datatype {' or '.join(datatypes(field.type))}"))
            if not _has_shape(tensor.shape, field.length):
                shapes = "[rows] or [rows, 1]" if field.length is None else f"[rows, {field.length}]"
                violations.append(Violation(None, name, f"must have shape {shapes}, not {list(tensor.shape)}"))
            elif tensor.shape[0] == 0:
                violations.append(Violation(None, name, "must have at least one row"))
        if not violations:
            violations += _uneven(tensors)
        output_names = self._contract.answers.keys() | {"degraded", PRECOMPUTED}
        violations += [
            Violation(None, output.name, "unknown output")
            for output in request.outputs
            if output.name not in output_names
        ]
        return violations


def _uneven(tensors: Mapping[str, Tensor]) -> list[Violation]:
    """The tensors that have another number of rows than most."""
    rows = Counter(tensor.shape[0] for tensor in tensors.values())
    if len(rows) <= 1:
        return []
    usual, _ = rows.most_common(1)[0]
    return [
        Violation(None, name, f"has {tensor.shape[0]} rows, others have {usual}; all must have the same number")
        for name, tensor in tensors.items()
        if tensor.shape[0] != usual
    ]


def _describe(name: str, field: Field) -> dict[str, Any]:
    shape = [-1] if field.length is None else [-1, field.length]
    return {"name": name, "datatype": datatypes(field.type)[0], "shape": shape}


def _has_shape(shape: Sequence[int], length: int | None) -> bool:
    return (len(shape) == 1 and length is None) or (len(shape) == 2 and shape[1] == (length or 1))


def _column(name: str, field: Field, tensor: Tensor) -> Column:
    data = tensor.data.reshape(tensor.shape[0] if field.length is None else tensor.shape)
    if field.type == "string":
        return _texts(name, data)
    if field.type == "timestamp":
        # microseconds since 1970, of which the smallest is NaT: not given
        return data.astype("datetime64[us]") if tensor.datatype == "INT64" else _timestamps(name, _texts(name, data))
    return np.ascontiguousarray(data, dtype=field.dtype)


def _texts(name: str, data: Column) -> Column:
    texts = np.empty(len(data), object)
    for row, value in enumerate(data.tolist()):
        try:
            texts[row] = value.decode()
        except UnicodeDecodeError:
            raise ContractViolation([Violation(row, name, "must be UTF-8")]) from None
    return texts


def _timestamps(name: str, texts: Column) -> Column:
    moments = [parse_timestamp(text) for text in texts.tolist()]
    rule = "must be an RFC 3339 timestamp with a time zone, such as 2026-05-01T08:00:00Z"
    wrong = [Violation(row, name, rule) for row, moment in enumerate(moments) if moment is None]
    if wrong:
        raise ContractViolation(wrong[:MAX_VIOLATIONS])
    return np.array(moments, "datetime64[us]")


def _tensor(name: str, field: Field, column: Column) -> Tensor:
    if field.type in ("string", "timestamp"):
        # the protocol has no times, so they are text as in JSON
        texts = np.array([str(value).encode() for value in json_values(column)], object)
        return Tensor(name, "BYTES", texts.shape, texts)
    return Tensor(name, datatypes(field.type)[0], column.shape, column)
