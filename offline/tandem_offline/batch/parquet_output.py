"""A directory of Parquet files, one for each part of a run: ``RUN-00002-of-00010.parquet``.

A file gets this name when it is complete and on disk; until then its name begins with a dot, so that no reader takes it
for a part of the table. The names alone tell what there is of a run.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from tandem_offline.batch.outputs import OutputError, Progress, check_same_columns
from tandem_offline.batch.plan import Part

_FINGERPRINT: Final = "tandem.fingerprint"
_PART: Final = r"-(\d{5,})-of-(\d{5,})"


class ParquetOutput:
    """The directory.

    Args:
        directory: It need not exist.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def check(self, schema: pa.Schema) -> None:
        """Refuse a directory whose files have other columns; see :class:`~tandem_offline.batch.outputs.Output`."""
        file = next(iter(sorted(self.directory.glob("[!._]*.parquet"))), None)
        if file is not None:
            check_same_columns(self.directory, _read(pq.read_schema, file), schema)

    def progress(self, run_id: str) -> Progress | None:
        """What the directory has of a run; see :class:`~tandem_offline.batch.outputs.Output`."""
        files = self._parts(run_id)
        if not files:
            return None
        numbers = [number for number, _ in files]
        if numbers != list(range(len(files))) or len({parts for _, parts in files}) > 1:
            raise OutputError(
                f"{self.directory}: files of run {run_id} are missing; delete the others, and start again"
            )
        first = _read(pq.read_metadata, self._file(run_id, *min(files))).metadata or {}
        return Progress(len(files), max(parts for _, parts in files), int(first.get(_FINGERPRINT.encode(), b"-1")))

    @contextmanager
    def opened(self, run_id: str) -> Iterator[None]:
        """Within the block, this process alone writes the run; see :class:`~tandem_offline.batch.outputs.Output`."""
        lock = self.directory / f".{run_id}.lock"
        is_new = not self.directory.exists()
        with _naming(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            if not _is_locked(descriptor, lock):
                raise OutputError(f"another process writes run {run_id} to {self.directory}")
            for scratch in self._scratch_files(run_id):
                scratch.unlink()
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)
        finally:
            os.close(descriptor)
            # a run that has failed before its first part leaves nothing
            if is_new:
                with suppress(OSError):
                    self.directory.rmdir()

    def write(self, part: Part, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
        """Write a part, all or nothing; see :class:`~tandem_offline.batch.outputs.Output`."""
        file = self._file(part.run_id, part.number, part.parts)
        scratch = file.with_name(f".{file.stem}.scratch")
        with _naming(self.directory):
            try:
                with pq.ParquetWriter(scratch, schema) as writer:
                    _write_behind(writer, batches)
                    writer.add_key_value_metadata({_FINGERPRINT: str(part.fingerprint)})
                _flush(scratch)
                scratch.replace(file)
                _flush(self.directory)
            finally:
                scratch.unlink(missing_ok=True)

    def _parts(self, run_id: str) -> list[tuple[int, int]]:
        """Number of each part that is there, and of how many; ascending."""
        pattern = re.compile(rf"{re.escape(run_id)}{_PART}\.parquet")
        matches = filter(None, map(pattern.fullmatch, self._names()))
        return sorted((int(match[1]), int(match[2])) for match in matches)

    def _scratch_files(self, run_id: str) -> list[Path]:
        """Files of a process that was killed."""
        pattern = re.compile(rf"\.{re.escape(run_id)}{_PART}\.scratch")
        return [self.directory / name for name in self._names() if pattern.fullmatch(name)]

    def _names(self) -> list[str]:
        return [file.name for file in self.directory.iterdir()] if self.directory.is_dir() else []

    def _file(self, run_id: str, number: int, parts: int) -> Path:
        return self.directory / f"{run_id}-{number:05}-of-{parts:05}.parquet"


def _write_behind(writer: pq.ParquetWriter, batches: Iterator[pa.RecordBatch]) -> None:
    """Write batches, each in another thread while the next one is predicted."""
    with ThreadPoolExecutor(1) as pool:
        pending: Future[None] | None = None
        for batch in batches:
            if pending is not None:
                # one at a time, so that memory does not grow; raises what went wrong
                pending.result()
            pending = pool.submit(writer.write_batch, batch)
        if pending is not None:
            pending.result()


def _read(read: Callable[[Path], Any], file: Path) -> Any:
    """What a function reads of a file."""
    try:
        return read(file)
    except (OSError, pa.ArrowException) as error:
        raise OutputError(f"{file} cannot be read: {error}") from error


def _is_locked(descriptor: int, lock: Path) -> bool:
    """Lock a file; false if another process has locked it, or has deleted it since it was opened."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.path.samestat(os.fstat(descriptor), lock.stat())
    except (BlockingIOError, FileNotFoundError):
        return False


@contextmanager
def _naming(directory: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise OutputError(f"{directory} cannot be written: {reason}") from error


def _flush(path: Path) -> None:
    """Wait until a file, or a directory with its names, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # some file systems have nothing to flush for a directory
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)
