"""The directory of a prediction log: segments that are written, kept for some time, and taken away."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tandem.prediction_log.blocks import Kind
from tandem.prediction_log.records import Records
from tandem.prediction_log.schema import LogSchema
from tandem.prediction_log.segments import (
    COMPLETE,
    OPEN,
    Payload,
    SegmentWriter,
    count_frame_bytes,
    header,
    measure,
    read_segment,
    recover,
)

_RESCAN_S: Final = 1.0


@dataclass(frozen=True, kw_only=True)
class SpoolLimits:
    """Bounds of a directory.

    Attributes:
        max_bytes: Most bytes of all its files; more is not written.
        segment_bytes: A segment of so many bytes is completed.
        segment_s: So is one that has been open for so many seconds.
        keep_s: A completed segment is removed so many seconds after; 0 keeps it.
    """

    max_bytes: int
    segment_bytes: int
    segment_s: float
    keep_s: float = 0.0


class Spool:
    """What one process writes into the directory; others may write there too.

    Args:
        directory: Made if it is not there.
        schema: Of this process's records.
        limits: Bounds of the directory.
        clock: Seconds.

    Raises:
        OSError: the directory cannot be used.
    """

    def __init__(
        self, directory: Path, schema: LogSchema, limits: SpoolLimits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        recover(directory)
        self._directory = directory
        self._schema = schema
        self._limits = limits
        self._clock = clock
        self._header_bytes = len(header(schema))
        self._segment: SegmentWriter | None = None
        self._opened = 0.0
        self._number = 0
        self._others = 0
        self._scanned = -_RESCAN_S

    def write(self, payloads: Sequence[Payload], *, sync: bool = False) -> None:
        """Append blocks: all of them or, with an error, none.

        Raises:
            OSError: ``ENOSPC`` if the directory or the disk is full; others as they come.
        """
        if self._is_due():
            self.complete()
        self._make_room(count_frame_bytes(payloads) + (self._header_bytes if self._segment is None else 0))
        if self._segment is None:
            self._segment = SegmentWriter(self._directory, self._number, self._schema)
            self._number += 1
            self._opened = self._clock()
        self._segment.write(payloads, sync=sync)

    def due_s(self) -> float | None:
        """Seconds until the open segment must be completed; None if there is none."""
        if self._segment is None:
            return None
        if self._is_due():
            return 0.0
        return max(0.0, self._opened + self._limits.segment_s - self._clock())

    def complete(self) -> None:
        """Complete the open segment, if there is one."""
        if self._segment is not None:
            segment, self._segment = self._segment, None
            segment.complete()
            self._scanned = -_RESCAN_S

    def expire(self) -> int:
        """Remove completed segments that are older than they may be.

        Returns:
            How many records were in them.
        """
        if not self._limits.keep_s:
            return 0
        rows = 0
        oldest = time.time() - self._limits.keep_s
        for path in segments(self._directory, complete=True):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    _, count = measure(path)
                    path.unlink()
                    rows += count
        return rows

    def _is_due(self) -> bool:
        segment = self._segment
        return segment is not None and (segment.is_broken or segment.size >= self._limits.segment_bytes)

    def _make_room(self, size: int) -> None:
        own = self._segment.size if self._segment is not None else 0
        if self._others + own + size > self._limits.max_bytes or own == 0:
            # others write too, and what is delivered or exported goes away
            if self._clock() - self._scanned >= _RESCAN_S:
                self._scanned = self._clock()
                self._others = count_bytes(self._directory) - own
            if self._others + own + size > self._limits.max_bytes:
                raise OSError(errno.ENOSPC, "the prediction log has all the bytes that it may have")


def count_bytes(directory: Path) -> int:
    """Bytes of all files of a log."""
    size = 0
    for path in directory.iterdir():
        with suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def segments(directory: Path, *, complete: bool = False) -> list[Path]:
    """Segments by name, which is by writer and then in the order in which they were written.

    Args:
        directory: Of the log.
        complete: Only those that nobody writes any more.
    """
    suffixes = (COMPLETE,) if complete else (COMPLETE, OPEN)
    return sorted(path for path in directory.iterdir() if path.suffix in suffixes)


def read_log(directory: Path, only: Kind | None = None) -> Iterator[tuple[Kind, Records]]:
    """All records of a log, or those of one kind, each once, block by block; of open segments what is whole.

    Raises:
        LogError: if a segment cannot be read.
    """
    # a segment that is completed in between has another name then
    for name in dict.fromkeys(path.stem for path in segments(directory)):
        for suffix in (OPEN, COMPLETE):
            path = directory / f"{name}{suffix}"
            with suppress(FileNotFoundError):
                yield from read_segment(path, only)
                break
