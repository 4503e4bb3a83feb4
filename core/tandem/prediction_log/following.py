"""Following a log while it is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tandem.prediction_log.blocks import Kind
from tandem.prediction_log.records import Records
from tandem.prediction_log.segments import COMPLETE, OPEN, read_segment
from tandem.prediction_log.spool import segments


def follow(directory: Path) -> Iterator[list[tuple[Kind, Records]]]:
    """Each time that it is asked, the blocks that have been written since; at first all.

    Raises:
        LogError: if a segment cannot be read.
    """
    blocks_read: dict[str, int] = {}
    complete: set[str] = set()
    while True:
        blocks: list[tuple[Kind, Records]] = []
        paths = segments(directory)
        # oldest first: names are by writer
        for path in sorted(paths, key=_written):
            if path.stem in complete:
                continue
            own = _read(path)
            blocks += own[blocks_read.get(path.stem, 0) :]
            blocks_read[path.stem] = len(own)
            if path.suffix == COMPLETE:
                complete.add(path.stem)
        yield blocks


def _read(path: Path) -> list[tuple[Kind, Records]]:
    # in between it may have been completed
    for name in dict.fromkeys((path, path.with_suffix(COMPLETE), path.with_suffix(OPEN))):
        with suppress(FileNotFoundError):
            return list(read_segment(name))
    return []


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")
