"""The file format of snapshots: what its parts are, and how it is checked.

    prelude     128 bytes: magic, byte order, format, size of the file, place and length of the footer, its SHA-256
    partitions  1024 of them, by the first bits of a key's hash: rows, then slots that say where rows are
    directory   for each partition: its first slot, and its number of home slots
    footer      JSON: feature views with the checksums of their layouts, key of the hash, SHA-256 of all before it

A row has the lengths of its key and of its value in front. A slot is a word of eight bytes: 24 bits of the hash, above
40 bits with the place of the row; zero if it is empty. A key is searched from its home slot on until an empty slot, so
that a lookup reads two or three places of the file, however many rows it has. Numbers are little-endian, and words are
aligned. The hash is BLAKE2b with a key that is drawn for each file.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from tandem.errors import SnapshotError

MAGIC: Final = b"TANDEMSN"
FORMAT: Final = 1
BYTE_ORDER: Final = 0x01020304
PRELUDE: Final = struct.Struct("<8sIIQQQ32s56x")
"""Magic, byte order, format, size of the file, place and length of the footer, SHA-256 of the footer."""

KEY_LENGTH: Final = (1 << 32) - 1
VALUE_SHIFT: Final = 32
"""A row begins with a word: the length of its key, and above that the length of its value."""

PARTITIONS: Final = 1024
PARTITION_SHIFT: Final = 54
HOME_SHIFT: Final = 24
HOME_BITS: Final = 30
HOME: Final = (1 << HOME_BITS) - 1
TAG: Final = (1 << 24) - 1
"""A hash has the partition in its highest ten bits, then 30 bits for the home slot, then 24 bits that the slot has."""

TAG_SHIFT: Final = 40
PLACE: Final = (1 << TAG_SHIFT) - 1
"""A slot has the tag above the place of its row, in words."""

_CHUNK: Final = 1 << 20


class SnapshotView(msgspec.Struct, frozen=True):
    """What a snapshot has of one feature view.

    Attributes:
        name: Name of the view.
        version: Its version.
        layout: Checksum of the layout of its rows.
        entities: How many rows there are, one for each entity.
        newest: Greatest event time, microseconds since 1970; None if there is no row.
    """

    name: str
    version: int
    layout: int
    entities: int
    newest: int | None


class Footer(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot says about itself.

    Attributes:
        views: Its feature views.
        created_at: When it was built, microseconds since 1970.
        hash_key: Key of the hash.
        directory: Place of the directory, in words.
        digest: SHA-256 of what is between prelude and footer, in hex.
    """

    views: tuple[SnapshotView, ...]
    created_at: int
    hash_key: bytes
    directory: int
    digest: str


def hash_key(key: bytes, secret: bytes) -> int:
    """The hash of a store key, with the file's own key: nobody can choose entities that share a slot."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=8, key=secret).digest(), "little")


def read_footer(file: BinaryIO, path: Path) -> Footer:
    """What a snapshot says about itself, checked as far as it is possible without reading its rows.

    Args:
        file: The file, at its begin.
        path: Its path, for errors.

    Raises:
        SnapshotError: naming the file and the rule.
        OSError: if it cannot be read.
    """
    size = file.seek(0, 2)
    file.seek(0)
    head = file.read(PRELUDE.size)
    if not head.startswith(MAGIC):
        raise refusal(path, f"is not a snapshot: it begins with {head[: len(MAGIC)]!r}, not with {MAGIC!r}")
    if size < PRELUDE.size:
        raise refusal(path, f"is cut off: it has {size:,} bytes, and a snapshot at least {PRELUDE.size}")
    _, _, format_, stated, place, length, digest = PRELUDE.unpack(head)
    order = int.from_bytes(head[8:12], sys.byteorder)
    if order != BYTE_ORDER:
        raise refusal(
            path, f"has another byte order than this machine ({sys.byteorder}-endian); build it on such a one"
        )
    if format_ != FORMAT:
        raise refusal(path, f"has format {format_}; this version reads format {FORMAT}")
    if size != stated:
        problem = "is cut off" if size < stated else "has bytes that do not belong to it"
        raise refusal(path, f"{problem}: it has {size:,} bytes, and {stated:,} are stated")
    file.seek(place)
    text = file.read(length)
    if hashlib.sha256(text).digest() != digest:
        raise refusal(path, "is damaged: its footer has another checksum than stated")
    try:
        return msgspec.json.decode(text, type=Footer)
    except msgspec.MsgspecError as error:
        raise refusal(path, f"is damaged: its footer cannot be read: {error}") from error


def verify_snapshot(path: Path | str, *, progress: Callable[[int, int], None] | None = None) -> Footer:
    """Read a snapshot from begin to end, and compare it with its digest.

    Args:
        path: The file.
        progress: Called with the bytes that were read so far, and with all of them.

    Raises:
        SnapshotError: naming the file and the rule, as :class:`SnapshotStore`, and if its content has another digest.
    """
    file_path = Path(path)
    content = hashlib.sha256()
    try:
        with file_path.open("rb") as file:
            footer = read_footer(file, file_path)
            file.seek(0)
            stop = PRELUDE.unpack(file.read(PRELUDE.size))[4]
            while (at := file.tell()) < stop:
                content.update(file.read(min(_CHUNK, stop - at)))
                if progress is not None:
                    progress(file.tell(), stop)
    except OSError as error:
        raise refusal(file_path, error.strerror or str(error)) from error
    if content.hexdigest() != footer.digest:
        raise refusal(file_path, "is damaged: its content has another digest than stated")
    return footer


def refusal(path: Path, rule: str) -> SnapshotError:
    """The error about a snapshot that names the file and the rule."""
    return SnapshotError(f"snapshot {path}: {rule}")
