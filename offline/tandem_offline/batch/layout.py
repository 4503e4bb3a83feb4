"""The rows that a batch writes: one for each row that it reads, whatever became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from tandem.bundle import Bundle
from tandem.dtypes import Column, FieldType, array_length, element_type
from tandem.errors import DefinitionError
from tandem.tables import missing_column
from tandem_offline.batch.scoring import RowError, Scored
from tandem_offline.spines import time_column

DEGRADED: Final = "degraded"
ERROR: Final = "error"
VERSION: Final = "model_version"
DIGEST: Final = "bundle_digest"
RUN: Final = "run_id"

_ERROR_TYPE: Final = pa.struct([("code", pa.string()), ("message", pa.string())])
_TYPES: Final[Mapping[str, pa.DataType]] = {
    "float64": pa.float64(),
    "float32": pa.float32(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "string": pa.string(),
    "timestamp": pa.timestamp("us", "UTC"),
}


class Layout:
    """The columns that a run writes.

    In this order: the serving keys, the time as of which the row was predicted, columns that are kept of the spine, the
    fields of the answer, ``degraded`` (JSON by view, as in an answer online), ``error`` (``code`` and ``message``),
    ``model_version``, ``bundle_digest`` and ``run_id``.

    Args:
        bundle: The version that predicts.
        features: Columns of the rows that it predicts for.
        run_id: The run.
        keep: Further columns of these that are written too.

    Raises:
        DefinitionError: naming a column that is not there, or would be written twice.
    """

    def __init__(self, bundle: Bundle, features: pa.Schema, *, run_id: str, keep: Sequence[str] = ()) -> None:
        contract = bundle.contract
        keys = [name for name in contract.serving_keys if name in features.names]
        self._copied = list(dict.fromkeys([*keys, time_column(bundle.model), *keep]))
        for name in self._copied:
            if name not in features.names:
                raise DefinitionError(missing_column(name, features.names, table="the batch"))
        self._answers = {name: field.type for name, field in contract.answers.items()}
        self._constants = {VERSION: bundle.version, DIGEST: bundle.digest, RUN: run_id}
        fields = [features.field(name) for name in self._copied]
        fields += [pa.field(name, _arrow_type(type_)) for name, type_ in self._answers.items()]
        fields += [pa.field(DEGRADED, pa.string()), pa.field(ERROR, _ERROR_TYPE)]
        fields += [pa.field(name, pa.string()) for name in self._constants]
        self.schema: pa.Schema = pa.schema(fields)
        names = self.schema.names
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise DefinitionError(f"the output would have two columns {repeated[0]!r}: rename one of them")

    def rows(self, batch: pa.RecordBatch, scored: Scored) -> pa.RecordBatch:
        """The rows of a batch, as they are written.

        Args:
            batch: The rows, with their features.
            scored: What became of them.
        """
        arrays: list[Any] = [batch.column(name) for name in self._copied]
        absent = scored.unanswered if scored.errors else None
        for name, type_ in self._answers.items():
            kind: Any = _arrow_type(type_)
            column = scored.columns.get(name)
            arrays.append(pa.nulls(scored.rows, kind) if column is None else _array(column, kind, absent))
        arrays += [_degraded(scored), _errors(scored.rows, scored.errors)]
        arrays += [pa.repeat(pa.scalar(value, pa.string()), scored.rows) for value in self._constants.values()]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _arrow_type(type_: FieldType) -> pa.DataType:
    kind = _TYPES[element_type(type_)]
    return kind if array_length(type_) is None else pa.list_(kind)


def _array(column: Column, kind: pa.DataType, absent: Column | None) -> Any:
    """A column of an answer; null where there is none."""
    if pa.types.is_list(kind):
        offsets = pa.array(np.arange(len(column) + 1, dtype=np.int32) * column.shape[1])
        mask = None if absent is None else pa.array(absent)
        numbers = pa.array(np.ascontiguousarray(column).reshape(-1))
        return pa.ListArray.from_arrays(offsets, numbers, type=kind, mask=mask)
    if pa.types.is_string(kind):
        return _texts(column, absent)
    if pa.types.is_timestamp(kind):
        null = np.isnat(column) if absent is None else np.isnat(column) | absent
        return pa.array(column, mask=null).cast(kind)
    return pa.array(column, kind, mask=absent)


def _texts(column: Column, absent: Column | None) -> Any:
    texts = column.tolist()
    if absent is not None:
        texts = [None if is_absent else text for text, is_absent in zip(texts, absent.tolist(), strict=True)]
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        # half of a surrogate pair, which UTF-8 has no bytes for
        encoded = [None if text is None else text.encode(errors="backslashreplace").decode() for text in texts]
        return pa.array(encoded, pa.string())


def _degraded(scored: Scored) -> Any:
    if not scored.degraded:
        return pa.nulls(scored.rows, pa.string())
    texts: list[str | None] = [None] * scored.rows
    for row, reasons in scored.degraded.items():
        texts[row] = msgspec.json.encode(reasons).decode()
    return pa.array(texts, pa.string())


def _errors(rows: int, errors: Mapping[int, RowError]) -> Any:
    if not errors:
        return pa.nulls(rows, _ERROR_TYPE)
    values: list[dict[str, str] | None] = [None] * rows
    for row, error in errors.items():
        values[row] = {"code": error.code, "message": error.message}
    return pa.array(values, _ERROR_TYPE)
