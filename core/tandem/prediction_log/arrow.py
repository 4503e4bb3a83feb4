"""Records as Arrow batches, for Parquet. Needs the extra ``arrow``."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tandem.prediction_log.fields import LogField, constants, fields, nulls
from tandem.prediction_log.records import Records
from tandem.prediction_log.schema import LogSchema

_TIME: Final = pa.timestamp("us", tz="UTC")
_TYPES: Final[dict[str, Any]] = {
    "string": pa.string(),
    "object": pa.string(),
    "timestamp": _TIME,
    "bool": pa.bool_(),
    "bytes": pa.binary(),
}
_CATEGORY: Final = pa.dictionary(pa.int32(), pa.string())


def prediction_batch(records: Records) -> pa.RecordBatch:
    """Predictions; the schema of the batch depends on that of the records only."""
    schema = records.schema
    tree: dict[str, Any] = {"prediction_id": prediction_ids(schema.writer, records.columns["number"])}
    tree |= {name: _category(np.zeros(records.rows, np.int32), [text]) for name, text in constants(schema).items()}
    tree["traffic"] = _category(records.columns["traffic"].astype(np.int32), list(schema.traffic))
    for field in fields(schema):
        branch = tree
        for name in field.path[:-1]:
            branch = branch.setdefault(name, {})
        branch[field.path[-1]] = _array(field, records)
    degraded = [records.degraded.get(row) for row in range(records.rows)] if records.degraded else [None] * records.rows
    tree["degraded"] = pa.array(degraded, pa.string())
    tree["seconds"] = _seconds(schema, records)
    return pa.RecordBatch.from_pydict({name: _struct(branch) for name, branch in tree.items()})


def feedback_batch(records: Records) -> pa.RecordBatch:
    """Feedback."""
    columns = records.columns
    ids = [f"{writer}-{number}" for writer, number in zip(columns["writer"], columns["number"].tolist(), strict=True)]
    return pa.RecordBatch.from_pydict(
        {
            "prediction_id": pa.array(ids, pa.string()),
            "row": pa.array(columns["row"].astype(np.int64)),
            "truth": values(columns["truth"], None),
            "time": values(columns["time"], None),
        }
    )


def prediction_ids(writer: str, numbers: Any) -> Any:
    """Ids of predictions, whose numbers are given."""
    return pc.binary_join_element_wise(pa.scalar(writer), pc.cast(pa.array(numbers), pa.string()), "-")


def values(column: Any, null: Any) -> Any:
    """A column as an Arrow array.

    Args:
        column: Shape ``(rows,)``.
        null: Where it is null; None for nowhere.
    """
    if column.dtype.kind == "M":
        return pa.array(column.astype("datetime64[us]"), pa.timestamp("us"), mask=null).cast(_TIME)
    return pa.array(column, pa.string() if column.dtype == object else None, mask=null)


def _array(field: LogField, records: Records) -> Any:
    column = records.columns.get(field.column)
    element: Any = _TYPES.get(field.type) or pa.from_numpy_dtype(np.dtype(field.type))
    if column is None:
        absent: Any = element if field.width is None else pa.list_(element, field.width)
        return pa.nulls(records.rows, type=absent)
    null = nulls(field, records)
    if field.width is None:
        # one number of a row may have an axis of its own or not
        return values(column.reshape(records.rows), null).cast(element)
    flat = values(np.ascontiguousarray(column).reshape(-1), None).cast(element)
    mask = None if null is None else pa.array(null)
    return pa.FixedSizeListArray.from_arrays(flat, field.width, mask=mask)


def _seconds(schema: LogSchema, records: Records) -> dict[str, Any]:
    stages = records.columns.get("stages")
    if stages is None:
        return {name: pa.nulls(records.rows, type=pa.float32()) for name in schema.stages}
    return {name: pa.array(np.ascontiguousarray(stages[:, at])) for at, name in enumerate(schema.stages)}


def _category(indices: Any, names: list[str]) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(indices), pa.array(names, pa.string())).cast(_CATEGORY)


def _struct(branch: Any) -> Any:
    if not isinstance(branch, dict):
        return branch
    arrays = [_struct(array) for array in branch.values()]
    return pa.StructArray.from_arrays(arrays, names=list(branch))
