"""The fields of a record as people see them, in JSON as in Parquet, whatever blocks call their columns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np

from tandem.dtypes import Column, column_width
from tandem.prediction_log.records import Records
from tandem.prediction_log.schema import LogSchema
from tandem.rows import json_values

Path = tuple[str, ...]
"""Names from the record down to the value: ``("features", "customer", "rating")``."""

PREDICTION_ID: Final = ("prediction_id",)
_CONSTANTS: Final = ("model", "version", "digest", "host")


class LogField(NamedTuple):
    """One value of a record.

    Attributes:
        path: Where it is in the record.
        type: One of :data:`~tandem.dtypes.FieldType`, or a NumPy name for an input of the model.
        width: Numbers in the value, behind those of an array of any length their count; None for a single one.
        column: Name of its column in :class:`~tandem.prediction_log.records.Records`.
    """

    path: Path
    type: str
    width: int | None
    column: str


def fields(schema: LogSchema) -> list[LogField]:
    """The fields of a prediction's record, in order; without what is the same in all of them."""
    return [
        LogField(("row",), "int64", None, "row"),
        LogField(("time",), "timestamp", None, "time"),
        LogField(("request_id",), "string", None, "request_id"),
        LogField(("error",), "string", None, "error"),
        LogField(("as_of",), "timestamp", None, "as_of"),
        LogField(("precomputed_age_s",), "float64", None, "precomputed_age_s"),
        *(_field(("request", name), type_, f"request/{name}") for name, type_ in schema.request.items()),
        *_features(schema),
        *(
            LogField(
                ("vector", tensor.name),
                tensor.dtype,
                None if tensor.width is None else len(tensor.columns),
                f"vector/{tensor.name}",
            )
            for tensor in schema.vectors
        ),
        *(_field(("answer", name), type_, f"answer/{name}") for name, type_ in schema.answers.items()),
    ]


def constants(schema: LogSchema) -> dict[str, str]:
    """What is the same in all records of a schema."""
    return {name: getattr(schema, name) for name in _CONSTANTS}


def nulls(field: LogField, records: Records) -> Column | None:
    """Where a field of some records is null: ``bool``, shape ``(rows,)``; None for nowhere.

    NaN and NaT stand for nulls but in vectors, and so do empty request ids and errors.
    """
    column = records.columns[field.column]
    if field.path[0] == "vector":
        return None
    if field.path in (("request_id",), ("error",)):
        null = column == ""
    elif column.dtype.kind in "fM":
        null = np.isnat(column) if column.dtype.kind == "M" else np.isnan(column)
        null = null if null.ndim == 1 else null.any(axis=1)
    else:
        null = np.zeros(records.rows, bool)
    if field.path[0] == "features":
        view, feature = field.path[1:]
        null = null | np.isnat(records.columns[f"view/{view}/event_time"])
        stored = records.columns.get(f"view/{view}/null/{feature}")
        null = null if stored is None else null | stored
    return null if null.any() else None


def documents(records: Records) -> Iterator[dict[str, Any]]:
    """Predictions as JSON has them, one by one."""
    schema = records.schema
    shared = constants(schema)
    lists = {field.path: _values(field, records) for field in fields(schema)}
    traffic = records.columns["traffic"].tolist()
    seconds = records.columns["stages"].tolist() if "stages" in records.columns else None
    for row, prediction_id in enumerate(records.prediction_ids):
        document: dict[str, Any] = {"prediction_id": prediction_id, **shared, "traffic": schema.traffic[traffic[row]]}
        for path, values in lists.items():
            if values is not None or len(path) == 1:
                _put(document, path, values[row] if values is not None else None)
        document["degraded"] = msgspec.json.decode(records.degraded[row]) if row in records.degraded else None
        if seconds is not None:
            document["seconds"] = dict(zip(schema.stages, seconds[row], strict=True))
        yield document


def feedback_documents(records: Records) -> Iterator[dict[str, Any]]:
    """Feedback as JSON has it, one by one."""
    columns = [json_values(records.columns[name]) for name in ("writer", "number", "row", "truth", "time")]
    for writer, number, row, truth, time in zip(*columns, strict=True):
        yield {"prediction_id": f"{writer}-{number}", "row": row, "truth": truth, "time": time}


def _features(schema: LogSchema) -> Iterator[LogField]:
    for view, types in schema.views.items():
        yield LogField(("features", view, "event_time"), "timestamp", None, f"view/{view}/event_time")
        for name, type_ in types.items():
            yield _field(("features", view, name), type_, f"view/{view}/feature/{name}")


def _field(path: Path, type_: str, column: str) -> LogField:
    return LogField(path, type_.partition("[")[0], column_width(type_), column)


def _values(field: LogField, records: Records) -> list[Any] | None:
    """The values of a field; None where none of the records has it."""
    column = records.columns.get(field.column)
    if column is None:
        return None
    null = nulls(field, records)
    values = json_values(column)
    if null is not None:
        for row in np.flatnonzero(null).tolist():
            values[row] = None
    return values


def _put(document: dict[str, Any], path: Path, value: Any) -> None:
    for name in path[:-1]:
        document = document.setdefault(name, {})
    document[path[-1]] = value
