"""Zip archives of somebody else, unpacked up to a limit: a few bytes can stand for any number of them."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

MAX_MEMBERS = 10_000
"""Most files of an archive."""


def unpack(content: bytes, directory: Path, max_bytes: int) -> None:
    """Write the files of an archive.

    Args:
        content: The archive.
        directory: Where to; nothing is written outside of it.
        max_bytes: Most bytes of all files together.

    Raises:
        ValueError: There are more, or too many files.
        zipfile.BadZipFile: It is not an archive, or damaged, or a file has more bytes than it says.
    """
    with _opened(content, max_bytes) as (archive, members):
        for member in members:
            archive.extract(member, directory)


def read_arrays(content: bytes, max_bytes: int) -> dict[str, NDArray[Any]]:
    """Arrays of an ``.npz`` by name; no pickled objects.

    Args:
        content: The archive.
        max_bytes: Most bytes of all arrays together.

    Raises:
        ValueError: There are more, or too many arrays, or one is not an array.
        zipfile.BadZipFile: It is not an archive, or damaged, or an array has more bytes than it says.
    """
    with _opened(content, max_bytes) as (archive, members):
        return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}


@contextmanager
def _opened(content: bytes, max_bytes: int) -> Iterator[tuple[ZipFile, list[ZipInfo]]]:
    """An archive and its members, of which none gives more bytes than it says here."""
    with ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            raise ValueError(f"the archive has {len(members)} files, at most {MAX_MEMBERS} are taken")
        # zipfile reads no more of a member than it says, so that the sum of what they say is a limit
        if (size := sum(member.file_size for member in members)) > max_bytes:
            raise ValueError(f"the archive has {size} bytes when unpacked, at most {max_bytes} are taken")
        yield archive, members


def _array(archive: ZipFile, member: ZipInfo) -> NDArray[Any]:
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"{member.filename} has version {version} of NumPy's format")
        shape, by_columns, dtype = _HEADERS[version](stream)
        # they are stored as a pickle, which runs code when it is read
        if dtype.hasobject:
            raise ValueError(f"{member.filename} has Python objects, which are not read")
        size = math.prod(shape) * dtype.itemsize
        if size > member.file_size:
            raise ValueError(f"{member.filename} ends before its array does")
        content = stream.read(size)
        if len(content) < size or stream.read(1):
            raise ValueError(f"{member.filename} has another number of bytes than its array")
    # a bytearray, as an array of bytes could not be written to
    array = np.frombuffer(bytearray(content), dtype, math.prod(shape)) if size else np.empty(shape, dtype)
    return array.reshape(shape, order="F" if by_columns else "C")


_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
