"""The controller's process: watches, workers, metrics, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from typing import Final

from lightkube import AsyncClient
from prometheus_client import start_http_server

from tandem_rollout.controller.applied import backoff
from tandem_rollout.controller.cluster import LiveCluster
from tandem_rollout.controller.interface import WriteError
from tandem_rollout.controller.metrics import Metrics
from tandem_rollout.controller.prober import Prober
from tandem_rollout.controller.reconciler import Key, Reconciler
from tandem_rollout.controller.work import Work
from tandem_rollout.platform import Platform

logger = logging.getLogger(__name__)

_WORKERS: Final = 16
"""A pass may wait for a transformer's proof; the others go on meanwhile."""

SHARE: Final = 4
"""Workers that are busy with one namespace at most: others never wait for its transformers alone."""


def namespace_of(key: Key) -> str:
    """The namespace of a rollout."""
    return key[0]


async def run(platform: Platform, *, namespace: str | None, metrics_port: int) -> int:
    """Run until SIGTERM or SIGINT.

    Args:
        platform: Defaults of the installation.
        namespace: Namespace to look after; None for all.
        metrics_port: Port of ``/metrics``; 0 for none.

    Returns:
        The exit code.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    metrics = Metrics()
    if metrics_port:
        start_http_server(metrics_port, registry=metrics.registry)
    work: Work[Key] = Work(group=namespace_of, share=SHARE)
    async with AsyncClient() as client, contextlib.AsyncExitStack() as stack:
        prober = Prober()
        stack.push_async_callback(prober.close)
        cluster = LiveCluster(
            client,
            prober,
            lambda *key: work.add(key),
            namespace=namespace,
            domain=platform.domain,
            gateway_namespace=platform.gateway_namespace,
        )
        reconciler = Reconciler(cluster, platform)
        stack.push_async_callback(reconciler.close)
        tasks = [asyncio.create_task(cache.run()) for cache in cluster.caches]
        tasks.append(asyncio.create_task(look_after(work, cluster, reconciler, metrics)))
        ended = asyncio.create_task(stop.wait())
        await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
        broken = [task for task in tasks if task.done() and not task.cancelled() and task.exception()]
        for task in [ended, *tasks]:
            task.cancel()
        await asyncio.gather(ended, *tasks, return_exceptions=True)
    for task in broken:
        logger.error("stopped by an error", exc_info=task.exception())
    return 1 if broken else 0


async def look_after(work: Work[Key], cluster: LiveCluster, reconciler: Reconciler, metrics: Metrics) -> None:
    """Look at rollouts, once all caches are filled: an object that is not seen yet would be taken for missing."""
    for cache in cluster.caches:
        await cache.filled.wait()
    logger.info("started")
    failures: dict[Key, int] = {}
    async with asyncio.TaskGroup() as group:
        for _ in range(_WORKERS):
            group.create_task(_worker(work, cluster, reconciler, metrics, failures))


async def _worker(
    work: Work[Key], cluster: LiveCluster, reconciler: Reconciler, metrics: Metrics, failures: dict[Key, int]
) -> None:
    while True:
        key = await work.take()
        try:
            await one_pass(key, work, cluster, reconciler, metrics)
            failures.pop(key, None)
        except Exception as error:
            metrics.errors.inc()
            failures[key] = failures.get(key, 0) + 1
            logger.warning("rollout %s in %s: a pass failed: %s", key[1], key[0], error, exc_info=_traceback(error))
            work.add(key, backoff(failures[key]))
        finally:
            work.done(key)


async def one_pass(key: Key, work: Work[Key], cluster: LiveCluster, reconciler: Reconciler, metrics: Metrics) -> None:
    """Look at one rollout, and say when to look again."""
    manifest = cluster.rollouts.get(*key)
    if manifest is None:
        work.drop(key)
        reconciler.forget(*key)
        metrics.forget(*key)
        return
    metrics.observe(manifest)  # before too: a run that ends in the first pass of a new process is counted
    started = time.perf_counter()
    after = await reconciler.reconcile(manifest)
    metrics.seconds.observe(time.perf_counter() - started)
    metrics.observe(cluster.rollouts.get(*key) or manifest)
    work.add(key, after)


def _traceback(error: Exception) -> Exception | None:
    """An error of the API server needs none."""
    return None if isinstance(error, WriteError) else error
