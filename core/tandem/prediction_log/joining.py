"""Predictions with what turned out to be true about them, and the export of a log, as Parquet.

Needs the extra ``arrow``.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tandem.dtypes import Column
from tandem.errors import LogError
from tandem.prediction_log.arrow import feedback_batch, prediction_batch, values
from tandem.prediction_log.gathering import chunks
from tandem.prediction_log.records import Records
from tandem.prediction_log.segments import read_segment
from tandem.prediction_log.spool import read_log, segments

_ROW_BITS: Final = 24
"""A request has fewer rows than 2 to this power."""


@dataclass(slots=True)
class Joined:
    """What was joined.

    Attributes:
        predictions: Predictions in the log.
        joined: Those with feedback, which are written.
        feedback: Records of feedback; of several about one prediction the last counts.
        unmatched: Predictions with feedback that are not in the log: not sampled, removed, or in another log.
    """

    predictions: int = 0
    joined: int = 0
    feedback: int = 0
    unmatched: int = 0


def export_log(directory: Path, target: Path, *, remove: bool = False) -> tuple[int, int]:
    """Write each completed segment as Parquet, one file for its predictions and one for its feedback.

    A file is named after its segment and appears under that name only when it is whole, so each record is exported
    once, however often this is run or broken off.

    Args:
        directory: The log.
        target: Files of predictions are put into ``predictions``, files of feedback into ``feedback`` there.
        remove: Remove the segments that are exported.

    Returns:
        Predictions and records of feedback that were written now.

    Raises:
        LogError: if a segment cannot be read.
        OSError: if a file cannot be written.
    """
    rows = {"predictions": 0, "feedback": 0}
    for path in segments(directory, complete=True):
        marker = target / "exported" / path.stem
        if not marker.exists():
            for kind, count in _export_segment(path, target).items():
                rows[kind] += count
            marker.parent.mkdir(parents=True, exist_ok=True)
            marker.touch()
        if remove:
            path.unlink(missing_ok=True)
    return rows["predictions"], rows["feedback"]


def join_feedback(directory: Path, target: Path) -> Joined:
    """Write the predictions that have feedback as Parquet, with the columns ``truth`` and ``truth_time``.

    Args:
        directory: The log.
        target: Directory for a file ``VERSION-DIGEST8-HASH.parquet`` for each schema; files are replaced when the new
            ones are whole.

    Raises:
        LogError: if a segment cannot be read, or truths are of several types.
        OSError: if a file cannot be written.
    """
    truths = _Truths(records for _, records in chunks(read_log(directory, "feedback")))
    joined = Joined(feedback=truths.records)
    with ExitStack() as stack:
        files: dict[str, _ParquetFile] = {}
        for _, records in chunks(read_log(directory, "predictions")):
            joined.predictions += records.rows
            rows, places = truths.of(records)
            if len(rows):
                batch = prediction_batch(records.take(rows))
                batch = batch.append_column("truth", values(truths.truths[places], None))
                batch = batch.append_column("truth_time", values(truths.times[places], None))
                name = _file_name(records, batch)
                if name not in files:
                    files[name] = stack.enter_context(_ParquetFile(target / name))
                files[name].write(batch)
                joined.joined += len(rows)
    joined.unmatched = len(truths.keys) - joined.joined
    return joined


class _Truths:
    """Feedback, sorted by writer and key, the last one about each prediction."""

    def __init__(self, parts: Iterable[Records]) -> None:
        writers: dict[str, int] = {}
        codes, keys, columns, times = [], [], [], []
        for records in parts:
            names = records.columns["writer"].tolist()
            codes.append(np.array([writers.setdefault(name, len(writers)) for name in names], np.int32))
            keys.append(_keys(records))
            columns.append(records.columns["truth"])
            times.append(records.columns["time"])
        self.records = sum(map(len, keys))
        code = np.concatenate(codes) if codes else np.zeros(0, np.int32)
        key = np.concatenate(keys) if keys else np.zeros(0, np.uint64)
        if len(types := {column.dtype for column in columns}) > 1:
            raise LogError(f"truths are of several types: {', '.join(sorted(map(str, types)))}")
        time = np.concatenate(times) if times else np.zeros(0, "datetime64[us]")
        order = np.lexsort((time, key, code))
        code, key = code[order], key[order]
        last = np.ones(len(order), bool)
        last[:-1] = (code[1:] != code[:-1]) | (key[1:] != key[:-1])
        self.keys = key[last]
        self.truths: Column = (np.concatenate(columns) if columns else np.zeros(0))[order][last]
        self.times: Column = time[order][last]
        bounds = np.searchsorted(code[last], np.arange(len(writers) + 1))
        self._parts = {name: (int(bounds[at]), int(bounds[at + 1])) for name, at in writers.items()}

    def of(self, records: Records) -> tuple[Column, Column]:
        """Indices of the predictions that have feedback, and where it is."""
        start, stop = self._parts.get(records.schema.writer, (0, 0))
        keys = _keys(records)
        places = start + np.minimum(np.searchsorted(self.keys[start:stop], keys), max(0, stop - start - 1))
        rows = np.flatnonzero(self.keys[places] == keys) if stop > start else np.zeros(0, np.int64)
        return rows, places[rows]


class _ParquetFile:
    """A Parquet file that appears under its name when it is whole; without rows there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}")
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> _ParquetFile:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._part, batch.schema, compression="zstd", compression_level=1)
        self._writer.write_batch(batch)

    def __exit__(self, kind: Any, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()
            if kind is None:
                self._part.rename(self._path)
            else:
                self._part.unlink()


def _export_segment(path: Path, target: Path) -> dict[str, int]:
    rows = {"predictions": 0, "feedback": 0}
    name = f"{path.stem}.parquet"
    with _ParquetFile(target / "predictions" / name) as predictions, _ParquetFile(target / "feedback" / name) as truths:
        for kind, records in chunks(read_segment(path)):
            if kind == "predictions":
                predictions.write(prediction_batch(records))
            else:
                truths.write(feedback_batch(records))
            rows[kind] += records.rows
    return rows


def _file_name(records: Records, batch: pa.RecordBatch) -> str:
    # the log may have changed what it records of one version, by its flags
    checksum = zlib.crc32(batch.schema.serialize())
    return f"{records.schema.version}-{records.schema.digest[:8]}-{checksum:08x}.parquet"


def _keys(records: Records) -> Column:
    """Number and row as one number, which is unique among the predictions of one writer."""
    numbers: Column = records.columns["number"].astype(np.uint64) << np.uint64(_ROW_BITS)
    return numbers | records.columns["row"].astype(np.uint64)
