"""Tables of any library: pandas and polars frames, Arrow tables, and mappings of arrays or lists.

None of the libraries is imported here; their tables are asked by the methods that they have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tandem.errors import DefinitionError

Table = Any
"""A pandas or polars frame, an Arrow table or record batch, whatever has Arrow's C stream interface (with pyarrow), or
a mapping from column names to arrays or lists."""


def is_table(value: Any) -> bool:
    """Whether a value is a table rather than a list of rows."""
    # asked of the class, since a lazy frame would look for its columns
    return isinstance(value, Mapping) or any(hasattr(type(value), name) for name in ("columns", "__arrow_c_stream__"))


def columns_of(table: Table) -> Mapping[str, Any]:
    """The columns of a table by name, as its library has them.

    Raises:
        DefinitionError: if it is not a table, has two columns of one name, or columns of different length.
    """
    columns = table if isinstance(table, Mapping) else dict(_frame_columns(table))
    rows = {name: len(values) for name, values in columns.items()}
    if not rows:
        raise DefinitionError("the table has no columns")
    total = next(iter(rows.values()))
    for name, length in rows.items():
        if length != total:
            raise DefinitionError(f"column {name!r} has {length} rows, the table has {total}")
    return columns


def missing_column(name: str, columns: Iterable[str], *, of: str = "", table: str = "the table") -> str:
    """What to say about a column that is not there: the table, the column, and the columns that are there."""
    return f"{table} has no column {name!r}{of}; it has {', '.join(map(str, columns)) or 'none'}"


def _frame_columns(table: Any) -> list[tuple[str, Any]]:
    if hasattr(table, "column_names") and hasattr(table, "column"):
        return _unique(list(table.column_names), [table.column(index) for index in range(len(table.column_names))])
    if hasattr(table, "to_numpy") and hasattr(table, "columns"):
        names = list(table.columns)
        return _unique(names, [table[name] for name in names] if len(set(names)) == len(names) else [])
    if hasattr(table, "__arrow_c_stream__"):
        try:
            import pyarrow as pa
        except ModuleNotFoundError:
            raise DefinitionError(
                f"a table of {type(table).__name__} needs pyarrow: install tandem-core[arrow]"
            ) from None
        return _frame_columns(pa.table(table))
    raise DefinitionError(
        f"{type(table).__name__} is not a table: give a pandas or polars frame, an Arrow table, or a dict of arrays"
    )


def _unique(names: list[Any], columns: list[Any]) -> list[tuple[str, Any]]:
    if repeated := sorted({str(name) for name in names if names.count(name) > 1}):
        raise DefinitionError(f"the table has two columns {repeated[0]!r}")
    return list(zip(names, columns, strict=True))
