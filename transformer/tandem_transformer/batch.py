"""A batch: the rows of several requests on one way through lookup, pipeline and predictor."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from tandem.answer_parts import Rows
from tandem.dtypes import Columns
from tandem.inputs import Tensors
from tandem.oip import InferRequest
from tandem.rows import Row, RowReader, json_values
from tandem.signature import Signature
from tandem_transformer.explain import describe_vector
from tandem_transformer.traffic import DIRECT


class Call(msgspec.Struct, eq=False):
    """One request on its way. It has either rows or columns, as its protocol brings them.

    Attributes:
        size: Number of its rows.
        deadline: When it must be answered, on the event loop's clock.
        answer: Will be its slice of the batch's answer, or a :class:`~tandem.errors.RequestError`.
        rows: Decoded rows.
        columns: Columns for each field of the contract.
        decode_s: Seconds that reading it took.
        traffic: How it came here: index in :data:`~tandem_transformer.traffic.TRAFFIC`.
        request_id: Of the client, or ours.
        request: The request as its protocol has it, where the answer depends on it.
        tensors: What the model was given for its rows, where that is known and the call fails.
        prediction_id: Under which its predictions are logged; empty where none are.
        arrived: When it arrived, on the event loop's clock.
        is_low: Whether other calls go before it, and are kept rather than it.
        tenant: Number of the lane in which it waits; tenants take turns.
    """

    size: int
    deadline: float
    answer: asyncio.Future[CallAnswer]
    rows: Sequence[Row] | None = None
    columns: Columns | None = None
    decode_s: float = 0.0
    traffic: int = DIRECT
    request_id: bytes = b""
    request: InferRequest | None = None
    tensors: Tensors | None = None
    prediction_id: str = ""
    arrived: float = 0.0
    is_low: bool = False
    tenant: int = 0


@dataclass(slots=True, eq=False)
class PartVectors:
    """The vectors of those rows of a batch that another model than the main one answered.

    Attributes:
        rows: Indices of the rows, ascending.
        signature: Of the model that answered them.
        tensors: Its input tensors.
    """

    rows: Rows
    signature: Signature
    tensors: Tensors


@dataclass(slots=True, eq=False)
class BatchAnswer:
    """What a batch came to.

    Attributes:
        columns: A column for each field of the answers.
        tensors: The model's input tensors; zeros in rows that it did not answer.
        degraded: For each row with stored values that were not used: the reason, by view.
        stages: Seconds that each of :data:`~tandem.telemetry.STAGES` took.
        simpler: The rows that the simpler model answered; None if there are none.
        precomputed: For each row that a prediction computed ahead answered: its age in seconds.
        lists: The columns as lists, for JSON.
    """

    columns: Columns
    tensors: Tensors
    degraded: dict[int, dict[str, Any]]
    stages: tuple[float, ...]
    simpler: PartVectors | None = None
    precomputed: dict[int, float] = field(default_factory=dict)
    lists: list[list[Any]] = field(init=False)

    def __post_init__(self) -> None:
        # once for the batch: its calls take slices
        self.lists = [json_values(column) for column in self.columns.values()]

    def vector(self, signature: Signature, row: int) -> dict[str, Any]:
        """What the model that answered a row was given for it, by column.

        Args:
            signature: Of the model.
            row: Index of the row within the batch.
        """
        if self.simpler is not None and row in self.simpler.rows:
            at = int(np.searchsorted(self.simpler.rows, row))
            return describe_vector(self.simpler.signature, self.simpler.tensors, at)
        return describe_vector(signature, self.tensors, row)


class CallAnswer(msgspec.Struct):
    """One call's rows of a batch's answer: from ``start`` up to ``stop``.

    Attributes:
        prediction_id: Under which they are logged; empty where they are not.
    """

    batch: BatchAnswer
    start: int
    stop: int
    prediction_id: str = ""

    @property
    def degraded(self) -> dict[int, dict[str, Any]]:
        """Degraded rows, counted from the call's own first row."""
        if not self.batch.degraded:
            return {}
        return {row - self.start: why for row, why in self.batch.degraded.items() if self.start <= row < self.stop}

    @property
    def precomputed(self) -> dict[int, float]:
        """Age in seconds of predictions computed ahead, by row, counted from the call's own first row."""
        if not self.batch.precomputed:
            return {}
        return {row - self.start: age for row, age in self.batch.precomputed.items() if self.start <= row < self.stop}


def merge(reader: RowReader, calls: list[Call]) -> Columns:
    """Columns of all calls; orders ``calls`` as their rows follow each other.

    Args:
        reader: Of the contract.
        calls: At least one; calls with rows are put in front of calls with columns.
    """
    # in place: the caller slices the answer by the same order
    calls.sort(key=_has_columns)
    rows = [row for call in calls if call.rows is not None for row in call.rows]
    parts = [reader.columns(rows)] if rows else []
    parts += [call.columns for call in calls if call.columns is not None]
    # a concatenation would copy what is whole already
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _has_columns(call: Call) -> bool:
    return call.columns is not None
