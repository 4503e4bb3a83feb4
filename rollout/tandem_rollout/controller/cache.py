"""A copy of all objects of one kind, kept up to date by a watch."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import httpx2
import msgspec
from lightkube import ApiError, AsyncClient

from tandem_rollout.controller.object_size import estimate_bytes

logger = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace and name."""

_RETRY_S: Final = 1.0
_MAX_RETRY_S: Final = 30.0
_WATCH_S: Final = 300
_SILENCE_S: Final = 330.0
"""The API server ends a watch before that; a connection that is silent for longer may be dead."""

_GONE: Final = 410
MAX_BYTES: Final = 48 << 20
"""Of all objects of one kind, as :func:`weight` has it."""

_AT_ONCE: Final = 5
"""Objects of one answer to a list: each may have 1.5 MiB, and take twenty times that in memory until it is weighed."""


class _Store:
    """Objects of one kind, and what they take in memory.

    Args:
        kind: Name of the kind.
        index: Label by whose value objects are found.
        most: Bytes of all of them in memory.
    """

    def __init__(self, kind: str, index: str, most: int) -> None:
        self._kind = kind
        self._index = index
        self._most = most
        self.objects: dict[Key, dict[str, Any]] = {}
        self.indexed: dict[Key, dict[str, dict[str, Any]]] = {}
        self._weights: dict[Key, int] = {}
        self._shares: Counter[str] = Counter()
        self._total = 0

    def put(self, plain: dict[str, Any]) -> None:
        """Add an object that is not there."""
        key = _key(plain)
        self.objects[key] = plain
        self._weigh(key, estimate_bytes(plain))
        if value := (plain["metadata"].get("labels") or {}).get(self._index):
            self.indexed.setdefault((key[0], value), {})[key[1]] = plain
        while self._total > self._most:
            self._drop_one()

    def drop(self, key: Key) -> None:
        """Take an object away, if it is there."""
        plain = self.objects.pop(key, None)
        if plain is None:
            return
        self._weigh(key, -self._weights.pop(key))
        if value := (plain["metadata"].get("labels") or {}).get(self._index):
            same = self.indexed[key[0], value]
            del same[key[1]]
            if not same:
                del self.indexed[key[0], value]

    def _weigh(self, key: Key, added: int) -> None:
        if added > 0:
            self._weights[key] = added
        self._total += added
        self._shares[key[0]] += added
        if not self._shares[key[0]]:
            del self._shares[key[0]]

    def _drop_one(self) -> None:
        """Make room at the expense of the namespace that takes the most."""
        ((namespace, share),) = self._shares.most_common(1)
        key = next(candidate for candidate in reversed(self.objects) if candidate[0] == namespace)
        logger.warning(
            "%s %s in %s is not looked after: its namespace takes %d MiB", self._kind, key[1], namespace, share >> 20
        )
        self.drop(key)


class Cache:
    """All objects of a kind.

    Args:
        client: Of the API server.
        kind: lightkube's class.
        changed: Is told of every object that appears, changes or goes.
        labels: Labels that objects must have; None as value for any.
        index: Label by whose value objects are found.
        without: Top-level fields that nobody reads: they are not kept, nor is who manages which field.
        namespace: Only this one; None for all.
        sleep: Waits for some seconds before another try.
        silence: Seconds without any news after which a watch is taken for dead.
        most: Bytes of all objects in memory. Above that the namespace with the most of them loses its last ones: they
            are not seen until they change, or there is room when all are listed again.
        turn: Is held while a list is read, so that one kind at a time has its answers in memory.
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
        """An object, None if there is none."""
        return self._store.objects.get((namespace, name))

    def all(self) -> Iterable[dict[str, Any]]:
        """Every object."""
        return self._store.objects.values()

    def labelled(self, namespace: str, value: str) -> list[dict[str, Any]]:
        """Objects of a namespace whose label, the one of the index, has this value."""
        return list(self._store.indexed.get((namespace, value), {}).values())

    async def run(self) -> None:
        """List, then watch, and again from the start whenever the watch fails."""
        failures = 0
        while True:
            try:
                async with self._turn:
                    version = await self._list()
                failures = 0
                await self._watch(version)
            except TimeoutError:
                continue
            # a proxy's answer without a content type, or half an answer, makes lightkube raise the last two
            except (httpx2.HTTPError, msgspec.DecodeError, RecursionError, KeyError) as error:
                # 410 is the API server's word for a watch that is too far behind: nothing is wrong
                if not _is_gone(error):
                    logger.warning("watching %s: %s", self._kind.__name__, str(error).partition("\n")[0])
                await self._sleep(min(_RETRY_S * 2.0 ** min(failures, 5), _MAX_RETRY_S))
                failures += 1

    async def _list(self) -> str:
        listed = self._client.list(self._kind, namespace=self._namespace, labels=self._labels, chunk_size=_AT_ONCE)
        store = self._new()
        async for resource in listed:
            store.put(self._kept(resource))
        before, self._store = self._store.objects, store
        self.filled.set()
        for key in before.keys() - store.objects.keys():
            self._changed(before[key])
        for key, plain in list(store.objects.items()):
            if _version(before.get(key)) != _version(plain):
                self._changed(plain)
        return str(listed.resourceVersion)

    async def _watch(self, version: str) -> None:
        events = self._client.watch(
            self._kind,
            namespace=self._namespace,
            labels=self._labels,
            resource_version=version,
            server_timeout=_WATCH_S,
        )
        async with contextlib.aclosing(events):  # type: ignore[type-var]  # lightkube says less than it returns
            while True:
                async with asyncio.timeout(self._silence):
                    event, resource = await anext(events)  # type: ignore[call-overload]
                plain = self._kept(resource)
                self._store.drop(_key(plain))
                if event != "DELETED":
                    self._store.put(plain)
                self._changed(plain)

    def _kept(self, resource: Any) -> dict[str, Any]:
        """What is kept of an object: with thousands of them it is the memory of the controller."""
        plain: dict[str, Any] = resource.to_dict()
        plain["metadata"].pop("managedFields", None)
        for field in self._without:
            plain.pop(field, None)
        return plain


def _key(plain: dict[str, Any]) -> Key:
    return plain["metadata"]["namespace"], plain["metadata"]["name"]


def _version(plain: dict[str, Any] | None) -> str | None:
    return plain["metadata"].get("resourceVersion") if plain else None


def _is_gone(error: Exception) -> bool:
    if isinstance(error, ApiError) and error.status is not None:
        return error.status.code == _GONE
    return isinstance(error, httpx2.HTTPStatusError) and error.response.status_code == _GONE
