"""The work of the leader: workers reconcile rollouts whenever they change or are due."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from tandem_rollout.controller.apply import backoff
from tandem_rollout.controller.cluster import LiveCluster
from tandem_rollout.controller.interface import WriteError
from tandem_rollout.controller.metrics import ControllerMetrics
from tandem_rollout.controller.reconciler import Key, Reconciler
from tandem_rollout.controller.work_queue import WorkQueue

logger = logging.getLogger(__name__)

_WORKERS: Final = 16
"""A pass may wait for a verification; the other workers continue meanwhile."""

SHARE: Final = 4
"""Maximum number of workers for one namespace, so that slow transformers of one namespace do not block the others."""

_STALE_RETRY_S: Final = 1.0
"""Seconds until the next pass over a rollout with a stale cache, if there is no watch event."""


def namespace_of(key: Key) -> str:
    """The namespace of a rollout."""
    return key[0]


def queue() -> WorkQueue[Key]:
    """A queue of rollouts in which no namespace occupies all workers."""
    return WorkQueue(group=namespace_of, share=SHARE)


class Term:
    """The time during which one process is the leader.

    Args:
        work: The queue of rollouts.
        cluster: The cluster, whose caches are filled.
        reconciler: A new reconciler. It is closed at the end.
        metrics: The metrics of the controller.
    """

    def __init__(
        self, work: WorkQueue[Key], cluster: LiveCluster, reconciler: Reconciler, metrics: ControllerMetrics
    ) -> None:
        self._work = work
        self._cluster = cluster
        self._reconciler = reconciler
        self._metrics = metrics
        self._failures: dict[Key, int] = {}
        self._current: set[Key] = set()

    async def run(self) -> None:
        """Reconcile all rollouts, and then those that change or are due, until cancelled."""
        self._metrics.begin()
        try:
            for manifest in list(self._cluster.rollouts.all()):
                self._work.add((manifest["metadata"]["namespace"], manifest["metadata"]["name"]))
            async with asyncio.TaskGroup() as group:
                for _ in range(_WORKERS):
                    group.create_task(self._take_turns())
        finally:
            self._metrics.end()
            await self._reconciler.close()

    async def _take_turns(self) -> None:
        while True:
            key = await self._work.take()
            try:
                await self._reconcile(key)
                self._failures.pop(key, None)
            # the error of one rollout must not stop the worker
            except Exception as error:
                self._metrics.errors.inc()
                self._failures[key] = self._failures.get(key, 0) + 1
                traceback = None if isinstance(error, WriteError) else error  # the message is enough
                logger.warning("rollout %s in %s: the pass failed: %s", key[1], key[0], error, exc_info=traceback)
                self._work.add(key, backoff(self._failures[key]))
            finally:
                self._work.done(key)

    async def _reconcile(self, key: Key) -> None:
        """Make one pass over a rollout, and queue the next one."""
        manifest = self._cluster.rollouts.get(*key)
        if manifest is None:
            self._work.drop(key)
            self._reconciler.forget(*key)
            self._metrics.forget(*key)
            return
        if key not in self._current:
            # the previous leader may have written a status that is not in the cache yet
            if not await self._cluster.is_up_to_date(*key):
                self._work.add(key, _STALE_RETRY_S)
                return
            self._current.add(key)
        self._metrics.observe(manifest)  # also before the pass, so that a run that ends in the first pass is counted
        started = time.perf_counter()
        after = await self._reconciler.reconcile(manifest)
        self._metrics.seconds.observe(time.perf_counter() - started)
        self._metrics.observe(self._cluster.rollouts.get(*key) or manifest)
        self._work.add(key, after)
