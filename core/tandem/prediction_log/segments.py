"""Segment files: frames one after another, the first of which is the schema.

    segment    "TandemL1", then frames
    frame      length u4, rows u4, CRC-32 u4 of these two and of the payload; the payload of ``length`` bytes
    payload    of the first frame the :class:`~tandem.prediction_log.schema.LogSchema` as JSON, of others a block

All numbers are little-endian. ``WRITER-NUMBER.open`` is being written by the process that holds its lock;
``WRITER-NUMBER.log`` is complete. A process that is killed leaves an open segment, perhaps with a part of a frame at
its end: a reader stops there, and whoever uses the directory next cuts it off.
"""

from __future__ import annotations

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from tandem.errors import LogError
from tandem.prediction_log.blocks import Kind, decode_block, kind_of
from tandem.prediction_log.records import Records
from tandem.prediction_log.schema import FORMAT, LogSchema

MAGIC: Final = b"TandemL1"
OPEN: Final = ".open"
COMPLETE: Final = ".log"

_HEAD: Final = struct.Struct("<III")
_COVERED: Final = 8
"""Bytes of a frame's head that its checksum covers."""

Payload = tuple[int, bytes]
"""Number of the records of a block, and the block."""


class SegmentWriter:
    """One segment that is being written.

    Args:
        directory: Where to.
        number: Number of the segment among those of its writer.
        schema: Of its records.

    Attributes:
        size: Its bytes.
        is_broken: Whether it may end with a part of a block, after which nothing could be read.

    Raises:
        OSError: it cannot be created.
    """

    def __init__(self, directory: Path, number: int, schema: LogSchema) -> None:
        self.path = directory / f"{schema.writer}-{number:08}{OPEN}"
        self._file = _locked(self.path)
        self.size = 0
        self.is_broken = False
        try:
            self._append(header(schema))
        except OSError:
            os.close(self._file)
            with suppress(OSError):
                self.path.unlink()
            raise

    def write(self, payloads: Sequence[Payload], *, sync: bool = False) -> None:
        """Append blocks: all of them or, with an error, none.

        Args:
            payloads: The blocks.
            sync: Wait until they are on the disk, so that they outlive the machine too.

        Raises:
            OSError: they are not written.
        """
        self._append(b"".join(map(_frame, payloads)))
        if sync:
            os.fdatasync(self._file)

    def complete(self) -> None:
        """End the segment; readers may take it away from now on."""
        # renamed before it is unlocked: nobody may take it for one that was left behind
        try:
            self.path.rename(self.path.with_suffix(COMPLETE))
        finally:
            os.close(self._file)

    def _append(self, content: bytes) -> None:
        view = memoryview(content)
        try:
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            self.is_broken = True
            os.ftruncate(self._file, self.size)
            os.lseek(self._file, self.size, os.SEEK_SET)
            self.is_broken = False
            raise
        self.size += len(content)


def header(schema: LogSchema) -> bytes:
    """What a segment begins with."""
    return MAGIC + _frame((0, msgspec.json.encode(schema)))


def count_frame_bytes(payloads: Sequence[Payload]) -> int:
    """What blocks take in a segment."""
    return sum(_HEAD.size + len(content) for _, content in payloads)


def read_segment(path: Path, only: Kind | None = None) -> Iterator[tuple[Kind, Records]]:
    """The blocks of a segment, or those of one kind, up to the end or to a frame that is not whole.

    Raises:
        LogError: if it is not a segment, or of another format.
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        # one that its writer has only just created is shorter
        if not MAGIC.startswith(file.read(len(MAGIC))):
            raise LogError(f"{path} is not a segment of a prediction log")
        schema: LogSchema | None = None
        for _, payload in _payloads(file):
            if schema is None:
                schema = _schema(path, payload)
            elif only is None or kind_of(payload) == only:
                yield decode_block(schema, payload)


def measure(path: Path) -> tuple[int, int]:
    """Bytes up to the end of the last whole frame, and the records in them.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        size, rows = len(file.read(len(MAGIC))), 0
        for count, payload in _payloads(file):
            size += _HEAD.size + len(payload)
            rows += count
    return size, rows


def recover(directory: Path) -> list[Path]:
    """Complete the segments that processes left open which are gone; what is no whole frame is cut off.

    Returns:
        The segments, as they are called now. Those without a record are removed.

    Raises:
        OSError: the directory cannot be read or written.
    """
    recovered = []
    for path in sorted(directory.glob(f"*{OPEN}")):
        try:
            with path.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                size, rows = measure(path)
                if not rows:
                    path.unlink()
                    continue
                file.truncate(size)
                recovered.append(path.rename(path.with_suffix(COMPLETE)))
        except (BlockingIOError, FileNotFoundError):
            continue
    return recovered


def _locked(path: Path) -> int:
    """A new file with its lock, for as long as this process lives: who gets the lock later knows that it is gone."""
    while True:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        fcntl.flock(file, fcntl.LOCK_EX)
        # between these two lines it may have been removed as one that was left behind
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)


def _frame(payload: Payload) -> bytes:
    rows, content = payload
    head = _HEAD.pack(len(content), rows, 0)[:_COVERED]
    return head + struct.pack("<I", zlib.crc32(content, zlib.crc32(head))) + content


def _payloads(file: BinaryIO) -> Iterator[Payload]:
    """The frames after the mark, as far as they are whole."""
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        length, rows, checksum = _HEAD.unpack(head)
        content = file.read(length)
        if len(content) < length or zlib.crc32(content, zlib.crc32(head[:_COVERED])) != checksum:
            return
        yield rows, content


def _schema(path: Path, payload: bytes) -> LogSchema:
    try:
        schema = msgspec.json.decode(payload, type=LogSchema)
    except msgspec.MsgspecError as error:
        raise LogError(f"{path}: its schema cannot be read: {error}") from error
    if schema.format != FORMAT:
        raise LogError(f"{path} has format {schema.format}; this version reads {FORMAT}")
    return schema
