"""Open Inference Protocol v2 at the front: one tensor per field of the contract, rows along the first axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from tandem.column_rules import MAX_VIOLATIONS, check_columns, fill_nulls
from tandem.contract import Contract
from tandem.dtypes import Column, Columns, is_ragged, mask_column
from tandem.errors import ContractViolation, RequestTooLarge, Violation
from tandem.examples import datatypes
from tandem.fields import Field
from tandem.oip import InferRequest, InferResponse, Tensor
from tandem.oip.extensions import model_config
from tandem.oip.tensors import Parameters
from tandem.rows import json_values
from tandem_transformer.batch import CallAnswer
from tandem_transformer.tensor_columns import broken_mask_rule, broken_shape_rule, describe_shape, read_column

PREDICTION_ID: Final = "prediction_id"
"""Parameter of a response: the id under which its predictions are logged."""

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
        self._masks = {mask_column(name): name for name, field in contract.inputs.items() if is_ragged(field.type)}

    def metadata(self) -> dict[str, Any]:
        """Answer to the protocol's model metadata request."""
        inputs = self._contract.inputs
        return {
            "name": self._model_name,
            "versions": [self._version],
            "platform": "tandem",
            "inputs": [
                *(_describe(name, field) for name, field in inputs.items()),
                *({**_describe(mask, inputs[name]), "datatype": "BOOL"} for mask, name in self._masks.items()),
            ],
            "outputs": [_describe(name, field) for name, field in self._contract.answers.items()],
        }

    def configuration(self) -> dict[str, Any]:
        """Answer to a configuration request of Triton's extension.

        A row has one value for each field and no dimension of its own, which Triton knows only where the first
        dimension is not called a batch.
        """
        optional = [name for name, field in self._contract.inputs.items() if not field.required]
        optional += self._masks
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
        masks = {name: tensors.get(mask) for mask, name in self._masks.items()}
        columns = {
            name: read_column(name, field, tensors[name], masks.get(name)) if name in tensors else field.filling(rows)
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
        parameters: Parameters = {PREDICTION_ID: answer.prediction_id} if answer.prediction_id else {}
        return InferResponse(self._model_name, outputs, self._version, request.id, parameters)

    def _violations(self, tensors: Mapping[str, Tensor], request: InferRequest) -> Iterator[Violation]:
        violations = list(self._input_violations(tensors))
        yield from violations or _uneven(tensors)
        output_names = self._contract.answers.keys() | {"degraded", PRECOMPUTED}
        for output in request.outputs:
            if output.name not in output_names:
                yield Violation(None, output.name, "unknown output")

    def _input_violations(self, tensors: Mapping[str, Tensor]) -> Iterator[Violation]:
        inputs = self._contract.inputs
        for name, tensor in tensors.items():
            if name in inputs:
                continue
            values = self._masks.get(name)
            rule = "unknown field" if values is None else broken_mask_rule(values, tensor, tensors.get(values))
            if rule:
                yield Violation(None, name, rule)
        for name, field in inputs.items():
            if name in tensors:
                if tensors[name].datatype not in datatypes(field.type):
                    yield Violation(None, name, f"must have datatype {' or '.join(datatypes(field.type))}")
                if rule := broken_shape_rule(field, tensors[name].shape):
                    yield Violation(None, name, rule)
            elif field.required:
                yield Violation(None, name, "is required")


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
    return {"name": name, "datatype": datatypes(field.type)[0], "shape": describe_shape(field)}


def _tensor(name: str, field: Field, column: Column) -> Tensor:
    if field.type in ("string", "timestamp"):
        # the protocol has no times, so they are text as in JSON
        texts = np.array([str(value).encode() for value in json_values(column)], object)
        return Tensor(name, "BYTES", texts.shape, texts)
    return Tensor(name, datatypes(field.type)[0], column.shape, column)
