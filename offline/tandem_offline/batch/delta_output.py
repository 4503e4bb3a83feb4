"""A Delta table to which a run appends one commit for each part.

A commit states by app transactions what the table has of the run: ``tandem:RUN`` has the number of the part,
``tandem:RUN:parts`` of how many, and ``tandem:RUN:fingerprint`` what the run is made of. Delta keeps them as long as
the table. A writer that meets a commit of the same transaction is refused, so that no part is written twice.

Source: Delta Transaction Log Protocol, "Transaction Identifiers".
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, write_deltalake
from deltalake.exceptions import DeltaError

from tandem_offline.batch.outputs import OutputError, Progress, check_same_columns
from tandem_offline.batch.plan import Part

_PREFIX: Final = "tandem:"


class DeltaOutput:
    """The table.

    Args:
        path: A directory or a URL; the table need not exist.
    """

    def __init__(self, path: str) -> None:
        self.path = path

    def check(self, schema: pa.Schema) -> None:
        """Refuse a table with other columns; see :class:`~tandem_offline.batch.outputs.Output`."""
        table = self._open()
        if table is not None:
            # as Delta has them: it knows fewer types than Arrow
            own = pa.schema(Schema.from_arrow(schema).to_arrow())  # type: ignore[arg-type]
            existing = pa.schema(table.schema().to_arrow())  # type: ignore[arg-type]
            check_same_columns(self.path, existing, own)

    def progress(self, run_id: str) -> Progress | None:
        """What the table has of a run; see :class:`~tandem_offline.batch.outputs.Output`."""
        table = self._open()
        if table is None:
            return None
        number, parts, fingerprint = (table.transaction_version(name) for name in _transactions(run_id))
        if number is None or parts is None or fingerprint is None:
            return None
        return Progress(number + 1, parts, fingerprint)

    @contextmanager
    def opened(self, run_id: str) -> Iterator[None]:
        """Nothing to do: the transaction log refuses a second writer of the run."""
        yield

    def write(self, part: Part, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        """Commit a part, all or nothing; see :class:`~tandem_offline.batch.outputs.Output`."""
        # what is wrong with the tables shows with the first batch, before there is a table
        first = list(itertools.islice(batches, 1))
        rows = _Rows(itertools.chain(first, batches))
        versions = (part.number, part.parts, part.fingerprint)
        transactions = [Transaction(*pair) for pair in zip(_transactions(part.run_id), versions, strict=True)]
        table = self._open()
        written = None if table is None else table.transaction_version(_transactions(part.run_id)[0])
        if (-1 if written is None else written) != part.number - 1:
            raise OutputError(f"another process writes run {part.run_id} to {self.path}")
        try:
            write_deltalake(
                # with the snapshot that was looked at, a commit in between is a conflict; so is a new table
                self.path if table is None else table,
                pa.RecordBatchReader.from_batches(schema, iter(rows)),
                mode="error" if table is None else "append",
                commit_properties=CommitProperties({"tandem.run": part.run_id}, app_transactions=transactions),
            )
        except Exception as error:
            if rows.error is not None:
                raise rows.error from None
            # delta-rs raises several exceptions without a common base of their own
            raise OutputError(f"{self.path} cannot be written: {error}") from error

    def _open(self) -> DeltaTable | None:
        try:
            return DeltaTable(self.path) if DeltaTable.is_deltatable(self.path) else None
        except (DeltaError, OSError) as error:
            raise OutputError(f"{self.path} cannot be read as a Delta table: {error}") from error


class _Rows:
    """Batches that delta-rs reads, of whose errors it would pass on no more than a text."""

    def __init__(self, batches: Iterator[pa.RecordBatch]) -> None:
        self.batches = batches
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self.batches
        except BaseException as error:
            self.error = error
            raise


def _transactions(run_id: str) -> tuple[str, str, str]:
    name = _PREFIX + run_id
    return name, f"{name}:parts", f"{name}:fingerprint"
