"""Applying objects: an unchanged object is not applied again, and failed writes are retried with backoff."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tandem_rollout.controller.interface import Cluster, WriteError
from tandem_rollout.controller.inventory import MAX_AGE_S, Mark, mark
from tandem_rollout.render import Object

RESYNC_S: Final = 600.0
"""Maximum seconds until a foreign change of an object that is not watched is reverted."""

_PERIOD_S: Final = RESYNC_S - MAX_AGE_S
"""Seconds between two checks of all applied objects."""

_SPREAD: Final = 0.9
"""Maximum share of the period by which the first check is earlier."""

RETRY_S: Final = 1.0
MAX_RETRY_S: Final = 30.0

# a power of two above 1023 raises OverflowError, and failures may go on for days
_MAX_DOUBLINGS: Final = 16

_NAME: Final = "name"

_AT_ONCE: Final = 4
"""Maximum number of concurrent writes of one rollout. A pass that creates a revision takes a quarter of the time."""


@dataclass(frozen=True, slots=True)
class _Done:
    """The state of an object after it was applied; without a mark if it was deleted."""

    digest: str
    at: float
    mark: Mark | None = None
    generation: int = 0


@dataclass(frozen=True, slots=True)
class _Failed:
    error: WriteError
    digest: str
    times: int
    again_at: float


def backoff(times: int) -> float:
    """Seconds until the next retry, after a number of consecutive failures."""
    return min(RETRY_S * 2.0 ** min(times - 1, _MAX_DOUBLINGS), MAX_RETRY_S)


class Applied:
    """Applies the objects of one rollout. Its memory is a cache: without it objects are only applied again.

    From time to time it checks all objects, and applies those that have changed.

    Args:
        cluster: The cluster.
        chance: Returns a random number from 0 to 1. It makes the first check earlier, so that the checks of all
            rollouts are spread after the start of the controller.
    """

    def __init__(self, cluster: Cluster, chance: Callable[[], float] = random.random) -> None:
        self._cluster = cluster
        self._period = _PERIOD_S * (1.0 - _SPREAD * chance())
        self._done: dict[str, _Done] = {}
        self._doubted: set[str] = set()
        self._free: set[str] = set()
        self._uids: dict[str, str] = {}
        self._failed: dict[str, _Failed] = {}
        self._again_at = float("-inf")
        self._held = float("inf")
        self._touched: set[str] = set()

    def begin(self) -> None:
        """Begin a pass."""
        now = self._cluster.now()
        # objects that were not applied in the last pass are not retried
        self._failed = {key: failure for key, failure in self._failed.items() if key in self._touched}
        self._touched.clear()
        self._held = float("inf")
        if now >= self._again_at:
            self._again_at, self._period = now + self._period, _PERIOD_S
            self._doubted = set(self._done)
            # somebody may have created an object with a free name since
            self._free.clear()

    @property
    def due(self) -> float:
        """Time of the next retry or check, in seconds since the epoch."""
        retries = (failure.again_at for key, failure in self._failed.items() if key in self._touched)
        return min(self._again_at, self._held, *retries)

    async def apply(self, rendered: Object) -> dict[str, Any] | None:
        """Apply an object unless it was already applied unchanged.

        Returns:
            The object, if it was applied now; otherwise None.

        Raises:
            WriteError: The write failed.
        """
        key, digest = _key(rendered), _digest(rendered)
        applied = self._done.get(key)
        if applied is not None and applied.digest == digest and key in self._doubted:
            metadata = rendered["metadata"]
            # what is not known counts as changed: an apply without changes does no harm
            if await self._cluster.same(
                rendered["kind"], metadata["namespace"], metadata["name"], applied.mark, applied.at
            ):
                self._doubted.discard(key)
            else:
                del self._done[key]
        return await self._apply(rendered, digest)

    async def apply_all(self, objects: Iterable[Object]) -> list[WriteError]:
        """Apply independent objects concurrently.

        Returns:
            The errors of failed writes.
        """
        turns = asyncio.Semaphore(_AT_ONCE)

        async def apply(rendered: Object) -> None:
            async with turns:
                await self.apply(rendered)

        # with return_exceptions every object is tried, and no write goes on after the pass
        results = await asyncio.gather(*map(apply, objects), return_exceptions=True)
        for error in results:
            if isinstance(error, BaseException) and not isinstance(error, WriteError):
                raise error
        return [error for error in results if isinstance(error, WriteError)]

    async def apply_watched(self, rendered: Object, live: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Apply a watched object unless it was already applied and is unchanged in the cluster.

        Raises:
            WriteError: The write failed.
        """
        key, digest = _key(rendered), _digest(rendered)
        applied = self._done.get(key)
        # an edit of labels or owners keeps the generation: only the mark shows it
        doubted = key in self._doubted and live is not None and mark(live) != (applied.mark if applied else None)
        self._doubted.discard(key)
        if applied is not None and applied.digest == digest and (doubted or _drifted(applied, live)):
            if self._cluster.now() < applied.at + RETRY_S:
                # two clients that revert each other's changes must not do so at full speed
                self._held = min(self._held, applied.at + RETRY_S)
                return None
            del self._done[key]
        return await self._apply(rendered, digest)

    async def check_name(self, rendered: Object) -> None:
        """Check whether the name of an object is free, unless it was applied or checked before.

        Raises:
            NameConflictError: An object with this name has another owner.
            WriteError: The API server did not respond.
        """
        key = _key(rendered)
        if key in self._done or key in self._free:
            return
        self._hold(key, _NAME)
        try:
            await self._cluster.uid_of(rendered)
        except WriteError as error:
            self._fail(key, _NAME, error)
            raise
        self._failed.pop(key, None)
        self._free.add(key)

    async def remove(self, kind: str, namespace: str, name: str, *, owner: str) -> None:
        """Delete an object of this owner, unless it was deleted before.

        Raises:
            WriteError: The deletion failed.
        """
        key = f"{kind}/{name}"
        removed = self._done.get(key)
        if (removed is not None and removed.mark is None) and (
            key not in self._doubted or await self._cluster.same(kind, namespace, name, None, removed.at)
        ):
            self._doubted.discard(key)
            return
        self._hold(key, "absent")
        try:
            await self._cluster.delete(kind, namespace, name, owner=owner)
        except WriteError as error:
            self._fail(key, "absent", error)
            raise
        # an object that is created again under this name has another uid
        self._uids.pop(key, None)
        self._succeed(key, _Done("absent", self._cluster.now()))

    async def _apply(self, rendered: Object, digest: str) -> dict[str, Any] | None:
        key = _key(rendered)
        earlier = self._done.get(key)
        if earlier is not None and earlier.digest == digest:
            return None
        self._hold(key, digest)
        try:
            # with a known uid no read precedes the write
            live = await self._cluster.apply(rendered, uid=self._uids.get(key, ""))
        except WriteError as error:
            self._fail(key, digest, error)
            raise
        generation = live["metadata"].get("generation", 0)
        self._uids[key] = live["metadata"]["uid"]
        self._succeed(key, _Done(digest, self._cluster.now(), mark(live), generation))
        return live

    def _hold(self, key: str, digest: str) -> None:
        """Raise the last failure again if it is too early for a retry."""
        self._touched.add(key)
        failed = self._failed.get(key)
        # another desired state does not wait for the retry of the last one
        if failed and failed.digest == digest and self._cluster.now() < failed.again_at:
            raise failed.error

    def _fail(self, key: str, digest: str, error: WriteError) -> None:
        before = self._failed.get(key)
        times = before.times + 1 if before and before.digest == digest else 1
        # the Retry-After of an overloaded API server is a minimum
        again_at = self._cluster.now() + max(backoff(times), error.after)
        self._failed[key] = _Failed(error, digest, times, again_at)
        # a write may have been stored although its response was lost
        self._done.pop(key, None)

    def _succeed(self, key: str, applied: _Done) -> None:
        self._failed.pop(key, None)
        self._doubted.discard(key)
        self._done[key] = applied


def _drifted(applied: _Done, live: Mapping[str, Any] | None) -> bool:
    """Whether an object was changed since it was applied. A stale cache has an older generation, or none."""
    if live is None:
        return True
    metadata = live["metadata"]
    return bool(
        applied.mark is None or metadata["uid"] != applied.mark[0] or metadata.get("generation", 0) > applied.generation
    )


def _key(rendered: Object) -> str:
    return f"{rendered['kind']}/{rendered['metadata']['name']}"


def _digest(rendered: Object) -> str:
    return hashlib.sha256(msgspec.json.encode(rendered, order="sorted")).hexdigest()
