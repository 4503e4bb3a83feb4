"""A cache of all objects of one kind, updated by a watch.

Objects are kept as JSON, which takes a tenth of their memory as Python objects, and decoded whenever one is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import msgspec
from lightkube import ApiError, AsyncClient

logger = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace and name."""

_RETRY_S: Final = 1.0
_MAX_RETRY_S: Final = 30.0
_WATCH_S: Final = 300
_SILENCE_S: Final = 330.0
"""The API server ends a watch earlier. A connection that is silent for longer may be broken."""

_GONE: Final = 410
MAX_BYTES: Final = 48 << 20
"""Maximum memory of all objects of one kind."""

_OVERHEAD: Final = 600
"""Bytes of an object in the store besides its JSON: keys and entries of maps."""

_AT_ONCE: Final = 5
"""Objects of one page of a list. Each may have 1.5 MiB, and takes 20 times that in memory until it is stored."""


@dataclass(frozen=True, slots=True)
class _Entry:
    """An object as JSON, and what is asked of it without decoding it."""

    data: bytes
    version: str | None
    label: str | None

    def decode(self) -> dict[str, Any]:
        plain: dict[str, Any] = msgspec.json.decode(self.data)
        return plain


class _Store:
    """Objects of one kind, and their memory.

    Args:
        kind: Name of the kind.
        index: Label by which objects are indexed.
        most: Maximum memory in bytes.
    """

    def __init__(self, kind: str, index: str, most: int) -> None:
        self._kind = kind
        self._index = index
        self._most = most
        self.entries: dict[Key, _Entry] = {}
        self.indexed: dict[Key, dict[str, None]] = {}
        self._shares: Counter[str] = Counter()
        self._total = 0

    def put(self, plain: dict[str, Any]) -> None:
        """Add an object that is not in the store."""
        key = _key(plain)
        label = (plain["metadata"].get("labels") or {}).get(self._index)
        entry = _Entry(msgspec.json.encode(plain), plain["metadata"].get("resourceVersion"), label)
        self.entries[key] = entry
        self._weigh(key, len(entry.data) + _OVERHEAD)
        if label:
            self.indexed.setdefault((key[0], label), {})[key[1]] = None
        while self._total > self._most:
            self._drop_one()

    def drop(self, key: Key) -> None:
        """Remove an object, if it is in the store."""
        entry = self.entries.pop(key, None)
        if entry is None:
            return
        self._weigh(key, -len(entry.data) - _OVERHEAD)
        if entry.label:
            same = self.indexed[key[0], entry.label]
            del same[key[1]]
            if not same:
                del self.indexed[key[0], entry.label]

    def _weigh(self, key: Key, added: int) -> None:
        self._total += added
        self._shares[key[0]] += added
        if not self._shares[key[0]]:
            del self._shares[key[0]]

    def _drop_one(self) -> None:
        """Remove an object of the namespace with the most memory."""
        ((namespace, share),) = self._shares.most_common(1)
        key = next(candidate for candidate in reversed(self.entries) if candidate[0] == namespace)
        logger.warning(
            "%s %s in %s is ignored: objects of its namespace take %d MiB",
            self._kind,
            key[1],
            namespace,
            share >> 20,
        )
        self.drop(key)


class Cache:
    """All objects of a kind.

    Args:
        client: Client of the API server.
        kind: lightkube's class.
        changed: Called with each object that is added, changed or deleted.
        labels: Labels that objects must have; None as value for any value.
        index: Label by which objects are indexed.
        without: Top-level fields that are not stored, like ``managedFields``.
        namespace: Namespace of the objects; None for all namespaces.
        sleep: Waits for some seconds before a retry.
        silence: Seconds without an event after which a watch is considered broken.
        most: Maximum memory in bytes. Above it objects of the namespace with the most memory are removed. They are
            ignored until they change, or until there is room when all objects are listed again.
        turn: Lock for reading a list, so that only one kind at a time has its pages in memory.
    """

    def __init__(
        self,
        client: AsyncClient,
        kind: Any,
        changed: Callable[[dict[str, Any]], None],
        *,
        labels: dict[str, Any] | None = None,
        index: str = "",
        without: Iterable[str] = (),
        namespace: str | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        silence: float = _SILENCE_S,
        most: int = MAX_BYTES,
        turn: asyncio.Lock | None = None,
    ) -> None:
        self._client = client
        self._kind = kind
        self._changed = changed
        self._labels = labels
        self._without = tuple(without)
        self._namespace = namespace or "*"
        self._sleep = sleep
        self._silence = silence
        self._new = functools.partial(_Store, kind.__name__, index, most)
        self._store = self._new()
        self._turn = turn or asyncio.Lock()
        self.filled = asyncio.Event()

    @property
    def kind(self) -> str:
        """Name of the kind."""
        return str(self._kind.__name__)

    def get(self, namespace: str, name: str) -> dict[str, Any] | None:
        """An object; None if there is none."""
        entry = self._store.entries.get((namespace, name))
        return None if entry is None else entry.decode()

    def all(self) -> Iterator[dict[str, Any]]:
        """Every object."""
        return (entry.decode() for entry in list(self._store.entries.values()))

    def labelled(self, namespace: str, value: str) -> list[dict[str, Any]]:
        """Objects of a namespace with this value of the index label."""
        names = self._store.indexed.get((namespace, value), {})
        return [self._store.entries[namespace, name].decode() for name in names]

    async def run(self) -> None:
        """List, then watch; list again whenever the watch fails."""
        failures = 0
        while True:
            try:
                async with self._turn:
                    version = await self._list()
                failures = 0
                await self._watch(version)
            # a watch without events is normal for a quiet kind, and needs no backoff
            except TimeoutError:
                continue
            # a response without a content type, or an incomplete one, makes lightkube raise the last two
            except (httpx2.HTTPError, msgspec.DecodeError, RecursionError, KeyError) as error:
                # 410 means that the watch is too old, which is no error
                if not _is_gone(error):
                    logger.warning("watching %s: %s", self._kind.__name__, str(error).partition("\n")[0])
                await self._sleep(min(_RETRY_S * 2.0 ** min(failures, 5), _MAX_RETRY_S))
                failures += 1

    async def _list(self) -> str:
        listed = self._client.list(self._kind, namespace=self._namespace, labels=self._labels, chunk_size=_AT_ONCE)
        # a separate store: readers see the previous objects until the list is complete
        store = self._new()
        async for resource in listed:
            store.put(self._kept(resource))
        before, self._store = self._store.entries, store
        self.filled.set()
        # what was deleted between two watches has no event
        for key in before.keys() - store.entries.keys():
            self._changed(before[key].decode())
        for key, entry in list(store.entries.items()):
            if key not in before or before[key].version != entry.version:
                self._changed(entry.decode())
        return str(listed.resourceVersion)

    async def _watch(self, version: str) -> None:
        events = self._client.watch(
            self._kind,
            namespace=self._namespace,
            labels=self._labels,
            resource_version=version,
            server_timeout=_WATCH_S,
        )
        async with contextlib.aclosing(events):  # type: ignore[type-var]  # lightkube's annotation is incomplete
            while True:
                async with asyncio.timeout(self._silence):
                    event, resource = await anext(events)  # type: ignore[call-overload]
                plain = self._kept(resource)
                self._store.drop(_key(plain))
                if event != "DELETED":
                    self._store.put(plain)
                self._changed(plain)

    def _kept(self, resource: Any) -> dict[str, Any]:
        """The stored part of an object, which saves memory with thousands of objects."""
        plain: dict[str, Any] = resource.to_dict()
        plain["metadata"].pop("managedFields", None)
        for field in self._without:
            plain.pop(field, None)
        return plain


def _key(plain: dict[str, Any]) -> Key:
    return plain["metadata"]["namespace"], plain["metadata"]["name"]


def _is_gone(error: Exception) -> bool:
    if isinstance(error, ApiError) and error.status is not None:
        return error.status.code == _GONE
    return isinstance(error, httpx2.HTTPStatusError) and error.response.status_code == _GONE
