"""Rows as an online store had them when it was last asked, for the time in which it does not answer."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Final

ENTRY_BYTES: Final = 256
"""What an entry takes beside its key and its row: two objects, a pair, and its place in the table."""


class LastKnown:
    """The rows that were read last, within a number of bytes; those that are not read again are forgotten first.

    There are two tables. Rows go into the younger one, and when that is full, the older one is dropped. So remembering
    a batch is one update of a table, on the way of every request.

    Args:
        max_bytes: Most bytes of both tables together, beside those of the largest batch; 0 to remember nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._limit = max_bytes / 2
        self._young: dict[bytes, tuple[bytes | None, float]] = {}
        self._old: dict[bytes, tuple[bytes | None, float]] = {}
        self._size = 0

    def remember(self, keys: Sequence[bytes], rows: Sequence[bytes | None], now: float) -> None:
        """Take the rows that the store has.

        Args:
            keys: Their keys.
            rows: For each key its row; None where the store has none.
            now: Seconds on any clock that does not go back.
        """
        if not self._limit:
            return
        before = len(self._young)
        self._young.update(zip(keys, zip(rows, repeat(now)), strict=True))
        if added := len(self._young) - before:
            # by the longest, so that the bound holds without a look at which of them are new
            longest = max(map(len, keys)) + max((len(row) for row in rows if row is not None), default=0)
            self._size += added * (longest + ENTRY_BYTES)
            if self._size > self._limit:
                self._old, self._young, self._size = self._young, {}, 0

    def recall(self, key: bytes) -> tuple[bytes | None, float] | None:
        """The row of a key and when it was read; None if that is not known."""
        return self._young.get(key) or self._old.get(key)
