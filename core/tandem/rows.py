"""Rows of a request: checked against the contract and turned into columns."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from tandem.column_rules import MAX_VIOLATIONS
from tandem.contract import Contract
from tandem.dtypes import Column, Columns, ZonedDatetime, is_ragged, naive_utc, pad_ragged
from tandem.errors import Violation
from tandem.fields import LARGEST, Field
from tandem.nulls import is_null

Row = msgspec.Struct
"""One instance of a request, an object of :attr:`RowReader.row_type`."""


class RowReader:
    """Reads the rows of one contract.

    Args:
        contract: The contract.

    Attributes:
        row_type: A struct with the contract's fields, for msgspec to decode into. Fields left out are
            ``msgspec.UNSET``.
        values: The fields of such a row, in the order of the contract.
        readers: What makes the column of each field, in the order of the contract.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self._inputs = contract.inputs
        self._names = tuple(self._inputs)
        self.readers = tuple(
            (_RaggedReader if is_ragged(field.type) else _Reader)(field) for field in contract.inputs.values()
        )
        self._optional = tuple(name for name, field in contract.inputs.items() if not field.required)
        # sorted so that required fields come first, as a struct demands
        ordered = sorted(contract.inputs.items(), key=lambda item: not item[1].required)
        self.row_type: type[Row] = msgspec.defstruct(
            "Row",
            [
                (name, _wire_type(field))
                if field.required
                else (name, _wire_type(field) | None | msgspec.UnsetType, msgspec.UNSET)
                for name, field in ordered
            ],
            forbid_unknown_fields=True,
            # rows hold no cycles; without tracking the collector does not walk thousands of them
            gc=False,
        )
        # attrgetter reads all fields of a row in one call into C; with one name it gives no tuple
        self.values: Callable[[Row], tuple[Any, ...]] = (
            operator.attrgetter(*self._names) if len(self._names) > 1 else lambda row: (getattr(row, self._names[0]),)
        )

    def columns(self, rows: Sequence[Row]) -> Columns:
        """A column for each field of the contract; where a client left it out, its filler."""
        # transposed in C: rows to columns without a loop over the fields of each row
        values = zip(*map(self.values, rows), strict=True)
        return {
            name: reader.column(cells) for name, reader, cells in zip(self._names, self.readers, values, strict=True)
        }

    def plain(self, row: Any) -> Any:
        """A row with values of NumPy and pandas as Python's own, and with nulls as None.

        A NaN of a required field stays, to be refused as what it is. A ``numpy.datetime64`` is in UTC.
        """
        if not isinstance(row, Mapping):
            return row
        required = {name for name, field in self._inputs.items() if field.required}
        return {name: _plain(value, keep_nan=name in required) for name, value in row.items()}

    def given(self, rows: Iterable[Row]) -> int:
        """How many fields the rows have together, fields left out not counted."""
        required = len(self._names) - len(self._optional)
        total = 0
        for row in rows:
            total += required
            for name in self._optional:
                total += getattr(row, name) is not msgspec.UNSET
        return total

    def violations(self, rows: Sequence[Any]) -> list[Violation]:
        """Every rule that undecoded rows break, the first hundred.

        Args:
            rows: Rows as JSON has them.
        """
        violations: list[Violation] = []
        for index, row in enumerate(rows):
            violations += self._row_violations(index, row)
            # a request may have thousands of broken rows
            if len(violations) >= MAX_VIOLATIONS:
                break
        return violations[:MAX_VIOLATIONS]

    def as_of(self, columns: Mapping[str, Column], now: np.datetime64) -> Column:
        """The as-of column: the contract's field, and the time of arrival where there is none."""
        if self.contract.as_of is None:
            arrival = np.empty(len(next(iter(columns.values()))), "datetime64[us]")
            arrival.fill(now)
            return arrival
        times = columns[self.contract.as_of]
        absent = np.isnat(times)
        # no copy where every row has its time
        return np.where(absent, now, times) if np.count_nonzero(absent) else times

    def _row_violations(self, index: int, row: Any) -> Iterable[Violation]:
        if not isinstance(row, Mapping):
            yield Violation(index, "", "a row must be an object")
            return
        for name in row:
            if name not in self._inputs:
                yield Violation(index, str(name), "unknown field")
        for name, field in self._inputs.items():
            if row.get(name) is None:
                if field.required:
                    yield Violation(index, name, "is required" if name not in row else "must not be null")
            elif rule := field.broken_rule(row[name]):
                yield Violation(index, name, rule)


def json_values(column: Column) -> list[Any]:
    """Values of a column as JSON has them: Python objects, timestamps as RFC 3339 strings in UTC, NaT as None."""
    if column.dtype.kind != "M":
        return column.tolist()  # type: ignore[no-any-return]
    return [None if text == "NaT" else f"{text}Z" for text in np.datetime_as_string(column).tolist()]


def name_numbers(rows: Sequence[dict[str, Any]], classes: Mapping[str, tuple[str, ...]]) -> None:
    """Put objects by name in place of lists of numbers that have names.

    Args:
        rows: Rows of an answer, which are changed.
        classes: Of :attr:`~tandem.contract.Contract.classes`.
    """
    for name, names in classes.items():
        for row in rows:
            row[name] = dict(zip(names, row[name], strict=True))


def _plain(value: Any, *, keep_nan: bool) -> Any:
    if is_null(value):
        return value if keep_nan and isinstance(value, float) else None
    if isinstance(value, np.datetime64):
        return value.astype("datetime64[us]").item().replace(tzinfo=UTC)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, datetime) and type(value) is not datetime:
        # a subclass, such as pandas' Timestamp
        return datetime.combine(value.date(), value.timetz())
    return value


class _Reader:
    """Makes the column of one field from what clients gave for it; of lists, one with two dimensions."""

    __slots__ = ("dtype", "filler", "is_timestamp", "required")

    def __init__(self, field: Field) -> None:
        self.dtype = field.dtype
        self.required = field.required
        self.filler = None if field.required else field.filler
        self.is_timestamp = field.type == "timestamp"

    def column(self, values: Sequence[Any]) -> Column:
        if self.is_timestamp:
            # NumPy has no zones, and warns about datetimes that have one
            values = [naive_utc(value) if isinstance(value, datetime) else self.filler for value in values]
        elif not self.required:
            values = [self.filler if value is None or value is msgspec.UNSET else value for value in values]
        return np.array(values, self.dtype)


class _RaggedReader(_Reader):
    """The same of lists of different length."""

    __slots__ = ("default", "type")

    def __init__(self, field: Field) -> None:
        super().__init__(field)
        self.type = field.type
        self.default = field.default

    def column(self, values: Sequence[Any]) -> Column:
        return pad_ragged(
            [self.default if value is None or value is msgspec.UNSET else value for value in values], self.type
        )


def _wire_type(field: Field) -> Any:
    """The type into which msgspec decodes the field, with all rules that it can check."""
    if field.enum is not None:
        return Literal[field.enum]
    if field.type == "bytes":
        return bytes if field.max_bytes is None else Annotated[bytes, msgspec.Meta(max_length=field.max_bytes)]
    bounds: dict[str, Any] = dict(field.bounds)
    if field.scalar in _EXTREMES:
        # a bound also keeps NaN out
        lowest, highest = _EXTREMES[field.scalar]
        if not bounds.keys() & {"ge", "gt"}:
            bounds["ge"] = lowest
        if not bounds.keys() & {"le", "lt"}:
            bounds["le"] = highest
    base = _WIRE_TYPES[field.scalar]
    value = Annotated[base, msgspec.Meta(**bounds)] if bounds else base
    if field.length is None:
        return value
    least = 0 if is_ragged(field.type) else field.length
    return Annotated[list[value], msgspec.Meta(min_length=least, max_length=field.length)]  # type: ignore[valid-type]


_EXTREMES: dict[str, tuple[float | int, float | int]] = {
    **{type_: (-largest, largest) for type_, largest in LARGEST.items()},
    "int64": (-(2**63), 2**63 - 1),
}
_WIRE_TYPES: dict[str, Any] = {
    "float64": float,
    "float32": float,
    "int64": int,
    "bool": bool,
    "string": str,
    "timestamp": ZonedDatetime,
}
