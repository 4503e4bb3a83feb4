"""Examples of requests that obey a contract, for its documentation."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from tandem.contract import Contract
from tandem.dtypes import FieldType, element_type, is_ragged
from tandem.fields import Field

TENSOR_DATATYPES: dict[str, tuple[str, ...]] = {
    "float64": ("FP64", "FP32", "FP16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32"),
    "float32": ("FP32", "FP64", "FP16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32"),
    "int64": ("INT64", "INT8", "INT16", "INT32", "UINT8", "UINT16", "UINT32"),
    "bool": ("BOOL",),
    "string": ("BYTES",),
    "timestamp": ("BYTES", "INT64"),
    "bytes": ("BYTES",),
}
"""Datatypes of the Open Inference Protocol that each type of field takes, the usual one first; see :func:`datatypes`.

A timestamp is RFC 3339 as BYTES, or microseconds since 1970-01-01T00:00Z as INT64.
"""

_MOST_NUMBERS = 3


def datatypes(type_: FieldType) -> tuple[str, ...]:
    """Datatypes that a type of field takes, the usual one first; of an array, those of its numbers."""
    return TENSOR_DATATYPES[element_type(type_)]


def example_row(contract: Contract) -> dict[str, Any]:
    """One instance with every field, that obeys the contract."""
    return {name: example_value(name, field) for name, field in contract.inputs.items()}


def example_tensors(contract: Contract) -> dict[str, Any]:
    """The same as :func:`example_row` as a request of the Open Inference Protocol."""
    return {
        "inputs": [_example_tensor(field, name, example_value(name, field)) for name, field in contract.inputs.items()]
    }


def _example_tensor(field: Field, name: str, value: Any) -> dict[str, Any]:
    shape = [1] if field.length is None else [1, len(value)]
    return {"name": name, "shape": shape, "datatype": datatypes(field.type)[0], "data": [value]}


def example_value(name: str, field: Field) -> Any:
    """A value that the field allows: its default, the first of its enum, or the middle of its range."""
    if field.default is not None:
        return list(field.default) if isinstance(field.default, tuple) else field.default
    if field.enum is not None:
        return field.enum[0]
    match field.type:
        case "bool":
            return True
        case "string":
            return f"{name}-1"
        case "timestamp":
            return "2026-05-01T08:00:00Z"
        case "bytes":
            return b64encode(b"a file"[: field.max_bytes]).decode()
    if field.length is not None:
        length = min(field.length, _MOST_NUMBERS) if is_ragged(field.type) else field.length
        return [example_value(name, field.number)] * length
    value = _middle(field)
    return int(value) if field.type == "int64" else float(value)


def _middle(field: Field) -> float:
    """The middle of a field's range; one away from its end where it has only one, and 1 where it has none."""
    lower = field.gt if field.ge is None else field.ge
    upper = field.lt if field.le is None else field.le
    if lower is not None and upper is not None:
        return lower + (upper - lower) / 2
    if lower is not None:
        return lower + 1
    return 1 if upper is None else upper - 1
