"""Rows of a request: checked against the contract and turned into columns."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from tandem.columns import is_null, read_column
from tandem.contract import HOLDS, SIGNS, Column, Columns, Contract, Field, ZonedDatetime, naive_utc
from tandem.errors import ContractViolation, DefinitionError, Violation
from tandem.features import nan_rows
from tandem.tables import Table, columns_of

MAX_VIOLATIONS = 100
"""A client is told of at most this many broken rules."""

Row = msgspec.Struct
"""One instance of a request, an object of :attr:`RowReader.row_type`."""


class RowReader:
    """Reads the rows of one contract.

    Args:
        contract: The contract.

    Attributes:
        row_type: A struct with the contract's fields, for msgspec to decode into. Fields left out are
            ``msgspec.UNSET``.
    """

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self._inputs = contract.inputs
        self._names = tuple(self._inputs)
        self._readers = tuple(_Reader(field) for field in contract.inputs.values())
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
            gc=False,
        )
        self._values = (
            operator.attrgetter(*self._names) if len(self._names) > 1 else lambda row: (getattr(row, self._names[0]),)
        )

    def columns(self, rows: Sequence[Row]) -> Columns:
        """A column for each field of the contract; where a client left it out, its filler."""
        values = zip(*map(self._values, rows), strict=True)
        return {
            name: reader.column(cells) for name, reader, cells in zip(self._names, self._readers, values, strict=True)
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


def read_rows(contract: Contract, table: Table) -> Columns:
    """Request columns of a table with a column for each field, which those that may be left out may lack.

    Raises:
        ContractViolation: naming field and rule, and the row where there is one.
        DefinitionError: if it is no table.
    """
    columns = columns_of(table)
    rows = len(next(iter(columns.values())))
    violations = [Violation(None, str(name), "unknown field") for name in columns if name not in contract.inputs]
    violations += [
        Violation(None, name, "is required")
        for name, field in contract.inputs.items()
        if field.required and name not in columns
    ]
    if not rows:
        violations.append(Violation(None, "rows", "must have at least one row"))
    request: Columns = {name: field.filling(rows) for name, field in contract.inputs.items() if not field.required}
    for name, field in contract.inputs.items():
        if name not in columns:
            continue
        try:
            request[name], null = read_column(name, columns[name], field.type)
        except DefinitionError as error:
            violations.append(Violation(None, name, str(error)))
            continue
        if null is not None and field.required:
            violations += [Violation(int(row), name, "must not be null") for row in np.flatnonzero(null)]
        elif null is not None:
            request[name][null] = field.filler
    if violations:
        raise ContractViolation(violations[:MAX_VIOLATIONS])
    check_columns(contract, request)
    return request


def fill_nulls(contract: Contract, columns: Mapping[str, Column]) -> Columns:
    """Columns that came as tensors, with the filler of the field where they have a null: a NaN or NaT.

    Args:
        contract: The contract.
        columns: A column of the right dtype for each field. A required field is left as it is.
    """
    return {name: _filled(contract.inputs[name], column) for name, column in columns.items()}


def check_columns(contract: Contract, columns: Mapping[str, Column]) -> None:
    """Check columns that came as tensors against the contract.

    Args:
        contract: The contract.
        columns: A column of the right dtype for each field.

    Raises:
        ContractViolation: with the first hundred broken rules.
    """
    violations: list[Violation] = []
    for name, field in contract.inputs.items():
        for rule, wrong in _broken(field, columns[name]):
            violations += [Violation(int(row), name, rule) for row in np.flatnonzero(wrong)[:MAX_VIOLATIONS]]
    if violations:
        raise ContractViolation(sorted(violations, key=lambda violation: violation.row or 0)[:MAX_VIOLATIONS])


def json_values(column: Column) -> list[Any]:
    """Values of a column as JSON has them: Python objects, timestamps as RFC 3339 strings in UTC, NaT as None."""
    if column.dtype.kind != "M":
        return column.tolist()  # type: ignore[no-any-return]
    return [None if text == "NaT" else f"{text}Z" for text in np.datetime_as_string(column).tolist()]


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


def _filled(field: Field, column: Column) -> Column:
    if field.required or column.dtype.kind not in "fM":
        return column
    null = nan_rows(column) if column.dtype.kind == "f" else np.isnat(column)
    if not np.count_nonzero(null):
        return column
    return np.where(null if column.ndim == 1 else null[:, None], np.array(field.filler, field.dtype), column)


def _broken(field: Field, column: Column) -> Iterable[tuple[str, Column]]:
    """Broken rules with the rows that break them."""
    absent = np.zeros(len(column), bool)
    if column.ndim == 2:
        yield from _broken_by_arrays(field, column)
        return
    if field.type == "float64":
        not_given_allowed = field.optional and field.default is None
        absent = np.isnan(column) if not_given_allowed else absent
        wrong = ~np.isfinite(column) & ~absent
        if wrong.any():
            yield "must be finite", wrong
            absent = absent | wrong
    if field.type == "timestamp" and not field.optional:
        yield "must be given", np.isnat(column)
    for rule, bound in field.bounds.items():
        wrong = ~HOLDS[rule](column, bound) & ~absent
        if wrong.any():
            yield f"must be {SIGNS[rule]} {bound}", wrong
    if field.enum is not None:
        yield f"must be one of {', '.join(map(str, field.enum))}", ~np.isin(column, np.array(field.enum, field.dtype))


def _broken_by_arrays(field: Field, column: Column) -> Iterable[tuple[str, Column]]:
    """The same for arrays, number by number."""
    for index, values in enumerate(column.T):
        for rule, wrong in _broken(field.number, values):
            yield f"number {index} {rule}", wrong


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
            values = [naive_utc(value) if isinstance(value, datetime) else self.filler for value in values]
        elif not self.required:
            values = [self.filler if value is None or value is msgspec.UNSET else value for value in values]
        return np.array(values, self.dtype)


def _wire_type(field: Field) -> Any:
    """The type into which msgspec decodes the field, with all rules that it can check."""
    if field.enum is not None:
        return Literal[field.enum]
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
    return Annotated[list[value], msgspec.Meta(min_length=field.length, max_length=field.length)]  # type: ignore[valid-type]


_EXTREMES: dict[str, tuple[float | int, float | int]] = {
    "float64": (float(np.finfo(np.float64).min), float(np.finfo(np.float64).max)),
    "int64": (-(2**63), 2**63 - 1),
}
_WIRE_TYPES: dict[str, Any] = {
    "float64": float,
    "int64": int,
    "bool": bool,
    "string": str,
    "timestamp": ZonedDatetime,
}
