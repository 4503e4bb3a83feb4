"""Online store in the memory of one process: for tests, notebooks, and embedded use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


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

    async def put(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Write rows, each with its key."""
        self._rows.update(rows)

    async def close(self) -> None:
        """Nothing to give back."""
