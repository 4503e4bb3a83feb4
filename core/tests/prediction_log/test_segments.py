"""Segments: whole frames are read, whatever happens to the end of the file."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tandem.errors import LogError
from tandem.prediction_log import segments, spool
from tandem.prediction_log.blocks import encode_block
from tandem.prediction_log.following import follow
from tandem.prediction_log.records import Records
from tandem.prediction_log.schema import LogSchema
from tandem.prediction_log.segments import SegmentWriter, read_segment, recover
from tandem.prediction_log.spool import Spool, SpoolLimits, read_log

LIMITS = SpoolLimits(max_bytes=10**6, segment_bytes=10**5, segment_s=60.0)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def schema_of(writer: str = "00112233aabbccdd") -> LogSchema:
    return LogSchema(
        writer=writer, model="m", version="v1", digest="d", host="h", request={"key": "string"}, views={}, vectors=(),
        answers={"y": "float64"}, truth="float64",
    )  # fmt: skip


def block(*numbers: int, writer: str = "00112233aabbccdd") -> tuple[int, bytes]:
    columns: dict[str, Any] = {
        "number": np.array(numbers, np.int64),
        "row": np.zeros(len(numbers), np.int32),
        "request/key": np.array([f"k{number}" for number in numbers], object),
        "answer/y": np.array(numbers, np.float64) / 3,
    }
    return len(numbers), encode_block("predictions", Records(schema_of(writer), len(numbers), columns, {}))


def numbers(path: Path) -> list[int]:
    blocks = read_log(path) if path.is_dir() else read_segment(path)
    return [number for _, records in blocks for number in records.columns["number"].tolist()]


def segment(directory: Path, *blocks: tuple[int, bytes]) -> Path:
    directory.mkdir(exist_ok=True)
    writer = SegmentWriter(directory, 0, schema_of())
    for content in blocks:
        writer.write([content])
    writer.complete()
    return writer.path.with_suffix(".log")


def test_blocks_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = segment(tmp_path, block(1, 2), block(3))
    (_, first), (_, second) = read_segment(path)
    assert first.schema == schema_of()
    assert first.columns["request/key"].tolist() == ["k1", "k2"]
    assert first.columns["answer/y"].tobytes() == (np.array([1, 2]) / 3).tobytes()
    assert second.prediction_ids == ["00112233aabbccdd-3"]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_file_that_ends_anywhere_has_the_blocks_before(data: st.DataObject, tmp_path_factory: Any) -> None:
    directory = tmp_path_factory.mktemp("log")
    content = segment(directory, block(1, 2), block(3), block(4)).read_bytes()
    size = data.draw(st.integers(0, len(content) - 1))
    path = directory / "00112233aabbccdd-00000007.open"
    path.write_bytes(content[:size])
    before = numbers(path)
    assert before == [1, 2, 3, 4][: len(before)]
    recovered = recover(directory)
    assert not path.exists()
    assert [numbers(recovered_path) for recovered_path in recovered] == ([before] if before else [])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_byte_ends_the_segment_before_its_block(data: st.DataObject, tmp_path_factory: Any) -> None:
    directory = tmp_path_factory.mktemp("log")
    path = segment(directory, block(1, 2), block(3), block(4))
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    if place < len(segments.MAGIC):
        with pytest.raises(LogError, match="is not a segment"):
            numbers(path)
    else:
        assert numbers(path) in ([], [1, 2], [1, 2, 3])


def test_a_block_that_does_not_fit_on_the_disk_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = SegmentWriter(tmp_path, 0, schema_of())
    writer.write([block(1)])
    size = writer.path.stat().st_size
    write = os.write

    def fill_up(file: int, content: Any) -> int:
        if len(content) < 20:
            raise OSError(errno.ENOSPC, "full")
        return write(file, content[:20])

    monkeypatch.setattr(os, "write", fill_up)
    with pytest.raises(OSError, match="full"):
        writer.write([block(2)])
    monkeypatch.undo()
    assert writer.path.stat().st_size == size
    writer.write([block(3)])
    writer.complete()
    assert numbers(tmp_path) == [1, 3]


def test_a_segment_that_cannot_be_mended_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Spool(tmp_path, schema_of(), LIMITS, Clock())
    log.write([block(1)])
    write = os.write

    def fill_up(file: int, content: Any) -> int:
        if len(content) < 20:
            raise OSError(errno.EIO, "broken")
        return write(file, content[:20])

    def refuse(file: int, size: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "write", fill_up)
    monkeypatch.setattr(os, "ftruncate", refuse)
    with pytest.raises(OSError, match="broken"):
        log.write([block(2)])
    monkeypatch.undo()
    log.write([block(3)])
    log.complete()
    assert numbers(tmp_path) == [1, 3]


def test_a_segment_is_completed_by_size_and_by_age(tmp_path: Path) -> None:
    clock = Clock()
    size = segment(tmp_path / "other", block(1), block(2)).stat().st_size
    limits = SpoolLimits(max_bytes=10**6, segment_bytes=size, segment_s=60.0)
    log = Spool(tmp_path / "log", schema_of(), limits, clock)
    assert log.due_s() is None
    log.write([block(1)])
    assert log.due_s() == 60.0
    log.write([block(2)])
    assert log.due_s() == 0.0, "it has as many bytes as it may"
    log.write([block(3)])
    clock.now = 60.0
    assert log.due_s() == 0.0
    log.complete()
    assert [path.suffix for path in spool.segments(tmp_path / "log")] == [".log", ".log"]
    assert numbers(tmp_path / "log") == [1, 2, 3]


def test_a_full_directory_takes_nothing_until_there_is_room(tmp_path: Path) -> None:
    clock = Clock()
    limits = SpoolLimits(max_bytes=1500, segment_bytes=600, segment_s=60.0)
    log = Spool(tmp_path, schema_of(), limits, clock)
    written = []
    for number in range(20):
        clock.now += 1
        try:
            log.write([block(number)])
            written.append(number)
        except OSError as error:
            assert error.errno == errno.ENOSPC
    assert 0 < len(written) < 20
    assert numbers(tmp_path) == written
    assert spool.count_bytes(tmp_path) <= 1500
    for path in spool.segments(tmp_path, complete=True):
        path.unlink()
    clock.now += 1
    log.write([block(99)])
    assert 99 in numbers(tmp_path)


def test_old_segments_are_removed_and_their_records_counted(tmp_path: Path) -> None:
    limits = SpoolLimits(max_bytes=10**6, segment_bytes=1, segment_s=60.0, keep_s=100.0)
    log = Spool(tmp_path, schema_of(), limits)
    log.write([block(1, 2)])
    log.write([block(3)])
    os.utime(spool.segments(tmp_path)[0], (0, 0))
    assert log.expire() == 2
    assert numbers(tmp_path) == [3]


def test_only_what_nobody_writes_is_recovered(tmp_path: Path) -> None:
    own = SegmentWriter(tmp_path, 0, schema_of())
    own.write([block(1)])
    writer = "ffff000011112222"
    program = (
        "import os, sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "from test_segments import SegmentWriter, block, schema_of\n"
        f"segment = SegmentWriter(Path(sys.argv[1]), 5, schema_of({writer!r}))\n"
        f"segment.write([block(8, 9, writer={writer!r})])\n"
        "os.write(segment._file, b'torn'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path, Path(__file__).parent], check=False)
    assert [path.name for path in recover(tmp_path)] == [f"{writer}-00000005.log"]
    assert [path.suffix for path in spool.segments(tmp_path)] == [".open", ".log"]
    assert numbers(tmp_path) == [1, 8, 9]
    own.write([block(2)])
    own.complete()
    assert numbers(tmp_path) == [1, 2, 8, 9]


def test_following_gives_each_block_once(tmp_path: Path) -> None:
    blocks = follow(tmp_path)
    assert next(blocks) == []
    writer = SegmentWriter(tmp_path, 0, schema_of())
    writer.write([block(1)])
    assert [records.columns["number"].tolist() for _, records in next(blocks)] == [[1]]
    writer.write([block(2)])
    writer.complete()
    assert [records.columns["number"].tolist() for _, records in next(blocks)] == [[2]]
    assert next(blocks) == []


def test_what_is_not_a_segment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x-1.log").write_bytes(b"something else")
    with pytest.raises(LogError, match="is not a segment"):
        numbers(tmp_path)
