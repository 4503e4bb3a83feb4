"""Tables of closed windows: Parquet files or a Delta table, to which each message of a topic is appended once.

A table itself says how far it has a partition of the topic, in the same step in which rows are added. So what is read
again after a failure is not added again, and of two writers one is refused.

Parquet: a file for each append, ``windows-TOPIC-PARTITION-FIRST.parquet``, which states in its metadata where the next
one begins. It gets its name when it is complete and on disk, by a link, which fails if the name is taken.

Delta: a commit for each append, with the app transaction ``tandem:TOPIC:PARTITION``, whose version is where the next
one begins. Source: Delta Transaction Log Protocol, "Transaction Identifiers".
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tandem.arrow_tables import window_schema
from tandem.errors import DefinitionError, TandemError
from tandem.features import FeatureView
from tandem_stream.windows.settings import TableFormat

_NEXT: Final = b"tandem.next"


class TableError(TandemError):
    """A table of windows cannot be read or written, or another worker has written the same messages."""


class WindowTable(Protocol):
    """A table that knows how far it has a topic."""

    def begin(self, partition: int) -> int:
        """Offset of the first message of a partition that the table does not have.

        Raises:
            TableError: if that cannot be read.
        """
        ...

    def append(self, partition: int, first: int, end: int, rows: pa.Table) -> None:
        """Add the rows of some messages, all or nothing.

        Args:
            partition: Partition of the messages.
            first: What :meth:`begin` is before.
            end: What it is after.
            rows: Their rows.

        Raises:
            TableError: if the table cannot be written, or has these messages by now.
        """
        ...


def window_rows(view: FeatureView, values: Sequence[bytes]) -> pa.Table:
    """Rows of a table from the values of messages.

    Args:
        view: The view.
        values: Of :class:`~tandem_stream.windows.closed.WindowMessages`.

    Returns:
        The columns of :func:`tandem.arrow_tables.window_schema`.
    """
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    rows = [decode(value) for value in values]
    schema = window_schema(view)
    return pa.Table.from_arrays(
        [_column([row[field.name] for row in rows], field.type) for field in schema], schema=schema
    )


def _column(values: list[Any], kind: pa.DataType) -> Any:
    if not pa.types.is_timestamp(kind):
        return pa.array(values, kind)
    moments = np.array(["NaT" if text is None else text.removesuffix("Z") for text in values], "datetime64[us]")
    # NumPy's times have no zone: all of them are UTC
    return pa.array(moments).cast(kind)


class ParquetTable:
    """A directory of Parquet files.

    Args:
        directory: It need not exist.
        topic: Name of the topic.
    """

    def __init__(self, directory: Path, topic: str) -> None:
        self._directory = directory
        self._topic = topic

    def begin(self, partition: int) -> int:
        """Where reading begins; see :meth:`WindowTable.begin`."""
        pattern = re.compile(rf"windows-{re.escape(self._topic)}-{partition:05}-\d{{20}}\.parquet")
        with _naming(self._directory):
            names = [file.name for file in self._directory.iterdir()] if self._directory.exists() else []
            last = max(filter(pattern.fullmatch, names), default=None)
            if last is None:
                return 0
            metadata = pq.read_schema(self._directory / last).metadata or {}
        if _NEXT not in metadata:
            raise TableError(f"{self._directory / last} does not tell where the next file begins")
        return int(metadata[_NEXT])

    def append(self, partition: int, first: int, end: int, rows: pa.Table) -> None:
        """Add a file; see :meth:`WindowTable.append`."""
        file = self._directory / f"windows-{self._topic}-{partition:05}-{first:020}.parquet"
        scratch = file.with_name(f".{file.stem}.{uuid.uuid4().hex}.scratch")
        with _naming(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
            try:
                pq.write_table(rows.replace_schema_metadata({_NEXT: str(end)}), scratch)
                _flush(scratch)
                os.link(scratch, file)
                _flush(self._directory)
            finally:
                scratch.unlink(missing_ok=True)


class DeltaTable:
    """A Delta table.

    Args:
        path: A directory, or a URL that delta-rs knows; the table need not exist.
        topic: Name of the topic.

    Raises:
        DefinitionError: if Delta is not installed.
    """

    def __init__(self, path: str, topic: str) -> None:
        try:
            import deltalake
        except ModuleNotFoundError as error:
            raise DefinitionError(f"a Delta table needs {error.name}; install tandem-stream[delta]") from None
        self._delta = deltalake
        self._path = path
        self._topic = topic

    def begin(self, partition: int) -> int:
        """Where reading begins; see :meth:`WindowTable.begin`."""
        return self._begin(self._open(), partition)

    def append(self, partition: int, first: int, end: int, rows: pa.Table) -> None:
        """Commit rows; see :meth:`WindowTable.append`."""
        table = self._open()
        if self._begin(table, partition) != first:
            raise TableError(f"{self._path}: another worker has written partition {partition} of {self._topic}")
        transaction = self._delta.Transaction(self._name(partition), end)
        try:
            self._delta.write_deltalake(
                # with the snapshot that was looked at, a commit of the same transaction in between is a conflict
                self._path if table is None else table,
                rows,
                mode="error" if table is None else "append",
                commit_properties=self._delta.CommitProperties(app_transactions=[transaction]),
            )
        except Exception as error:  # delta-rs raises several exceptions without a common base of their own
            raise TableError(f"{self._path} cannot be written: {error}") from error

    def _begin(self, table: Any, partition: int) -> int:
        return 0 if table is None else table.transaction_version(self._name(partition)) or 0

    def _name(self, partition: int) -> str:
        return f"tandem:{self._topic}:{partition}"

    def _open(self) -> Any:
        delta = self._delta.DeltaTable
        try:
            return delta(self._path) if delta.is_deltatable(self._path) else None
        except Exception as error:
            raise TableError(f"{self._path} cannot be read as a Delta table: {error}") from error


def open_window_table(path: str, form: TableFormat, topic: str) -> WindowTable:
    """The table at a path, which need not exist.

    Raises:
        DefinitionError: if Delta is not installed.
    """
    return ParquetTable(Path(path), topic) if form == "parquet" else DeltaTable(path, topic)


@contextmanager
def _naming(directory: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise TableError(f"{directory}: another worker has written {error.filename2 or error.filename}") from error
    except (OSError, pa.ArrowException) as error:
        raise TableError(f"{directory} cannot be read or written: {error}") from error


def _flush(path: Path) -> None:
    """Wait until a file, or a directory with its names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
