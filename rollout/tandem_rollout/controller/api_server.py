"""Writes to the API server. A write is only sent while this process is the leader."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.models.core_v1 import EventSource, ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Event
from lightkube.types import PatchType

from tandem_rollout import API_VERSION, EVIDENCE_KIND, KIND
from tandem_rollout.api.text import one_line
from tandem_rollout.controller import kinds
from tandem_rollout.controller.interface import FINALIZER, NameConflictError, WriteError
from tandem_rollout.controller.objects import owned
from tandem_rollout.render import Object

FIELD_MANAGER: Final = "tandem-controller"

_NEVER: Final = "1"
"""A resourceVersion that no object has. An apply with it creates an object, and never changes one."""

_CONFLICT: Final = 409
_UNPROCESSABLE: Final = 422
"""Status of a JSON patch whose test fails, and of an apply with the uid of another object."""

_TEMPORARY: Final = {408, 409, 425, 429}
"""Statuses below 500 after which a retry may succeed."""


class ApiServer:
    """The API server.

    Args:
        client: Client of the API server.
        leads: Whether this process is the leader. It is called before each write.
        clock: Seconds since the epoch.
    """

    def __init__(self, client: AsyncClient, leads: Callable[[], bool], clock: Callable[[], float]) -> None:
        self._client = client
        self._leads = leads
        self._clock = clock

    async def apply(self, rendered: Object, *, uid: str = "") -> dict[str, Any]:
        """Apply an object by server-side apply. See :meth:`.interface.Cluster.apply`.

        The uid is a precondition of the apply, so that an object of another owner is never changed.
        """
        try:
            try:
                return await self._apply(rendered, uid or await self.uid_of(rendered))
            except httpx2.HTTPStatusError as error:
                # the object was created, deleted or replaced after its uid was read
                if _code(error) not in (_CONFLICT, _UNPROCESSABLE):
                    raise
            return await self._apply(rendered, await self.uid_of(rendered))
        except httpx2.HTTPError as error:
            raise write_error(f"cannot apply {rendered['kind']} {rendered['metadata']['name']}", error) from error

    async def _apply(self, rendered: Object, uid: str) -> dict[str, Any]:
        self._check_leader()
        precondition = {"uid": uid} if uid else {"resourceVersion": _NEVER}
        guarded = kinds.resource({**rendered, "metadata": {**rendered["metadata"], **precondition}})
        # with force the fields that others have changed are taken back: this controller is their only author
        applied = await self._client.apply(guarded, field_manager=FIELD_MANAGER, force=True)
        plain: dict[str, Any] = applied.to_dict()
        return plain

    async def uid_of(self, rendered: Object) -> str:
        """Check whether the name of an object is free. See :meth:`.interface.Cluster.uid_of`."""
        kind, metadata = rendered["kind"], rendered["metadata"]
        try:
            live = (
                await self._client.get(kinds.APPLIED[kind], metadata["name"], namespace=metadata["namespace"])
            ).to_dict()
        except httpx2.HTTPError as error:
            # the apply reports a missing kind
            if _code(error) == 404:
                return ""
            raise write_error(f"cannot read {kind} {metadata['name']}", error) from error
        if not owned(live, metadata["ownerReferences"][0]["uid"]):
            raise NameConflictError(kind, metadata["name"])
        return str(live["metadata"]["uid"])

    async def delete(self, kind: str, namespace: str, name: str, *, owner: str) -> None:
        """Delete an object of an owner. See :meth:`.interface.Cluster.delete`."""
        try:
            live = (await self._client.get(kinds.APPLIED[kind], name, namespace=namespace)).to_dict()
            # an object of another owner is not deleted
            if owned(live, owner):
                self._check_leader()
                await _delete_exactly(self._client, kinds.APPLIED[kind], namespace, name, live["metadata"]["uid"])
        except httpx2.HTTPError as error:
            if _code(error) != 404:  # or the kind does not exist
                raise write_error(f"cannot delete {kind} {name}", error) from error

    async def set_status(self, namespace: str, name: str, status: dict[str, Any]) -> None:
        """Replace the status of a rollout. See :meth:`.interface.Cluster.set_status`."""
        self._check_leader()
        # add replaces an existing value (RFC 6902, 4.1), while a merge would keep fields of the previous status
        patch = [{"op": "add", "path": "/status", "value": status}]
        try:
            await self._client.patch(
                kinds.InferenceRollout.Status, name, patch, namespace=namespace, patch_type=PatchType.JSON
            )
        except httpx2.HTTPError as error:
            if _code(error) != 404:  # deleted in the meantime
                raise write_error("cannot write the status", error) from error

    async def finalize(self, manifest: Mapping[str, Any], *, present: bool) -> None:
        """Add or remove the finalizer of a rollout. See :meth:`.interface.Cluster.finalize`."""
        metadata = manifest["metadata"]
        current = list(metadata.get("finalizers") or ())
        if (FINALIZER in current) == present:
            return
        finalizers = (
            [*current, FINALIZER] if present else [finalizer for finalizer in current if finalizer != FINALIZER]
        )
        self._check_leader()
        # the list is replaced: the test fails if another client has changed it since it was read
        path = "/metadata/finalizers"
        patch = [
            # the API server treats a missing list as null
            {"op": "test", "path": path, "value": current or None},
            {"op": "add", "path": path, "value": finalizers},
        ]
        try:
            await self._client.patch(
                kinds.InferenceRollout,
                metadata["name"],
                patch,
                namespace=metadata["namespace"],
                patch_type=PatchType.JSON,
            )
        except httpx2.HTTPError as error:
            # if the list was changed in the meantime, the finalizer is removed in the pass after the watch event
            if _code(error) != 404 and (present or _code(error) != _UNPROCESSABLE):
                raise write_error("cannot set the finalizer", error) from error

    async def evidence(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Read a RolloutEvidence. See :meth:`.interface.Cluster.evidence`."""
        try:
            evidence: Any = await self._client.get(kinds.RolloutEvidence, name, namespace=namespace)
        except httpx2.HTTPError as error:
            if _code(error) == 404:
                return None
            raise write_error(f"cannot read {EVIDENCE_KIND} {name}", error) from error
        plain: dict[str, Any] = evidence.to_dict()
        return plain

    async def tell(self, manifest: Mapping[str, Any], reason: str, message: str, *, warning: bool) -> None:
        """Record an event about a rollout. Errors are ignored."""
        self._check_leader()
        metadata = manifest["metadata"]
        about = ObjectReference(
            apiVersion=API_VERSION,
            kind=KIND,
            name=metadata["name"],
            namespace=metadata["namespace"],
            uid=metadata.get("uid"),
        )
        now = datetime.fromtimestamp(self._clock(), UTC)
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
        except httpx2.HTTPError:
            return

    def _check_leader(self) -> None:
        """Check the leadership before a write: this process may have been suspended.

        Raises:
            WriteError: This process is no longer the leader.
        """
        if not self._leads():
            raise WriteError("this controller is no longer the leader", rejected=False)


async def _delete_exactly(client: AsyncClient, kind: Any, namespace: str, name: str, uid: str) -> None:
    """Delete an object with its uid as precondition, which lightkube's own delete does not support."""
    generic: Any = client._client
    request = generic.prepare_request("delete", kind, name=name, namespace=namespace)
    request.data = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
    generic.raise_for_status(await generic.send(generic.build_adapter_request(request)))


def write_error(what: str, error: httpx2.HTTPError) -> WriteError:
    """The error of a failed call of the API server.

    Args:
        what: The failed action.
        error: The error of the call.
    """
    code = _code(error)
    rejected = code is not None and 400 <= code < 500 and code not in _TEMPORARY
    return WriteError(f"{what}: {_words(error)}", rejected=rejected, after=_retry_after(error))


def _code(error: httpx2.HTTPError) -> int | None:
    return error.response.status_code if isinstance(error, httpx2.HTTPStatusError) else None


def _retry_after(error: httpx2.HTTPError) -> float:
    after = error.response.headers.get("retry-after", "") if isinstance(error, httpx2.HTTPStatusError) else ""
    # the header's other form, a date (RFC 9110, 10.2.3), is ignored
    return float(after) if after.isdecimal() else 0.0


def _words(error: httpx2.HTTPError) -> str:
    """The message of the API server, in one line."""
    if isinstance(error, ApiError) or not isinstance(error, httpx2.HTTPStatusError):
        return one_line(str(error)) or type(error).__name__
    if error.response.status_code == 404:
        return "the cluster does not have this kind of object"
    return f"the API server returned status {error.response.status_code}"
