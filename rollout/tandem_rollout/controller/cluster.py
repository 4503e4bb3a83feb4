"""The cluster: caches for reads, the API server for writes, transformers for verifications."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

import httpx2
from lightkube import AsyncClient

from tandem_rollout.api.routing import GatewayRef
from tandem_rollout.controller import kinds
from tandem_rollout.controller.api_server import ApiServer, write_error
from tandem_rollout.controller.cache import Cache
from tandem_rollout.controller.host_claims import HostIndex
from tandem_rollout.controller.interface import VerificationFailure
from tandem_rollout.controller.inventory import Inventory, Mark
from tandem_rollout.controller.observation import Verification
from tandem_rollout.render.hosts import HostClaim, claim_hosts
from tandem_rollout.render.platform import Platform
from tandem_rollout.render.revision import MANAGED_BY, ROLLOUT_LABEL, Revision

_SERVICE_LABEL: Final = "serving.kserve.io/inferenceservice"

_OWNING: Final = "gateway.envoyproxy.io/owning-gateway"
_STATISTICS_PORT: Final = 19001
"""Port and labels that Envoy Gateway sets."""


class Verifier(Protocol):
    """Verifies revisions."""

    async def verify(self, revision: Revision) -> Verification | VerificationFailure:
        """Have a revision verify its golden rows."""
        ...


class LiveCluster(ApiServer):
    """A real cluster.

    Args:
        client: Client of the API server.
        verifier: Verifies revisions.
        changed: Called with namespace and name of a rollout when one of its objects changes.
        namespace: Namespace of the rollouts; None for all namespaces.
        domain: Domain of default hostnames.
        gateway_namespace: Namespace of the gateways' proxies.
        leads: Whether this process is the leader. It is called before each write.
        clock: Seconds since the epoch.
        sleep: Waits for some seconds before a watch is retried.
    """

    def __init__(
        self,
        client: AsyncClient,
        verifier: Verifier,
        changed: Callable[[str, str], None],
        *,
        namespace: str | None = None,
        domain: str = "example.com",
        gateway_namespace: str = Platform().gateway_namespace,
        leads: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(client, leads, clock)
        self._verifier = verifier
        self._gateway_namespace = gateway_namespace
        self._domain = domain
        self._hosts = HostIndex()

        def own(plain: dict[str, Any]) -> None:
            key = plain["metadata"]["namespace"], plain["metadata"]["name"]
            manifest = self.rollouts.get(*key)
            touched = self._hosts.drop(key) if manifest is None else self._hosts.put(claim_hosts(manifest, domain))
            # a claim that changes may take a hostname from other rollouts, or leave it to them
            for rival in (key, *touched):
                changed(*rival)

        def owners(plain: dict[str, Any]) -> None:
            changed(plain["metadata"]["namespace"], plain["metadata"]["labels"][ROLLOUT_LABEL])

        labels: dict[str, Any] = {**MANAGED_BY, ROLLOUT_LABEL: None}
        cache = functools.partial(Cache, client, namespace=namespace, sleep=sleep, turn=asyncio.Lock())
        self.rollouts = cache(kinds.InferenceRollout, own)
        self._services = cache(kinds.InferenceService, owners, labels=labels, index=ROLLOUT_LABEL)
        self._routes = cache(kinds.HTTPRoute, owners, labels=labels, index=ROLLOUT_LABEL)
        self._inventories = {
            kind: Inventory(client, kinds.APPLIED[kind], labels=labels, namespace=namespace, clock=clock)
            for kind in kinds.LISTED
        }
        labels = {ROLLOUT_LABEL: None}
        # the spec takes most of a pod's memory, and is never read
        self._pods = cache(kinds.Pod, owners, labels=labels, index=_SERVICE_LABEL, without=("spec",))

    @property
    def caches(self) -> tuple[Cache, ...]:
        """The caches of all watched kinds."""
        return self.rollouts, self._services, self._routes, self._pods

    def services(self, namespace: str, rollout: str) -> list[dict[str, Any]]:
        """InferenceServices of a rollout."""
        return self._services.labelled(namespace, rollout)

    def pods(self, namespace: str, service: str) -> list[dict[str, Any]]:
        """Pods of an InferenceService."""
        return self._pods.labelled(namespace, service)

    def route(self, namespace: str, name: str) -> dict[str, Any] | None:
        """An HTTPRoute."""
        return self._routes.get(namespace, name)

    def routes(self, namespace: str, rollout: str) -> list[dict[str, Any]]:
        """HTTPRoutes of a rollout."""
        return self._routes.labelled(namespace, rollout)

    def claims(self, namespace: str, name: str) -> tuple[HostClaim, list[HostClaim]]:
        """The claims of a rollout, and those of other rollouts on the same hostnames."""
        own = self._claim(namespace, name)
        return own, [self._claim(*key) for key in self._hosts.rivals(own)]

    def _claim(self, namespace: str, name: str) -> HostClaim:
        manifest = self.rollouts.get(namespace, name) or {"metadata": {"namespace": namespace, "name": name}}
        return claim_hosts(manifest, self._domain, self.routes(namespace, name))

    async def same(self, kind: str, namespace: str, name: str, mark: Mark | None, since: float) -> bool:
        """Whether an object that is not watched is unchanged. See :meth:`.interface.Cluster.same`."""
        inventory = self._inventories.get(kind)
        return inventory is not None and await inventory.same(namespace, name, mark, since)

    async def proxies(self, gateway: GatewayRef) -> tuple[tuple[str, str], ...]:
        """Addresses of the statistics of a gateway's proxies. See :meth:`.interface.Cluster.proxies`.

        Labels are not enough to identify proxies: pods in any namespace can have any labels.
        """
        labels: dict[str, Any] = {f"{_OWNING}-name": gateway.name, f"{_OWNING}-namespace": gateway.namespace}
        try:
            listed = self._client.list(kinds.Pod, namespace=self._gateway_namespace, labels=labels)
            pods = [pod.to_dict() async for pod in listed]
        # without addresses the gateway's metrics are an error of the provider, which delays a run but never ends it
        except httpx2.HTTPError:
            return ()
        return tuple(
            (pod["metadata"]["name"], f"http://{address}:{_STATISTICS_PORT}/stats/prometheus")
            for pod in pods
            if (address := (pod.get("status") or {}).get("podIP"))
        )

    async def verify(self, revision: Revision) -> Verification | VerificationFailure:
        """Have a revision verify its golden rows."""
        return await self._verifier.verify(revision)

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    async def is_up_to_date(self, namespace: str, name: str) -> bool:
        """Whether the cache has the same version of a rollout as the API server.

        Raises:
            WriteError: The API server did not respond.
        """
        fields: dict[str, Any] = {"metadata.name": name}
        try:
            # a list with one object, as the controller has no permission to get rollouts
            listed = self._client.list(kinds.InferenceRollout, namespace=namespace, fields=fields)
            versions = [rollout["metadata"]["resourceVersion"] async for rollout in listed]
        except httpx2.HTTPError as error:
            raise write_error("cannot read the rollout", error) from error
        cached = self.rollouts.get(namespace, name)
        return cached is not None and versions == [cached["metadata"]["resourceVersion"]]
