"""The Lease of the controller, in its namespace."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import httpx2
import msgspec
from lightkube import AsyncClient
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.core_v1 import EventSource, ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources import coordination_v1
from lightkube.resources.core_v1 import Event

from tandem_rollout.api.text import one_line
from tandem_rollout.controller.candidacy import Lease
from tandem_rollout.controller.election import LeaseError

_API_VERSION: Final = "coordination.k8s.io/v1"
_NOT_FOUND: Final = 404
_CONFLICT: Final = 409
_COMPONENT: Final = "tandem-controller"


class LiveLeases:
    """The storage of a Lease in a cluster.

    Args:
        client: Client of the API server.
        namespace: Its namespace.
        name: Its name.
    """

    def __init__(self, client: AsyncClient, namespace: str, name: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name
        self._metadata = ObjectMeta(name=name, namespace=namespace)

    async def read(self) -> Lease | None:
        """Read the lease. See :meth:`.election.Leases.read`."""
        try:
            live = await self._client.get(coordination_v1.Lease, self._name, namespace=self._namespace)
        except httpx2.HTTPStatusError as error:
            if error.response.status_code == _NOT_FOUND:
                # a deleted Lease has no version to replace: the next write creates it
                self._metadata = ObjectMeta(name=self._name, namespace=self._namespace)
                return None
            raise self._error("read", error) from error
        # a response without a content type, or an incomplete one, makes lightkube raise the last two
        except (httpx2.HTTPError, msgspec.DecodeError, KeyError) as error:
            raise self._error("read", error) from error
        return self._parse(live)

    async def write(self, lease: Lease) -> Lease | None:
        """Create or replace the lease. See :meth:`.election.Leases.write`."""
        manifest = coordination_v1.Lease(metadata=self._metadata, spec=_spec(lease))
        # with the version as precondition, the API server accepts one of two concurrent writes
        manifest.metadata.resourceVersion = lease.version or None  # type: ignore[union-attr]
        try:
            live = await (self._client.replace(manifest) if lease.version else self._client.create(manifest))
        except httpx2.HTTPStatusError as error:
            status = error.response.status_code
            # 404 of a replace: it was deleted since it was read; 404 of a create: there is no such namespace
            if status == _CONFLICT or (status == _NOT_FOUND and lease.version):
                return None
            raise self._error("write", error) from error
        except (httpx2.HTTPError, msgspec.DecodeError, KeyError) as error:
            raise self._error("write", error) from error
        return self._parse(live)

    async def tell(self, message: str) -> None:
        """Record an event about the lease. Errors are ignored."""
        now = datetime.now(UTC)
        event = Event(
            metadata=ObjectMeta(generateName=f"{self._name}.", namespace=self._namespace),
            involvedObject=ObjectReference(
                apiVersion=_API_VERSION,
                kind="Lease",
                name=self._name,
                namespace=self._namespace,
                uid=self._metadata.uid,
            ),
            reason="LeaderElection",
            message=message,
            type="Normal",
            source=EventSource(component=_COMPONENT),
            firstTimestamp=now,
            lastTimestamp=now,
            count=1,
        )
        try:
            await self._client.create(event)
        except (httpx2.HTTPError, msgspec.DecodeError, KeyError):
            return

    def _parse(self, live: coordination_v1.Lease) -> Lease:
        # labels, annotations and owners of other clients are kept
        self._metadata = live.metadata or self._metadata
        self._metadata.managedFields = None
        spec = live.spec or LeaseSpec()
        return Lease(
            holder=spec.holderIdentity or "",
            duration=spec.leaseDurationSeconds or 0,
            transitions=spec.leaseTransitions or 0,
            acquired=_epoch(spec.acquireTime),
            renewed=_epoch(spec.renewTime),
            version=self._metadata.resourceVersion or "",
        )

    def _error(self, action: str, error: Exception) -> LeaseError:
        reason = one_line(str(error)) or type(error).__name__
        return LeaseError(f"cannot {action} Lease {self._name} in {self._namespace}: {reason}")


def _spec(lease: Lease) -> LeaseSpec:
    return LeaseSpec(
        holderIdentity=lease.holder or None,
        leaseDurationSeconds=lease.duration,
        leaseTransitions=lease.transitions,
        acquireTime=_micro_time(lease.acquired),
        renewTime=_micro_time(lease.renewed),
    )


def _micro_time(seconds: float) -> Any:
    """A MicroTime, which must have six decimals: trailing zeros would be omitted."""
    time = datetime.fromtimestamp(seconds, UTC)
    return time.replace(microsecond=time.microsecond or 1)


def _epoch(time: Any) -> float:
    return time.timestamp() if isinstance(time, datetime) else 0.0
