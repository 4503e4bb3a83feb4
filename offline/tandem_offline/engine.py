"""DuckDB, in the process and within bounds: queries over scans of Arrow datasets, answered in batches."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from tandem.errors import DefinitionError
from tandem_offline.scanning import ROWS_PER_BATCH, Scan


@dataclass(frozen=True)
class Limits:
    """What a query may use.

    Attributes:
        memory: Memory of the query itself, such as ``"1GB"``; what does not fit is written to disk.
        threads: Threads; None for one for each processor.
        directory: Where it writes what does not fit; None for the system's directory of temporary files.
    """

    memory: str = "1GB"
    threads: int | None = None
    directory: Path | None = None


@dataclass(frozen=True)
class Query:
    """SQL, and the tables that it reads.

    Attributes:
        sql: The query.
        scans: The tables, by the names of their relations.
    """

    sql: str
    scans: Mapping[str, Scan]

    def batches(self, limits: Limits, rows: int = ROWS_PER_BATCH) -> Iterator[pa.RecordBatch]:
        """Run the query.

        Args:
            limits: What it may use.
            rows: Rows of a batch at most.

        Raises:
            DefinitionError: naming view, table and column of what cannot be read.
        """
        with self._naming_table(), _connect(limits) as connection:
            for name, scan in self.scans.items():
                connection.register(name, scan.reader())
            yield from connection.sql(self.sql).to_arrow_reader(rows)

    def rows(self, limits: Limits) -> list[tuple[object, ...]]:
        """Run a query with a small result, and return its rows."""
        with self._naming_table(), _connect(limits) as connection:
            for name, scan in self.scans.items():
                connection.register(name, scan.reader())
            return connection.execute(self.sql).fetchall()

    def identity(self) -> str:
        """A text that changes with the query, and with the tables that it reads."""
        return repr([self.sql, *sorted((name, scan.identity()) for name, scan in self.scans.items())])

    @contextmanager
    def _naming_table(self) -> Iterator[None]:
        for scan in self.scans.values():
            scan.error = None
        try:
            yield
        # Arrow's reader raises errors of its own for those of DuckDB
        except (duckdb.Error, pa.ArrowException, OSError, RuntimeError) as error:
            for scan in self.scans.values():
                if scan.error is not None:
                    raise scan.error from error
            raise DefinitionError(f"the tables cannot be joined: {error}") from error


@contextmanager
def _connect(limits: Limits) -> Iterator[duckdb.DuckDBPyConnection]:
    with tempfile.TemporaryDirectory(prefix="tandem-", dir=limits.directory) as directory:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": limits.memory,
            "temp_directory": directory,
            # rows have numbers of their own, so that no order needs to be kept in memory
            "preserve_insertion_order": "false",
            # of a stream DuckDB does not know how long it is, and takes it for one row: a loop over it would never end
            "asof_loop_join_threshold": 0,
            # nothing is fetched from anywhere
            "autoinstall_known_extensions": "false",
        }
        if limits.threads is not None:
            settings["threads"] = limits.threads
        with duckdb.connect(config=settings) as connection:
            # times have no zone within a query, and a cast must not add that of the machine
            connection.execute("SET TimeZone = 'UTC'")
            yield connection
