"""A copy of all objects of one kind, kept up to date by a watch."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

import httpx2
import msgspec
from lightkube import ApiError, AsyncClient

logger = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace and name."""

_RETRY_S: Final = 1.0
_LONGEST_RETRY_S: Final = 30.0
_WATCH_S: Final = 300
_SILENCE_S: Final = 330.0
"""The API server ends a watch before that; a connection that is silent for longer may be dead."""

_GONE: Final = 410
AT_ONCE: Final = 250
"""Objects of one answer to a list: a whole list of thousands would be in memory several times."""


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
    ) -> None:
        self._client = client
        self._kind = kind
        self._changed = changed
        self._labels = labels
        self._index = index
        self._without = tuple(without)
        self._namespace = namespace or "*"
        self._sleep = sleep
        self._silence = silence
        self._objects: dict[Key, dict[str, Any]] = {}
        self._indexed: dict[Key, dict[str, dict[str, Any]]] = {}
        self.filled = asyncio.Event()

    def get(self, namespace: str, name: str) -> dict[str, Any] | None:
        """An object, None if there is none."""
        return self._objects.get((namespace, name))

    def all(self) -> Iterable[dict[str, Any]]:
        """Every object."""
        return self._objects.values()

    def labelled(self, namespace: str, value: str) -> list[dict[str, Any]]:
        """Objects of a namespace whose label, the one of the index, has this value."""
        return list(self._indexed.get((namespace, value), {}).values())

    async def run(self) -> None:
        """List, then watch, and again from the start whenever the watch fails."""
        failures = 0
        while True:
            try:
                version = await self._list()
                failures = 0
                await self._watch(version)
            except TimeoutError:
                continue
            # a proxy's answer without a content type, or half an answer, makes lightkube raise the last two
            except (httpx2.HTTPError, msgspec.DecodeError, KeyError) as error:
                # 410 is the API server's word for a watch that is too far behind: nothing is wrong
                if not _is_gone(error):
                    logger.warning("watching %s: %s", self._kind.__name__, str(error).partition("\n")[0])
                await self._sleep(min(_RETRY_S * 2.0 ** min(failures, 5), _LONGEST_RETRY_S))
                failures += 1

    async def _list(self) -> str:
        found = self._client.list(self._kind, namespace=self._namespace, labels=self._labels, chunk_size=AT_ONCE)
        objects = {_key(plain): plain for plain in [self._kept(each) async for each in found]}
        before = self._objects
        self._objects, self._indexed = {}, {}
        for plain in objects.values():
            self._put(plain)
        self.filled.set()
        for key in before.keys() - objects.keys():
            self._changed(before[key])
        for key, plain in objects.items():
            if _version(before.get(key)) != _version(plain):
                self._changed(plain)
        return str(found.resourceVersion)

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
                    event, each = await anext(events)  # type: ignore[call-overload]
                plain = self._kept(each)
                self._drop(_key(plain))
                if event != "DELETED":
                    self._put(plain)
                self._changed(plain)

    def _kept(self, found: Any) -> dict[str, Any]:
        """What is kept of an object: with thousands of them it is the memory of the controller."""
        plain: dict[str, Any] = found.to_dict()
        plain["metadata"].pop("managedFields", None)
        for field in self._without:
            plain.pop(field, None)
        return plain

    def _put(self, plain: dict[str, Any]) -> None:
        key = _key(plain)
        self._objects[key] = plain
        if value := (plain["metadata"].get("labels") or {}).get(self._index):
            self._indexed.setdefault((key[0], value), {})[key[1]] = plain

    def _drop(self, key: Key) -> None:
        plain = self._objects.pop(key, None)
        value = ((plain or {}).get("metadata", {}).get("labels") or {}).get(self._index)
        if value:
            same = self._indexed[key[0], value]
            del same[key[1]]
            if not same:
                del self._indexed[key[0], value]


def _key(plain: dict[str, Any]) -> Key:
    return plain["metadata"]["namespace"], plain["metadata"]["name"]


def _version(plain: dict[str, Any] | None) -> str | None:
    return plain["metadata"].get("resourceVersion") if plain else None


def _is_gone(error: Exception) -> bool:
    if isinstance(error, ApiError) and error.status is not None:
        return error.status.code == _GONE
    return isinstance(error, httpx2.HTTPStatusError) and error.response.status_code == _GONE
