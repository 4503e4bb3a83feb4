"""Online store in one file that never changes: rows of feature views, looked up where they lie, without a server.

The file is built by :class:`~tandem.stores.snapshot_writer.SnapshotWriter`; :mod:`tandem.stores.snapshot_format`
describes it.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Sequence
from pathlib import Path

from tandem.features import FeatureView
from tandem.packed_rows import RowLayout
from tandem.stores.snapshot_format import (
    HOME,
    HOME_BITS,
    HOME_SHIFT,
    KEY_LENGTH,
    PARTITION_SHIFT,
    PLACE,
    TAG,
    TAG_SHIFT,
    VALUE_SHIFT,
    Footer,
    hash_key,
    read_footer,
    refusal,
)


class SnapshotStore:
    """Rows of a snapshot; it is mapped into memory, and only what is looked up is read.

    Args:
        path: The file. It may be replaced by renaming another one to its name, but must not be written to: a program
            that has it open would read what is half written, or be ended by the operating system.
        views: The feature views of the model, which it must have.

    Raises:
        SnapshotError: naming the file and the rule: it cannot be read, is not a snapshot, is cut off, has another
            format or byte order, a damaged footer, or lacks a view or has it with other features.
    """

    def __init__(self, path: Path | str, views: Iterable[FeatureView] = ()) -> None:
        self.path = Path(path)
        try:
            with self.path.open("rb") as file:
                self.footer = read_footer(file, self.path)
                # opening reads nothing of the rows, however many there are
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except OSError as error:
            raise refusal(self.path, error.strerror or str(error)) from error
        for view in views:
            _check_view(self.path, self.footer, view)
        self._secret, self._directory = self.footer.hash_key, self.footer.directory
        if hasattr(mmap, "MADV_RANDOM"):
            # lookups have no order: what lies beside a row is not worth reading
            self._map.madvise(mmap.MADV_RANDOM)
        self._words = memoryview(self._map)[: len(self._map) // 8 * 8].cast("Q")

    def __repr__(self) -> str:
        return f"SnapshotStore({self.path})"

    def get_now(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys, None where there is none; from any thread.

        Raises:
            SnapshotError: if the file is damaged where it is read.
        """
        try:
            return [self._find(key) for key in keys]
        except IndexError as error:
            raise refusal(self.path, "is damaged; compare its digest with `tandem snapshot --verify`") from error

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys, None where there is none.

        Raises:
            SnapshotError: as :meth:`get_now`.
        """
        return self.get_now(keys)

    async def put(
        self, rows: Iterable[tuple[bytes, bytes]], *, overwrite: bool = False, ttl_s: float | None = None
    ) -> list[bytes]:
        """Writes nothing.

        Raises:
            SnapshotError: always: a snapshot never changes.
        """
        raise refusal(self.path, "cannot be written to; build another one with `tandem snapshot`")

    async def close(self) -> None:
        """End the mapping."""
        self._words.release()
        self._map.close()

    def _find(self, key: bytes) -> bytes | None:
        hashed = hash_key(key, self._secret)
        words = self._words
        partition = self._directory + 2 * (hashed >> PARTITION_SHIFT)
        slot = words[partition] + ((hashed >> HOME_SHIFT & HOME) * words[partition + 1] >> HOME_BITS)
        tag = hashed & TAG
        while word := words[slot]:
            if word >> TAG_SHIFT == tag:
                place = word & PLACE
                lengths = words[place]
                start = 8 * place + 8
                stop = start + (lengths & KEY_LENGTH)
                if self._map[start:stop] == key:
                    return self._map[stop : stop + (lengths >> VALUE_SHIFT)]
            slot += 1
        return None


def _check_view(path: Path, footer: Footer, view: FeatureView) -> None:
    for stored in footer.views:
        if (stored.name, stored.version) == (view.name, view.version):
            if stored.layout != RowLayout(view).checksum:
                raise refusal(
                    path, f"has feature view {view.name!r} version {view.version} with other features; build it again"
                )
            return
    names = ", ".join(f"{stored.name!r} version {stored.version}" for stored in footer.views) or "none"
    raise refusal(path, f"has no feature view {view.name!r} version {view.version}; it has {names}")
