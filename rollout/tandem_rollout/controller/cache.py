"""A copy of all objects of one kind, kept up to date by a watch."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

import httpx2
from lightkube import ApiError, AsyncClient

logger = logging.getLogger(__name__)

Key = tuple[str, str]
"""Namespace and name."""

_RETRY_S: Final = 1.0
_LONGEST_RETRY_S: Final = 30.0
_WATCH_S: Final = 300


class Cache:
    """All objects of a kind.

    Args:
        client: Of the API server.
        kind: lightkube's class.
        changed: Is told of every object that appears, changes or goes.
        labels: Labels that objects must have; None as value for any.
        namespace: Only this one; None for all.
    """

    def __init__(
        self,
        client: AsyncClient,
        kind: Any,
        changed: Callable[[dict[str, Any]], None],
        *,
        labels: dict[str, Any] | None = None,
        namespace: str | None = None,
    ) -> None:
        self._client = client
        self._kind = kind
        self._changed = changed
        self._labels = labels
        self._namespace = namespace or "*"
        self._objects: dict[Key, dict[str, Any]] = {}
        self.filled = asyncio.Event()

    def get(self, namespace: str, name: str) -> dict[str, Any] | None:
        """An object, None if there is none."""
        return self._objects.get((namespace, name))

    def all(self) -> Iterable[dict[str, Any]]:
        """Every object."""
        return self._objects.values()

    def labelled(self, namespace: str, label: str, value: str) -> list[dict[str, Any]]:
        """Objects of a namespace with a label of this value."""
        return [
            each
            for (where, _), each in self._objects.items()
            if where == namespace and (each["metadata"].get("labels") or {}).get(label) == value
        ]

    async def run(self) -> None:
        """List, then watch, and again from the start whenever the watch fails."""
        wait = _RETRY_S
        while True:
            try:
                version = await self._list()
                wait = _RETRY_S
                await self._watch(version)
            except (ApiError, httpx2.HTTPError) as error:
                # 410 is the API server's word for a watch that is too far behind: nothing is wrong
                if not (isinstance(error, ApiError) and error.status.code == 410):
                    logger.warning("watching %s: %s", self._kind.__name__, error)
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, _LONGEST_RETRY_S)

    async def _list(self) -> str:
        found = self._client.list(self._kind, namespace=self._namespace, labels=self._labels)
        objects = {_key(plain): plain for plain in [each.to_dict() async for each in found]}
        gone = [self._objects[key] for key in self._objects.keys() - objects.keys()]
        fresh = [each for key, each in objects.items() if _version(self._objects.get(key)) != _version(each)]
        self._objects = objects
        self.filled.set()
        for each in [*gone, *fresh]:
            self._changed(each)
        return str(found.resourceVersion)

    async def _watch(self, version: str) -> None:
        events = self._client.watch(
            self._kind,
            namespace=self._namespace,
            labels=self._labels,
            resource_version=version,
            server_timeout=_WATCH_S,
        )
        async for kind, each in events:
            plain = each.to_dict()
            if kind == "DELETED":
                self._objects.pop(_key(plain), None)
            else:
                self._objects[_key(plain)] = plain
            self._changed(plain)


def _key(plain: dict[str, Any]) -> Key:
    return plain["metadata"]["namespace"], plain["metadata"]["name"]


def _version(plain: dict[str, Any] | None) -> str | None:
    return plain["metadata"].get("resourceVersion") if plain else None
