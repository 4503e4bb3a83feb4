"""What the controller writes to the API server. Each write is made only while this process is the leader."""

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
"""A resourceVersion that no object has: an apply that gives it makes an object, and changes none."""

_CONFLICT: Final = 409
_UNPROCESSABLE: Final = 422
"""The answer to a JSON patch whose test fails, and to an apply whose uid is that of another object."""

_TEMPORARY: Final = {408, 409, 425, 429}
"""Answers below 500 after which the same write may well be taken."""


class ApiServer:
    """The API server.

    Args:
        client: Of the API server.
        leads: Whether this process may write, asked right before each write.
        clock: Seconds since the epoch.
    """

    def __init__(self, client: AsyncClient, leads: Callable[[], bool], clock: Callable[[], float]) -> None:
        self._client = client
        self._leads = leads
        self._clock = clock

    async def apply(self, rendered: Object, *, uid: str = "") -> dict[str, Any]:
        """Make an object as rendered, by server-side apply; returns it as it is then.

        The API server checks that the object is the one that was looked at: nobody else's is changed, whenever it was
        made.

        Args:
            rendered: The object; its first owner reference says whose it is.
            uid: Of the object as it was applied before; looked up where it is not known.

        Raises:
            NameConflictError: An object of that name has another owner.
            WriteError: if the API server does not take it.
        """
        try:
            try:
                return await self._apply(rendered, uid or await self.uid_of(rendered))
            except httpx2.HTTPStatusError as error:
                # it has come, gone or become another one since it was looked at
                if _code(error) not in (_CONFLICT, _UNPROCESSABLE):
                    raise
            return await self._apply(rendered, await self.uid_of(rendered))
        except httpx2.HTTPError as error:
            raise write_error(f"{rendered['kind']} {rendered['metadata']['name']} cannot be applied", error) from error

    async def _apply(self, rendered: Object, uid: str) -> dict[str, Any]:
        self._check_leader()
        precondition = {"uid": uid} if uid else {"resourceVersion": _NEVER}
        guarded = kinds.resource({**rendered, "metadata": {**rendered["metadata"], **precondition}})
        applied = await self._client.apply(guarded, field_manager=FIELD_MANAGER, force=True)
        plain: dict[str, Any] = applied.to_dict()
        return plain

    async def uid_of(self, rendered: Object) -> str:
        """Look whether the name of an object is free.

        Returns:
            The uid of the object, if it is there and has the owner of the rendered one; empty where there is none.

        Raises:
            NameConflictError: An object of that name has another owner.
            WriteError: if the API server does not answer.
        """
        kind, metadata = rendered["kind"], rendered["metadata"]
        try:
            live = (
                await self._client.get(kinds.APPLIED[kind], metadata["name"], namespace=metadata["namespace"])
            ).to_dict()
        except httpx2.HTTPError as error:
            # where the kind itself is not there, the apply says so
            if _code(error) == 404:
                return ""
            raise write_error(f"{kind} {metadata['name']} cannot be read", error) from error
        if not owned(live, metadata["ownerReferences"][0]["uid"]):
            raise NameConflictError(kind, metadata["name"])
        return str(live["metadata"]["uid"])

    async def delete(self, kind: str, namespace: str, name: str, *, owner: str) -> None:
        """Delete an object, if it is there and belongs to the owner with this uid.

        Raises:
            WriteError: if the API server does not do it.
        """
        try:
            live = (await self._client.get(kinds.APPLIED[kind], name, namespace=namespace)).to_dict()
            # what somebody else gave the same name is not ours to delete
            if owned(live, owner):
                self._check_leader()
                await _delete_exactly(self._client, kinds.APPLIED[kind], namespace, name, live["metadata"]["uid"])
        except httpx2.HTTPError as error:
            if _code(error) != 404:  # nor is it an error where the kind itself is not there
                raise write_error(f"{kind} {name} cannot be deleted", error) from error

    async def set_status(self, namespace: str, name: str, status: dict[str, Any]) -> None:
        """Replace the status of a rollout.

        Raises:
            WriteError: if the API server does not take it.
        """
        self._check_leader()
        patch = [{"op": "add", "path": "/status", "value": status}]
        try:
            await self._client.patch(
                kinds.InferenceRollout.Status, name, patch, namespace=namespace, patch_type=PatchType.JSON
            )
        except httpx2.HTTPError as error:
            if _code(error) != 404:  # deleted meanwhile
                raise write_error("the status cannot be written", error) from error

    async def finalize(self, manifest: Mapping[str, Any], *, present: bool) -> None:
        """Have the API server keep a rollout that is deleted until its stable has all requests again, or no more.

        Raises:
            WriteError: if the API server does not take it.
        """
        metadata = manifest["metadata"]
        current = list(metadata.get("finalizers") or ())
        if (FINALIZER in current) == present:
            return
        finalizers = (
            [*current, FINALIZER] if present else [finalizer for finalizer in current if finalizer != FINALIZER]
        )
        self._check_leader()
        # lists are replaced as a whole: nobody else may have changed it; we may have written the status since
        path = "/metadata/finalizers"
        patch = [
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
            # what the list has become meanwhile the watch will tell, and then it is taken away if it is still there
            if _code(error) != 404 and (present or _code(error) != _UNPROCESSABLE):
                raise write_error("the finalizer cannot be set", error) from error

    async def evidence(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A RolloutEvidence; None where there is none.

        Raises:
            WriteError: if the API server does not answer.
        """
        try:
            evidence: Any = await self._client.get(kinds.RolloutEvidence, name, namespace=namespace)
        except httpx2.HTTPError as error:
            if _code(error) == 404:
                return None
            raise write_error(f"{EVIDENCE_KIND} {name} cannot be read", error) from error
        plain: dict[str, Any] = evidence.to_dict()
        return plain

    async def tell(self, manifest: Mapping[str, Any], reason: str, message: str, *, warning: bool) -> None:
        """Record an event about a rollout. An event that is lost is no reason to stop."""
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
        """A process that was suspended does not know yet that another one leads.

        Raises:
            WriteError: if this process is not the leader any more.
        """
        if not self._leads():
            raise WriteError("this controller is not the leader any more", rejected=False)


async def _delete_exactly(client: AsyncClient, kind: Any, namespace: str, name: str, uid: str) -> None:
    """Delete an object unless it is another one by now. lightkube's own delete takes no preconditions."""
    generic: Any = client._client
    request = generic.prepare_request("delete", kind, name=name, namespace=namespace)
    request.data = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
    generic.raise_for_status(await generic.send(generic.build_adapter_request(request)))


def write_error(what: str, error: httpx2.HTTPError) -> WriteError:
    """What the API server has not done, and why.

    Args:
        what: What it has not done.
        error: Its answer, or why there is none.
    """
    code = _code(error)
    rejected = code is not None and 400 <= code < 500 and code not in _TEMPORARY
    return WriteError(f"{what}: {_words(error)}", rejected=rejected, after=_retry_after(error))


def _code(error: httpx2.HTTPError) -> int | None:
    return error.response.status_code if isinstance(error, httpx2.HTTPStatusError) else None


def _retry_after(error: httpx2.HTTPError) -> float:
    after = error.response.headers.get("retry-after", "") if isinstance(error, httpx2.HTTPStatusError) else ""
    return float(after) if after.isdecimal() else 0.0


def _words(error: httpx2.HTTPError) -> str:
    """What the API server says, in one line."""
    if isinstance(error, ApiError) or not isinstance(error, httpx2.HTTPStatusError):
        return one_line(str(error)) or type(error).__name__
    if error.response.status_code == 404:
        return "the cluster does not know this kind of object"
    return f"the API server answers {error.response.status_code}"
