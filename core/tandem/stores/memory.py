"""Online store in the memory of one process: for tests, notebooks, and embedded use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from tandem.stores import is_newer


class MemoryStore:
    """A dict behind the protocol of :class:`tandem.stores.OnlineStore`.

    Args:
        clock: Seconds, for rows that expire.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._rows: dict[bytes, bytes] = {}
        self._expires: dict[bytes, float] = {}

    def get_now(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys, without a coroutine."""
        self._expire(keys)
        return [self._rows.get(key) for key in keys]

    def scan_now(self, prefix: bytes) -> Iterator[list[tuple[bytes, bytes]]]:
        """Keys and rows whose keys begin with a prefix, in one batch."""
        self._expire(list(self._rows))
        yield [(key, row) for key, row in self._rows.items() if key.startswith(prefix)]

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys, None where there is none."""
        return self.get_now(keys)

    async def put(
        self, rows: Iterable[tuple[bytes, bytes]], *, overwrite: bool = False, ttl_s: float | None = None
    ) -> list[bytes]:
        """Write rows, each with its key, except where there is a newer one; see :meth:`OnlineStore.put`."""
        newer = []
        for key, row in rows:
            self._expire([key])
            if not overwrite and is_newer(self._rows.get(key), row):
                newer.append(key)
                continue
            self._rows[key] = row
            self._expires.pop(key, None)
            if ttl_s is not None:
                self._expires[key] = self._clock() + ttl_s
        return newer

    def _expire(self, keys: Iterable[bytes]) -> None:
        now = self._clock()
        # the usual case: no row expires
        for key in keys if self._expires else ():
            if self._expires.get(key, now + 1) <= now:
                del self._expires[key], self._rows[key]

    async def close(self) -> None:
        """Nothing to give back."""
