"""The interface between the reconciler and a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tandem_rollout import GROUP
from tandem_rollout.api.cause import Cause
from tandem_rollout.api.routing import GatewayRef
from tandem_rollout.controller.inventory import Mark
from tandem_rollout.controller.observation import Verification
from tandem_rollout.render import Object
from tandem_rollout.render.hosts import HostClaim
from tandem_rollout.render.revision import Revision

FINALIZER: Final = f"{GROUP}/restore-stable"
"""Finalizer of a rollout with an active run: the rollout is deleted after stable has all requests again."""


@dataclass(frozen=True, slots=True)
class VerificationFailure(Cause):
    """A failed verification.

    Attributes:
        final: Whether a retry with the same pods is useless.
    """

    final: bool


class WriteError(Exception):
    """A call of the API server failed.

    Args:
        message: The call and the cause.
        rejected: Whether the write is invalid; otherwise a retry may succeed.
        after: Seconds after which the API server allows a retry.
    """

    def __init__(self, message: str, *, rejected: bool, after: float = 0.0) -> None:
        super().__init__(message)
        self.rejected = rejected
        self.after = after

    @property
    def cause(self) -> Cause:
        """The cause for a status."""
        return Cause("WriteRejected" if self.rejected else "WriteFailed", str(self))


class NameConflictError(WriteError):
    """An object that is not part of the rollout already has the name. It was not changed.

    Args:
        kind: Kind of the object.
        name: Name of the object.
    """

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(
            f"{kind} {name} already exists and is not part of this rollout: delete it, or rename the rollout",
            rejected=True,
        )

    @property
    def cause(self) -> Cause:
        """The cause for a status."""
        return Cause("NameConflict", str(self))


class Cluster(Protocol):
    """The cluster: caches for reads, the API server for writes, transformers for verifications, and a clock."""

    def services(self, namespace: str, rollout: str) -> list[dict[str, Any]]:
        """InferenceServices of a rollout."""
        ...

    def pods(self, namespace: str, service: str) -> list[dict[str, Any]]:
        """Pods of an InferenceService."""
        ...

    def route(self, namespace: str, name: str) -> dict[str, Any] | None:
        """An HTTPRoute."""
        ...

    def routes(self, namespace: str, rollout: str) -> list[dict[str, Any]]:
        """HTTPRoutes of a rollout."""
        ...

    def claims(self, namespace: str, name: str) -> tuple[HostClaim, list[HostClaim]]:
        """The claim of a rollout, and the claims of other rollouts on the same hostnames."""
        ...

    async def apply(self, rendered: Object, *, uid: str = "") -> dict[str, Any]:
        """Apply an object, unless an object with its name has another owner.

        Args:
            rendered: The object. Its first owner reference identifies its owner.
            uid: The uid of the object when it was last applied; empty to read it.

        Returns:
            The object after the write.

        Raises:
            NameConflictError: An object with this name has another owner.
            WriteError: The write failed.
        """
        ...

    async def uid_of(self, rendered: Object) -> str:
        """Check whether the name of an object is free.

        Returns:
            The uid of the object, if it exists and has the owner of the rendered one; empty if it does not exist.

        Raises:
            NameConflictError: An object with this name has another owner.
            WriteError: The API server did not respond.
        """
        ...

    async def delete(self, kind: str, namespace: str, name: str, *, owner: str) -> None:
        """Delete an object, if it exists and has the owner with this uid.

        Raises:
            WriteError: The deletion failed.
        """
        ...

    async def same(self, kind: str, namespace: str, name: str, mark: Mark | None, since: float) -> bool:
        """Whether an object that is not watched is unchanged; False if that is not known.

        Args:
            kind: Its kind.
            namespace: Its namespace.
            name: Its name.
            mark: Its previous mark; None if it did not exist.
            since: Time of that mark, in seconds since the epoch.
        """
        ...

    async def set_status(self, namespace: str, name: str, status: dict[str, Any]) -> None:
        """Replace the status of a rollout.

        Raises:
            WriteError: The write failed.
        """
        ...

    async def finalize(self, manifest: Mapping[str, Any], *, present: bool) -> None:
        """Add or remove the finalizer, which keeps a deleted rollout until stable has all requests again.

        Raises:
            WriteError: The write failed.
        """
        ...

    async def evidence(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Read a RolloutEvidence; None if it does not exist.

        Raises:
            WriteError: The API server did not respond.
        """
        ...

    async def proxies(self, gateway: GatewayRef) -> tuple[tuple[str, str], ...]:
        """Names and addresses of the statistics of a gateway's proxies; empty if none are found."""
        ...

    async def tell(self, manifest: Mapping[str, Any], reason: str, message: str, *, warning: bool) -> None:
        """Record an event about a rollout."""
        ...

    async def verify(self, revision: Revision) -> Verification | VerificationFailure:
        """Have a revision verify its golden rows."""
        ...

    def now(self) -> float:
        """Seconds since the epoch."""
        ...
