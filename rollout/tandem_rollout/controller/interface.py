"""What the reconciler needs of a cluster."""

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
"""On a rollout while a run is on its way: it is not gone before stable has all requests again."""


@dataclass(frozen=True, slots=True)
class VerificationFailure(Cause):
    """No proof, and why.

    Attributes:
        final: Whether asking the same pods again is useless.
    """

    final: bool


class WriteError(Exception):
    """The API server has not taken a write; the message says which and why.

    Args:
        message: Which and why.
        rejected: Whether the write itself is wrong; otherwise the API server could not take it now.
        after: Seconds after which the API server wants to be asked again.
    """

    def __init__(self, message: str, *, rejected: bool, after: float = 0.0) -> None:
        super().__init__(message)
        self.rejected = rejected
        self.after = after

    @property
    def cause(self) -> Cause:
        """What a status says of it."""
        return Cause("WriteRejected" if self.rejected else "WriteFailed", str(self))


class NameConflictError(WriteError):
    """An object that is not part of the rollout already has the name; it was left as it is.

    Args:
        kind: Its kind.
        name: Its name.
    """

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(
            f"{kind} {name} exists and is not part of this rollout: delete it, or give the rollout another name",
            rejected=True,
        )

    @property
    def cause(self) -> Cause:
        """What a status says of it."""
        return Cause("NameConflict", str(self))


class Cluster(Protocol):
    """Caches to read from, an API server to write to, transformers to ask, a clock."""

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
        """The hosts of a rollout, and those of the others that claim one of them."""
        ...

    async def apply(self, rendered: Object, *, uid: str = "") -> dict[str, Any]:
        """Make an object as rendered, unless one of the same name belongs to somebody else; returns it as it is then.

        Args:
            rendered: The object; its first owner reference says whose it is.
            uid: Of the object as it was applied before; looked up where it is not known.

        Raises:
            NameConflictError: An object of that name has another owner.
            WriteError: if the API server does not take it.
        """
        ...

    async def uid_of(self, rendered: Object) -> str:
        """Look whether the name of an object is free.

        Returns:
            The uid of the object, if it is there and has the owner of the rendered one; empty where there is none.

        Raises:
            NameConflictError: An object of that name has another owner.
            WriteError: if the API server does not answer.
        """
        ...

    async def delete(self, kind: str, namespace: str, name: str, *, owner: str) -> None:
        """Delete an object, if it is there and belongs to the owner with this uid.

        Raises:
            WriteError: if the API server does not do it.
        """
        ...

    async def same(self, kind: str, namespace: str, name: str, mark: Mark | None, since: float) -> bool:
        """Whether an object that is not watched is as it was; False where that is not known.

        Args:
            kind: Its kind.
            namespace: Its namespace.
            name: Its name.
            mark: Its mark then; None if it was not there.
            since: When that was, in seconds since the epoch.
        """
        ...

    async def set_status(self, namespace: str, name: str, status: dict[str, Any]) -> None:
        """Replace the status of a rollout.

        Raises:
            WriteError: if the API server does not take it.
        """
        ...

    async def finalize(self, manifest: Mapping[str, Any], *, present: bool) -> None:
        """Have the API server keep a rollout that is deleted until its stable has all requests again, or no more.

        Raises:
            WriteError: if the API server does not take it.
        """
        ...

    async def evidence(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A RolloutEvidence; None where there is none.

        Raises:
            WriteError: if the API server does not answer.
        """
        ...

    async def proxies(self, gateway: GatewayRef) -> tuple[tuple[str, str], ...]:
        """Addresses of the statistics of a gateway's proxies, by the name of the pod; none where they are not found."""
        ...

    async def tell(self, manifest: Mapping[str, Any], reason: str, message: str, *, warning: bool) -> None:
        """Record an event about a rollout."""
        ...

    async def verify(self, revision: Revision) -> Verification | VerificationFailure:
        """Ask a revision for its proof."""
        ...

    def now(self) -> float:
        """Seconds since the epoch."""
        ...
