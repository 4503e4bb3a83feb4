"""Building a snapshot: rows in any order, in bounded memory, all or nothing.

Rows are collected by the partition of their key and spooled to disk. Then one partition after the other is read back,
of each key the newest row is kept, and rows and slots are written in order. So memory holds what is not spooled yet,
64 MiB at most, and later one partition: about a thousandth of the rows.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from struct import Struct
from typing import BinaryIO, Final, Self

import msgspec
import numpy as np

from tandem.dtypes import Column
from tandem.features import FeatureView
from tandem.packed_rows import RowLayout
from tandem.store_keys import key_prefix
from tandem.stores import HEAD, LAYOUT, is_newer
from tandem.stores.snapshot_format import (
    BYTE_ORDER,
    FORMAT,
    HOME,
    HOME_BITS,
    HOME_SHIFT,
    MAGIC,
    PARTITION_SHIFT,
    PARTITIONS,
    PLACE,
    PRELUDE,
    TAG,
    TAG_SHIFT,
    Footer,
    SnapshotView,
    hash_key,
    refusal,
    verify_snapshot,
)

_SPOOLED_AT: Final = 1 << 16
"""Bytes of a partition's rows that are written to the spool at once."""

_SPOOL_HEAD: Final = Struct("<QII")
"""Hash of a row's key, lengths of key and row, in front of both."""

_ROW_HEAD: Final = Struct("<II")
"""Lengths of a row's key and of its value, in front of both."""

_HOMES_PER_ROW: Final = 2
"""More slots make searches shorter, and the file longer by eight bytes each."""

Row = tuple[bytes, bytes]
"""Key and packed row."""

_U = np.uint64


class SnapshotWriter:
    """Writes a snapshot; a context manager, within which rows are added and the file is finished.

    Args:
        path: The file. It appears when it is finished and has been read back, and replaces one that is there.
        views: Feature views whose rows are added.
        created_at: The present time, microseconds since 1970.

    Raises:
        SnapshotError: if files cannot be created beside it.
    """

    def __init__(self, path: Path | str, views: Iterable[FeatureView], *, created_at: int) -> None:
        self.path = Path(path)
        self.rows = 0
        self._layouts = {layout.key_prefix: layout for layout in map(RowLayout, views)}
        self._created_at = created_at
        self._secret = secrets.token_bytes(16)
        self._pending = [bytearray() for _ in range(PARTITIONS)]
        self._segments: list[list[tuple[int, int]]] = [[] for _ in range(PARTITIONS)]
        self._scratch = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        try:
            # without a name: the operating system removes it, whatever becomes of this process
            self._spool = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115 (closed at the end of the block)
        except OSError as error:
            raise refusal(self.path, error.strerror or str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()
        self._scratch.unlink(missing_ok=True)

    def add(self, view: FeatureView, rows: Iterable[Row]) -> None:
        """Add rows of one feature view; of several for one key, the newest stays, and the last one of equal times.

        Args:
            view: One of the snapshot's views.
            rows: Its rows.

        Raises:
            SnapshotError: if a row has the layout of other features, or the disk is full.
        """
        prefix = key_prefix(view)
        checksum = self._layouts[prefix].checksum.to_bytes(LAYOUT, "little")
        for key, row in rows:
            if row[:LAYOUT] != checksum or len(row) < HEAD or not key.startswith(prefix):
                raise refusal(self.path, f"row {key!r} is not one of feature view {view.name!r}; materialize it again")
            hashed = hash_key(key, self._secret)
            pending = self._pending[hashed >> PARTITION_SHIFT]
            pending += _SPOOL_HEAD.pack(hashed, len(key), len(row)) + key + row
            if len(pending) >= _SPOOLED_AT:
                self._flush(hashed >> PARTITION_SHIFT)
            self.rows += 1

    def finish(self, *, progress: Callable[[int], None] | None = None) -> Footer:
        """Write the file, read it back, and put it in its place.

        Args:
            progress: Called with how many of the rows that were added are handled so far.

        Raises:
            SnapshotError: if it cannot be written, or what is read back is not what was written.
        """
        try:
            with self._scratch.open("wb") as file:
                footer = self._write(_Output(file), progress)
                os.fsync(file.fileno())
            verify_snapshot(self._scratch)
            self._scratch.replace(self.path)
        except OSError as error:
            raise refusal(self.path, error.strerror or str(error)) from error
        return footer

    def _flush(self, partition: int) -> None:
        pending = self._pending[partition]
        try:
            self._segments[partition].append((self._spool.seek(0, os.SEEK_END), len(pending)))
            self._spool.write(pending)
        except OSError as error:
            raise refusal(self.path, error.strerror or str(error)) from error
        self._pending[partition] = bytearray()

    def _write(self, output: _Output, progress: Callable[[int], None] | None) -> Footer:
        entities: Counter[bytes] = Counter()
        newest: dict[bytes, int] = {}
        directory: list[int] = []
        handled = 0
        for partition in range(PARTITIONS):
            rows, read = self._newest(partition)
            directory += _write_partition(output, rows)
            for _, key, row in rows:
                prefix = _prefix(key)
                entities[prefix] += 1
                time = int.from_bytes(row[LAYOUT:HEAD], "little", signed=True)
                newest[prefix] = max(time, newest.get(prefix, time))
            handled += read
            if progress is not None:
                progress(handled)
        views = tuple(
            SnapshotView(layout.view.name, layout.view.version, layout.checksum, entities[prefix], newest.get(prefix))
            for prefix, layout in self._layouts.items()
        )
        return output.finish(views, np.array(directory, "<u8"), self._secret, self._created_at)

    def _newest(self, partition: int) -> tuple[list[tuple[int, bytes, bytes]], int]:
        """Hash, key and row of the newest row of each key, by hash; and how many rows there were."""
        rows: dict[bytes, tuple[int, bytes, bytes]] = {}
        read = 0
        for hashed, key, row in self._spooled(partition):
            read += 1
            if key not in rows or not is_newer(rows[key][2], row):
                rows[key] = hashed, key, row
        return sorted(rows.values()), read

    def _spooled(self, partition: int) -> Iterator[tuple[int, bytes, bytes]]:
        """Hash, key and row of all rows of a partition, in the order in which they were added."""
        for place, length in self._segments[partition]:
            self._spool.seek(place)
            yield from _unpack(self._spool.read(length))
        yield from _unpack(bytes(self._pending[partition]))
        self._pending[partition] = bytearray()


class _Output:
    """The file that is written, from begin to end, and the digest of what is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        # written when the rest is known
        file.write(bytes(PRELUDE.size))
        self.place = PRELUDE.size

    def write(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
        self.place += len(content)

    def align(self) -> int:
        """Go to the begin of a word; returns its number."""
        self.write(bytes(-self.place % 8))
        return self.place // 8

    def finish(self, views: tuple[SnapshotView, ...], directory: Column, secret: bytes, created_at: int) -> Footer:
        """Write directory, footer and prelude."""
        place = self.align()
        self.write(directory.tobytes())
        footer = Footer(
            views=views,
            created_at=created_at,
            hash_key=secret,
            directory=place,
            digest=self._digest.hexdigest(),
        )
        text = msgspec.json.encode(footer)
        self._file.write(text)
        size, digest = self.place + len(text), hashlib.sha256(text).digest()
        self._file.seek(0)
        self._file.write(PRELUDE.pack(MAGIC, BYTE_ORDER, FORMAT, size, self.place, len(text), digest))
        self._file.flush()
        return footer


def _write_partition(output: _Output, rows: list[tuple[int, bytes, bytes]]) -> tuple[int, int]:
    """Write rows, in the order of their hashes, and their slots; returns the first slot, and how many are home slots.

    Raises:
        OSError: if the file becomes too large for the slots, or cannot be written.
    """
    first = output.align()
    if not rows:
        # one home slot, and it is empty
        output.write(bytes(8))
        return first, 1
    contents = [_padded(_ROW_HEAD.pack(len(key), len(row)) + key + row) for _, key, row in rows]
    places = first + np.cumsum([0, *map(len, contents)], dtype=np.uint64) // _U(8)
    if places[-1] > PLACE:
        raise OSError(errno.EFBIG, f"a snapshot has at most {PLACE:,} words")
    output.write(b"".join(contents))
    homes = _HOMES_PER_ROW * len(rows)
    hashes = np.array([hashed for hashed, _, _ in rows], np.uint64)
    home = ((hashes >> _U(HOME_SHIFT) & _U(HOME)) * _U(homes) >> _U(HOME_BITS)).astype(np.int64)
    # hashes ascend, and so do homes: each row takes the first slot that is free from its home on
    order = np.arange(len(rows))
    slot = np.maximum.accumulate(home - order) + order
    # searches end at an empty slot, and none goes back to the first one
    slots = np.zeros(max(homes, slot[-1] + 1) + 1, "<u8")
    slots[slot] = (hashes & _U(TAG)) << _U(TAG_SHIFT) | places[:-1]
    first = output.align()
    output.write(slots.tobytes())
    return first, homes


def _padded(content: bytes) -> bytes:
    """The content with zeros up to the end of its last word."""
    return content + bytes(-len(content) % 8)


def _prefix(key: bytes) -> bytes:
    """What the keys of the view begin with."""
    return key[: key.index(b":", key.index(b":") + 1) + 1]


def _unpack(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    at = 0
    while at < len(content):
        hashed, key_bytes, row_bytes = _SPOOL_HEAD.unpack_from(content, at)
        start = at + _SPOOL_HEAD.size
        at = start + key_bytes + row_bytes
        yield hashed, content[start : start + key_bytes], content[start + key_bytes : at]
