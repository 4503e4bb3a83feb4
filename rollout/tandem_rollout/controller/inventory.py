"""What there is of a kind that is not watched, as of a moment ago: enough to see what somebody has touched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import msgspec
from lightkube import AsyncClient

FRESH_S: Final = 60.0
MAX_AGE_S: Final = 2 * FRESH_S
"""Nothing older than that is relied on."""

Mark = tuple[str, str, bytes]
"""What changes when somebody touches an object, and not when its status does."""

_Key = tuple[str, str]

_AT_ONCE: Final = 50
"""Objects of one answer to a list."""


@dataclass(frozen=True, slots=True)
class _Listing:
    began: float
    # None: the kind cannot be listed
    marks: Mapping[_Key, Mark] | None


def mark(plain: Mapping[str, Any]) -> Mark:
    """The mark of an object."""
    metadata = plain["metadata"]
    version = metadata.get("generation") or metadata.get("resourceVersion") or ""
    fields = [metadata.get(field) for field in ("labels", "annotations", "ownerReferences")]
    return metadata["uid"], str(version), msgspec.json.encode(fields, order="sorted")


class Inventory:
    """The objects of one kind, listed at most once in a minute, and only when somebody asks.

    Args:
        client: Of the API server.
        kind: lightkube's class.
        labels: Labels that objects must have; None as value for any.
        namespace: Only this one; None for all.
        clock: Seconds since the epoch.
    """

    def __init__(
        self,
        client: AsyncClient,
        kind: Any,
        *,
        labels: dict[str, Any],
        namespace: str | None,
        clock: Callable[[], float],
    ) -> None:
        self._client = client
        self._kind = kind
        self._labels = labels
        self._namespace = namespace or "*"
        self._clock = clock
        self._listing: _Listing | None = None
        self._task: asyncio.Task[_Listing] | None = None

    async def same(self, namespace: str, name: str, mark: Mark | None, since: float) -> bool:
        """Whether an object is as it was.

        Args:
            namespace: Its namespace.
            name: Its name.
            mark: Its mark then; None if it was not there.
            since: When that was, in seconds since the epoch. What was listed before says nothing about it, and next
                time is soon enough.

        Returns:
            False also where the kind cannot be listed.
        """
        listing = await self._recent()
        if listing.marks is None:
            return False
        return listing.began <= since or listing.marks.get((namespace, name)) == mark

    async def _recent(self) -> _Listing:
        listing, now = self._listing, self._clock()
        if listing is not None and 0 <= now - listing.began < FRESH_S:
            return listing
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._list())
        # nobody waits for what is only to be fresh for those who come later
        if listing is not None and 0 <= now - listing.began < MAX_AGE_S:
            return listing
        return await asyncio.shield(self._task)

    async def _list(self) -> _Listing:
        began, marks = self._clock(), {}
        try:
            listed = self._client.list(self._kind, namespace=self._namespace, labels=self._labels, chunk_size=_AT_ONCE)
            async for resource in listed:
                plain = resource.to_dict()
                marks[plain["metadata"]["namespace"], plain["metadata"]["name"]] = mark(plain)
        except (httpx2.HTTPError, msgspec.DecodeError, RecursionError, KeyError):
            self._listing = _Listing(began, None)
        else:
            self._listing = _Listing(began, marks)
        return self._listing
