"""A recent list of the objects of a kind that is not watched, in order to detect foreign changes."""

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
"""Maximum age of a list that is used."""

Mark = tuple[str, str, bytes]
"""A value that changes with an object, but not with its status."""

_Key = tuple[str, str]

_AT_ONCE: Final = 50
"""Objects of one page of a list."""


@dataclass(frozen=True, slots=True)
class _Listing:
    began: float
    # None if the kind cannot be listed
    marks: Mapping[_Key, Mark] | None


def mark(plain: Mapping[str, Any]) -> Mark:
    """The mark of an object."""
    metadata = plain["metadata"]
    # kinds like Service have no generation: for them a write of the status counts as a change
    version = metadata.get("generation") or metadata.get("resourceVersion") or ""
    fields = [metadata.get(field) for field in ("labels", "annotations", "ownerReferences")]
    return metadata["uid"], str(version), msgspec.json.encode(fields, order="sorted")


class Inventory:
    """The objects of one kind. They are listed on demand, and at most once per minute.

    Args:
        client: Client of the API server.
        kind: lightkube's class.
        labels: Labels that objects must have; None as value for any value.
        namespace: Namespace of the objects; None for all namespaces.
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
        """Whether an object is unchanged.

        Args:
            namespace: Its namespace.
            name: Its name.
            mark: Its previous mark; None if it did not exist.
            since: Time of that mark, in seconds since the epoch. An older list says nothing about it: the object is
                then taken as unchanged until the next check.

        Returns:
            Whether it is unchanged; False if the kind cannot be listed.
        """
        listing = await self._recent()
        if listing.marks is None:
            return False
        return listing.began <= since or listing.marks.get((namespace, name)) == mark

    async def _recent(self) -> _Listing:
        listing, now = self._listing, self._clock()
        # a list from the future, before the clock was set back, is not used
        if listing is not None and 0 <= now - listing.began < FRESH_S:
            return listing
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._list())
        # a list that is not too old is used while the next one is read
        if listing is not None and 0 <= now - listing.began < MAX_AGE_S:
            return listing
        # the list is shared by all rollouts, and must survive the cancellation of one pass
        return await asyncio.shield(self._task)

    async def _list(self) -> _Listing:
        # the time before the list: an object that is applied meanwhile may be missing in it
        began, marks = self._clock(), {}
        try:
            listed = self._client.list(self._kind, namespace=self._namespace, labels=self._labels, chunk_size=_AT_ONCE)
            async for resource in listed:
                plain = resource.to_dict()
                marks[plain["metadata"]["namespace"], plain["metadata"]["name"]] = mark(plain)
        # without the permission to list, objects are applied again instead of compared
        except (httpx2.HTTPError, msgspec.DecodeError, RecursionError, KeyError):
            self._listing = _Listing(began, None)
        else:
            self._listing = _Listing(began, marks)
        return self._listing
