"""The cluster as the reconciler sees it: caches to read from, the API server to write to."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.models.core_v1 import EventSource, ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Event
from lightkube.types import PatchType

from tandem_rollout import API_VERSION, KIND
from tandem_rollout.controller import kinds
from tandem_rollout.controller.cache import Cache
from tandem_rollout.controller.prober import Prober, Refutation
from tandem_rollout.controller.reconciler import ApplyError
from tandem_rollout.observation import Proof
from tandem_rollout.render import Object
from tandem_rollout.revision import MANAGED_BY, ROLLOUT_LABEL, Revision

FIELD_MANAGER: Final = "tandem-controller"

_SERVICE_LABEL: Final = "serving.kserve.io/inferenceservice"


class LiveCluster:
    """A real cluster.

    Args:
        client: Of the API server.
        changed: Is told the namespace and name of a rollout about which something has changed.
        namespace: Only this one; None for all.
    """

    def __init__(
        self, client: AsyncClient, changed: Callable[[str, str], None], *, namespace: str | None = None
    ) -> None:
        self._client = client
        self._prober = Prober()

        def own(plain: dict[str, Any]) -> None:
            changed(plain["metadata"]["namespace"], plain["metadata"]["name"])

        def owners(plain: dict[str, Any]) -> None:
            changed(plain["metadata"]["namespace"], plain["metadata"]["labels"][ROLLOUT_LABEL])

        labels: dict[str, Any] = {**MANAGED_BY, ROLLOUT_LABEL: None}
        self.rollouts = Cache(client, kinds.InferenceRollout, own, namespace=namespace)
        self._services = Cache(client, kinds.InferenceService, owners, labels=labels, namespace=namespace)
        self._routes = Cache(client, kinds.HTTPRoute, owners, labels=labels, namespace=namespace)
        self._pods = Cache(client, kinds.Pod, owners, labels={ROLLOUT_LABEL: None}, namespace=namespace)

    @property
    def caches(self) -> tuple[Cache, ...]:
        """What is watched."""
        return self.rollouts, self._services, self._routes, self._pods

    def services(self, namespace: str, rollout: str) -> list[dict[str, Any]]:
        """InferenceServices of a rollout."""
        return self._services.labelled(namespace, ROLLOUT_LABEL, rollout)

    def pods(self, namespace: str, service: str) -> list[dict[str, Any]]:
        """Pods of an InferenceService."""
        return self._pods.labelled(namespace, _SERVICE_LABEL, service)

    def route(self, namespace: str, name: str) -> dict[str, Any] | None:
        """An HTTPRoute."""
        return self._routes.get(namespace, name)

    async def apply(self, made: Object) -> dict[str, Any]:
        """Make an object as rendered, by server-side apply.

        Raises:
            ApplyError: if the API server refuses.
        """
        try:
            applied = await self._client.apply(kinds.resource(made), field_manager=FIELD_MANAGER, force=True)
        except (ApiError, httpx2.HTTPError) as error:
            where = f"{made['kind']} {made['metadata']['name']}"
            raise ApplyError(f"{where} cannot be applied: {_words(error)}") from error
        plain: dict[str, Any] = applied.to_dict()
        return plain

    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete an object, if it is there."""
        try:
            await self._client.delete(kinds.APPLIED[kind], name, namespace=namespace)
        except ApiError as error:
            if error.status.code != 404:
                raise

    async def set_status(self, namespace: str, name: str, status: dict[str, Any]) -> None:
        """Replace the status of a rollout."""
        patch = [{"op": "add", "path": "/status", "value": status}]
        try:
            await self._client.patch(
                kinds.InferenceRollout.Status, name, patch, namespace=namespace, patch_type=PatchType.JSON
            )
        except ApiError as error:
            if error.status.code != 404:  # deleted meanwhile
                raise

    async def tell(self, manifest: Mapping[str, Any], reason: str, message: str, *, warning: bool) -> None:
        """Record an event about a rollout. An event that is lost is no reason to stop."""
        metadata = manifest["metadata"]
        about = ObjectReference(
            apiVersion=API_VERSION,
            kind=KIND,
            name=metadata["name"],
            namespace=metadata["namespace"],
            uid=metadata.get("uid"),
        )
        now = datetime.now(UTC)
        event = Event(
            metadata=ObjectMeta(generateName=f"{metadata['name']}.", namespace=metadata["namespace"]),
            involvedObject=about,
            reason=reason,
            message=message[:1000],
            type="Warning" if warning else "Normal",
            source=EventSource(component=FIELD_MANAGER),
            firstTimestamp=now,
            lastTimestamp=now,
            count=1,
        )
        try:
            await self._client.create(event)
        except (ApiError, httpx2.HTTPError):
            return

    async def prove(self, revision: Revision) -> Proof | Refutation:
        """Ask a revision for its proof."""
        return await self._prober.prove(revision)

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    async def close(self) -> None:
        """Close connections."""
        await self._prober.close()


def _words(error: Exception) -> str:
    """The API server's message without its repetitions."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
