from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from tandem.archives import read_arrays, unpack

MIB = 2**20


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as written:
        for name, content in members.items():
            written.writestr(name, content)
    return stream.getvalue()


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def understated(content: bytes, name: str) -> bytes:
    """The archive with a file that says to have one byte."""
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        size = opened.getinfo(name).file_size
    return content.replace(size.to_bytes(4, "little"), (1).to_bytes(4, "little"))


@given(arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_dims=0, min_side=0)))
def test_arrays_are_read_as_numpy_reads_them(array: Any) -> None:
    for written in (array, np.asfortranarray(array)):
        stream = io.BytesIO()
        np.savez_compressed(stream, x=written)
        (read,) = read_arrays(stream.getvalue(), MIB).values()
        assert (read.dtype, read.shape, read.tobytes()) == (written.dtype, written.shape, written.tobytes())


def test_an_archive_that_would_be_too_large_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = archive(**{"x.npy": npy(np.zeros(MIB))})
    assert len(bomb) < MIB / 50
    for use in (lambda: read_arrays(bomb, MIB), lambda: unpack(bomb, tmp_path, MIB)):
        with pytest.raises(ValueError, match=f"has {8 * MIB + 128} bytes when unpacked, at most {MIB} are taken"):
            use()
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_larger_than_it_says_is_refused(tmp_path: Path) -> None:
    bomb = understated(archive(**{"x.npy": npy(np.zeros(MIB))}), "x.npy")
    with pytest.raises((zipfile.BadZipFile, ValueError)):
        read_arrays(bomb, MIB)
    with pytest.raises(zipfile.BadZipFile):
        unpack(bomb, tmp_path, MIB)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 1


def test_an_array_that_is_larger_than_its_file_is_refused() -> None:
    huge = npy(np.zeros(10)).replace(b"(10,)", b"(99,)")
    for content in (huge, npy(np.zeros(10))[:-1], npy(np.zeros(10)) + b"x", npy(np.zeros(10))[:20]):
        with pytest.raises(ValueError):
            read_arrays(archive(**{"x.npy": content}), MIB)


def test_too_many_files_are_refused() -> None:
    with pytest.raises(ValueError, match="the archive has 10001 files, at most 10000 are taken"):
        read_arrays(archive(**{f"{number}": b"" for number in range(10_001)}), MIB)


def test_nothing_is_written_outside_of_the_directory(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    unpack(archive(**{"../outside": b"x", "/absolute": b"x"}), inside, MIB)
    assert {file.name for file in tmp_path.iterdir()} == {"inside"}
