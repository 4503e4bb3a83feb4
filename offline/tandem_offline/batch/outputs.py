"""Tables to which runs append their predictions, part by part, so that none is written twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

import pyarrow as pa

from tandem.errors import TandemError
from tandem_offline.batch.plan import Part

Format = Literal["parquet", "delta"]
"""A directory of Parquet files, or a Delta table."""


class OutputError(TandemError):
    """An output cannot be written, or has other columns or another run of this name."""


@dataclass(frozen=True)
class Progress:
    """What a table has of a run.

    Attributes:
        written: How many parts, beginning with the first one.
        parts: How many parts the run has.
        fingerprint: What the run is made of, see :class:`~tandem_offline.batch.plan.BatchPlan`.
    """

    written: int
    parts: int
    fingerprint: int

    @property
    def is_complete(self) -> bool:
        """Whether the table has all parts."""
        return self.written == self.parts


class Output(Protocol):
    """A table to which runs append."""

    def check(self, schema: pa.Schema) -> None:
        """Refuse a table with other columns.

        Raises:
            OutputError: naming the first difference.
        """
        ...

    def progress(self, run_id: str) -> Progress | None:
        """What the table has of a run; None for nothing.

        Raises:
            OutputError: if that cannot be read.
        """
        ...

    def opened(self, run_id: str) -> AbstractContextManager[None]:
        """Within the block, this process alone writes the run.

        Raises:
            OutputError: if another one does.
        """
        ...

    def write(self, part: Part, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        """Append a part, all or nothing.

        Args:
            part: The part, the first one that the table does not have.
            schema: Its columns.
            batches: Its rows.

        Raises:
            OutputError: if the table cannot be written, or has the part by now.
            TandemError: what the batches raise.
        """
        ...


def check_same_columns(path: object, existing: pa.Schema, schema: pa.Schema) -> None:
    """Refuse columns that are not those of an existing table.

    Raises:
        OutputError: naming the table and the first column that differs.
    """
    if set(existing.names) != set(schema.names):
        name = sorted(set(existing.names) ^ set(schema.names))[0]
        lacks = "the table has no" if name in schema.names else "the run would not write"
        raise OutputError(f"{path} has other columns: {lacks} column {name!r}; write to another table")
    for field in schema:
        if (kind := existing.field(field.name).type) != field.type:
            raise OutputError(
                f"{path} has other columns: {field.name!r} is {kind}, the run would write {field.type}; write to "
                "another table"
            )
