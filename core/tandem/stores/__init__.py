"""Online stores: where packed feature rows live. A store knows bytes, not features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol


class OnlineStore(Protocol):
    """What a store must do; keys and rows are made by :class:`tandem.features.LookupPlan`."""

    async def get(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Rows of the given keys in one round trip, None where there is none.

        Raises:
            StoreError: if the store cannot be reached or refuses.
        """
        ...

    async def put(self, rows: Iterable[tuple[bytes, bytes]]) -> None:
        """Write rows, each with its key; an existing row is replaced.

        Raises:
            StoreError: if the store cannot be reached or refuses.
        """
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...
