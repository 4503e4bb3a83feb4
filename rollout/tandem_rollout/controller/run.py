"""The process of the controller: watches, leader election, workers, metrics, probes, and a graceful end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import uuid
from collections.abc import Awaitable, Callable

from lightkube import AsyncClient

from tandem_rollout.controller.cluster import LiveCluster
from tandem_rollout.controller.election import Elector
from tandem_rollout.controller.endpoints import Heartbeat, application, serve
from tandem_rollout.controller.leases import LiveLeases
from tandem_rollout.controller.metrics import ControllerMetrics
from tandem_rollout.controller.reconciler import Reconciler
from tandem_rollout.controller.term import Term, queue
from tandem_rollout.controller.verifier import HttpVerifier
from tandem_rollout.render.platform import Platform

logger = logging.getLogger(__name__)


async def run(platform: Platform, *, namespace: str | None, metrics_port: int, lease: str) -> int:
    """Run until SIGTERM or SIGINT.

    Args:
        platform: Defaults of the installation.
        namespace: Namespace of the rollouts; None for all namespaces.
        metrics_port: Port of ``/metrics``, ``/healthz`` and ``/readyz``; 0 for none.
        lease: Name of the Lease in the controller's namespace; empty to act without leader election.

    Returns:
        The exit code.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    metrics, heartbeat = ControllerMetrics(), Heartbeat()
    work = queue()
    async with AsyncClient() as client, contextlib.AsyncExitStack() as stack:
        verifier = HttpVerifier()
        stack.push_async_callback(verifier.close)
        # a container that restarts in its pod has the same hostname
        identity = f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"
        leases = LiveLeases(client, platform.controller_namespace, lease)
        elector = Elector(leases, identity) if lease else None
        cluster = LiveCluster(
            client,
            verifier,
            lambda *key: work.add(key),
            namespace=namespace,
            domain=platform.domain,
            gateway_namespace=platform.gateway_namespace,
            leads=(lambda: elector.leads) if elector else (lambda: True),
        )
        if metrics_port:
            probes = {"/healthz": heartbeat.problem, "/readyz": lambda: heartbeat.problem() or unready(cluster)}
            serve(application(metrics.registry, probes), metrics_port)

        async def term() -> None:
            async with asyncio.TaskGroup() as group:
                # each term has a new reconciler, as another leader may have changed what the last one remembers
                group.create_task(Term(work, cluster, Reconciler(cluster, platform), metrics).run())
                if elector:
                    group.create_task(leases.tell(f"{identity} became the leader"))

        tasks = [asyncio.create_task(cache.run()) for cache in cluster.caches]
        tasks += [asyncio.create_task(heartbeat.run()), asyncio.create_task(_lead(cluster, elector, term))]
        ended = asyncio.create_task(stop.wait())
        await asyncio.wait([ended, *tasks], return_when=asyncio.FIRST_COMPLETED)
        broken = [task for task in tasks if task.done() and not task.cancelled() and task.exception()]
        for task in [ended, *tasks]:
            task.cancel()
        await asyncio.gather(ended, *tasks, return_exceptions=True)
    for task in broken:
        logger.error("stopped by an error", exc_info=task.exception())
    return 1 if broken else 0


def unready(cluster: LiveCluster) -> str:
    """What this process waits for before it can be the leader; empty if it can."""
    kinds = [cache.kind for cache in cluster.caches if not cache.filled.is_set()]
    return f"waiting for the first list of {', '.join(kinds)}" if kinds else ""


async def _lead(cluster: LiveCluster, elector: Elector | None, term: Callable[[], Awaitable[None]]) -> None:
    """Take part in the election after all caches are filled, as objects would be considered missing before."""
    for cache in cluster.caches:
        await cache.filled.wait()
    logger.info("started")
    await (elector.run(term) if elector else term())
