"""Online store in the memory of one process: for tests, notebooks, and embedded use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tandem.stores import is_newer


class MemoryStore:
    """A dict behind the protocol of :class:`tandem.stores.OnlineStore`."""

    def __init__(self) -> None:
        self._rows: dict[bytes, bytes] = {}

    def get_now(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys, without a coroutine."""
        return [self._rows.get(key) for key in keys]

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys, None where there is none."""
        return self.get_now(keys)

    async def put(self, rows: Iterable[tuple[bytes, bytes]], *, overwrite: bool = False) -> list[bytes]:
        """Write rows, each with its key, except where there is a newer one; see :meth:`OnlineStore.put`."""
        newer = []
        for key, row in rows:
            if not overwrite and is_newer(self._rows.get(key), row):
                newer.append(key)
            else:
                self._rows[key] = row
        return newer

    async def close(self) -> None:
        """Nothing to give back."""
