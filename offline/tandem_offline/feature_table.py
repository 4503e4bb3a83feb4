"""The result of a point-in-time join: rows with their features, computed when they are read."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tandem.errors import DefinitionError
from tandem.inputs import Inputs
from tandem.model import Model
from tandem.table_inputs import inputs_from_table
from tandem_offline.scanning import ROWS_PER_BATCH


class Join(Protocol):
    """A join that has not been run."""

    def batches(self, rows: int) -> Iterator[pa.RecordBatch]:
        """Run it, and return its columns in batches of at most so many rows."""
        ...

    def count(self) -> int:
        """Rows of its result."""
        ...

    def identity(self) -> str:
        """A text that changes with the query, and with the tables that it reads."""
        ...


class FeatureTable:
    """Rows with their features, each as of its own time; made by :class:`~tandem_offline.store.OfflineStore`.

    It is a table wherever Tandem takes one, as in ``fit(model, features)``. Columns, in this order: those of the spine;
    for each view ``VIEW_event_time``, null where the entity had no row, and the view's features, null where they were
    stored as null, are older than ``max_age``, or there is no row. Times are in UTC with microseconds.

    Args:
        model: The model.
        schema: Its columns.
        join: Computes its rows.
        label: Column of the labels.
    """

    def __init__(
        self,
        model: Model,
        schema: pa.Schema,
        join: Join,
        *,
        label: str | None = None,
    ) -> None:
        self.model = model
        self.schema = schema
        self.label = label
        self._join = join

    def batches(self, rows: int = ROWS_PER_BATCH) -> Generator[pa.RecordBatch, None, None]:
        """Run the join, and return its rows in batches: memory does not grow with them.

        Args:
            rows: Rows of a batch at most.

        Raises:
            DefinitionError: naming view, table, column and rows of what cannot be read.
        """
        for batch in self._join.batches(rows):
            arrays = [array.cast(field.type) for array, field in zip(batch.columns, self.schema, strict=True)]
            yield pa.RecordBatch.from_arrays(arrays, schema=self.schema)

    def count(self) -> int:
        """Its rows, without the join: those of the spine, or of the root view's table.

        Raises:
            DefinitionError: as :meth:`batches`.
        """
        return self._join.count()

    def identity(self) -> str:
        """A text that changes with the query, and with the files of the tables that it reads."""
        return self._join.identity()

    def to_arrow(self) -> pa.Table:
        """All rows in memory; the join runs once, however often they are asked for.

        Raises:
            DefinitionError: as :meth:`batches`.
        """
        return self._table

    def to_pandas(self) -> Any:
        """The same as a pandas frame."""
        return self._table.to_pandas()

    def inputs(self) -> Inputs:
        """The same as inputs of the model.

        Raises:
            DefinitionError: as :meth:`batches`, or if a field that clients must send is missing.
        """
        return inputs_from_table(self.model, self._table)

    def labels(self) -> NDArray[Any]:
        """The labels; shape ``(rows,)``.

        Raises:
            DefinitionError: if there are none.
        """
        if self.label is None:
            raise DefinitionError("there are no labels: name their column with label=")
        return np.asarray(self._table[self.label])

    def write_parquet(self, path: Path | str) -> int:
        """Run the join in bounded memory, write its rows to a Parquet file, all or nothing, and return their number.

        Raises:
            DefinitionError: as :meth:`batches`.
            OSError: if the file cannot be written.
        """
        target = Path(path)
        scratch = target.with_name(f".{target.name}.{os.getpid()}")
        rows = 0
        try:
            with pq.ParquetWriter(scratch, self.schema) as writer:
                for batch in self.batches():
                    writer.write_batch(batch)
                    rows += batch.num_rows
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
        return rows

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)  # type: ignore[no-untyped-call]

    @cached_property
    def _table(self) -> pa.Table:
        return pa.Table.from_batches(list(self.batches()), self.schema)
