"""The controller's process: watches, workers, metrics, an orderly end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from typing import Final, Literal

from lightkube import AsyncClient
from prometheus_client import start_http_server

from tandem_rollout.controller.cluster import LiveCluster
from tandem_rollout.controller.metrics import Metrics
from tandem_rollout.controller.reconciler import Reconciler
from tandem_rollout.controller.work import Work
from tandem_rollout.platform import Platform

logger = logging.getLogger(__name__)

_WORKERS: Final = 4
_RETRY_S: Final = 1.0
_LONGEST_RETRY_S: Final = 60.0

Key = tuple[str, str]


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
    work: Work[Key] = Work()
    async with AsyncClient() as client, contextlib.AsyncExitStack() as stack:
        cluster = LiveCluster(client, lambda *key: work.add(key), namespace=namespace)
        stack.push_async_callback(cluster.close)
        reconciler = Reconciler(cluster, platform)
        tasks = [asyncio.create_task(cache.run()) for cache in cluster.caches]
        filled = asyncio.gather(*(cache.filled.wait() for cache in cluster.caches))
        tasks.append(asyncio.create_task(_work(filled, work, cluster, reconciler, metrics)))
        ended = asyncio.create_task(stop.wait())
        await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
        broken = [task for task in tasks if task.done() and not task.cancelled() and task.exception()]
        for task in [ended, *tasks]:
            task.cancel()
        await asyncio.gather(ended, *tasks, return_exceptions=True)
    for task in broken:
        logger.error("stopped by an error", exc_info=task.exception())
    return 1 if broken else 0


async def _work(
    filled: asyncio.Future[list[Literal[True]]], work: Work[Key], cluster: LiveCluster, reconciler: Reconciler, metrics: Metrics
) -> None:
    """Look at rollouts, once all caches are filled: an object that is not seen yet would be taken for missing."""
    await filled
    logger.info("started")
    async with asyncio.TaskGroup() as group:
        for _ in range(_WORKERS):
            group.create_task(_worker(work, cluster, reconciler, metrics))


async def _worker(work: Work[Key], cluster: LiveCluster, reconciler: Reconciler, metrics: Metrics) -> None:
    failures: dict[Key, int] = {}
    while True:
        key = await work.take()
        manifest = cluster.rollouts.get(*key)
        try:
            if manifest is None:
                reconciler.forget(*key)
                metrics.forget(*key)
                continue
            started = time.perf_counter()
            after = await reconciler.reconcile(manifest)
            metrics.seconds.observe(time.perf_counter() - started)
            metrics.observe(cluster.rollouts.get(*key) or manifest)
            failures.pop(key, None)
            work.add(key, after)
        except Exception:
            metrics.errors.inc()
            failures[key] = failures.get(key, 0) + 1
            logger.exception("a pass failed", extra={"namespace": key[0], "rollout": key[1]})
            work.add(key, min(_RETRY_S * 2 ** failures[key], _LONGEST_RETRY_S))
        finally:
            work.done(key)
