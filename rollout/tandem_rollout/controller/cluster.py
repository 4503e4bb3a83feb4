"""The cluster as the reconciler sees it: caches to read from, the API server to write to."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import httpx2
from lightkube import ApiError, AsyncClient
from lightkube.models.core_v1 import EventSource, ObjectReference
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Event
from lightkube.types import PatchType

from tandem_rollout import API_VERSION, EVIDENCE_KIND, KIND
from tandem_rollout.controller import kinds
from tandem_rollout.controller.cache import Cache
from tandem_rollout.controller.hosts import HostIndex
from tandem_rollout.controller.interface import FINALIZER, NameConflictError, Refutation, WriteError
from tandem_rollout.controller.inventory import Inventory, Mark
from tandem_rollout.controller.observe import owned
from tandem_rollout.hosts import Claim, claim
from tandem_rollout.observation import Proof
from tandem_rollout.one_line import one_line
from tandem_rollout.platform import Platform
from tandem_rollout.render import Object
from tandem_rollout.revision import MANAGED_BY, ROLLOUT_LABEL, Revision
from tandem_rollout.spec import GatewayRef

FIELD_MANAGER: Final = "tandem-controller"

_SERVICE_LABEL: Final = "serving.kserve.io/inferenceservice"

_NEVER: Final = "1"
"""A resourceVersion that no object has: an apply that gives it makes an object, and changes none."""

_OWNING: Final = "gateway.envoyproxy.io/owning-gateway"
_STATISTICS_PORT: Final = 19001
"""Envoy Gateway's own choices."""

_CONFLICT: Final = 409
_UNPROCESSABLE: Final = 422
"""The answer to a JSON patch whose test fails, and to an apply whose uid is that of another object."""

_TEMPORARY: Final = {408, 409, 425, 429}
"""Answers below 500 after which the same write may well be taken."""


class Asks(Protocol):
    """Who asks transformers for their proof."""

    async def prove(self, revision: Revision) -> Proof | Refutation:
        """Ask a revision for its proof."""
        ...


class LiveCluster:
    """A real cluster.

    Args:
        client: Of the API server.
        prober: Asks for proofs.
        changed: Is told the namespace and name of a rollout about which something has changed.
        namespace: Only this one; None for all.
        domain: Domain of default hosts.
        gateway_namespace: Where pods are taken for proxies of gateways.
        leads: Whether this process may write, asked right before each write.
        clock: Seconds since the epoch.
        sleep: Waits for some seconds before a watch is tried again.
    """

    def __init__(
        self,
        client: AsyncClient,
        prober: Asks,
        changed: Callable[[str, str], None],
        *,
        namespace: str | None = None,
        domain: str = "example.com",
        gateway_namespace: str = Platform().gateway_namespace,
        leads: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._prober = prober
        self._clock = clock
        self._gateway_namespace = gateway_namespace
        self._leads = leads
        self._domain = domain
        self._hosts = HostIndex()

        def own(plain: dict[str, Any]) -> None:
            key = plain["metadata"]["namespace"], plain["metadata"]["name"]
            there = self.rollouts.get(*key)
            touched = self._hosts.drop(key) if there is None else self._hosts.put(claim(there, domain))
            for each in (key, *touched):
                changed(*each)

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
        self._pods = cache(kinds.Pod, owners, labels=labels, index=_SERVICE_LABEL, without=("spec",))

    @property
    def caches(self) -> tuple[Cache, ...]:
        """What is watched."""
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

    def claims(self, namespace: str, name: str) -> tuple[Claim, list[Claim]]:
        """The hosts of a rollout, and those of the others that claim one of them."""
        own = self._claim(namespace, name)
        return own, [self._claim(*key) for key in self._hosts.rivals(own)]

    def _claim(self, namespace: str, name: str) -> Claim:
        there = self.rollouts.get(namespace, name) or {"metadata": {"namespace": namespace, "name": name}}
        return claim(there, self._domain, self.routes(namespace, name))

    async def apply(self, made: Object, *, uid: str = "") -> dict[str, Any]:
        """Make an object as rendered, by server-side apply; returns it as it is then.

        The API server checks that the object is the one that was looked at: nobody else's is changed, whenever it was
        made.

        Args:
            made: The object; its first owner reference says whose it is.
            uid: Of the object as it was applied before; looked up where it is not known.

        Raises:
            NameConflictError: An object of that name has another owner.
            WriteError: if the API server does not take it.
        """
        try:
            try:
                return await self._apply(made, uid or await self.uid_of(made))
            except httpx2.HTTPStatusError as error:
                # it has come, gone or become another one since it was looked at
                if _code(error) not in (_CONFLICT, _UNPROCESSABLE):
                    raise
            return await self._apply(made, await self.uid_of(made))
        except httpx2.HTTPError as error:
            raise _write_error(f"{made['kind']} {made['metadata']['name']} cannot be applied", error) from error

    async def _apply(self, made: Object, uid: str) -> dict[str, Any]:
        self._check_leader()
        precondition = {"uid": uid} if uid else {"resourceVersion": _NEVER}
        guarded = kinds.resource({**made, "metadata": {**made["metadata"], **precondition}})
        applied = await self._client.apply(guarded, field_manager=FIELD_MANAGER, force=True)
        plain: dict[str, Any] = applied.to_dict()
        return plain

    async def uid_of(self, made: Object) -> str:
        """Look whether the name of an object is free.

        Returns:
            The uid of the object, if it is there and has the owner of the rendered one; empty where there is none.

        Raises:
            NameConflictError: An object of that name has another owner.
            WriteError: if the API server does not answer.
        """
        kind, metadata = made["kind"], made["metadata"]
        try:
            there = (
                await self._client.get(kinds.APPLIED[kind], metadata["name"], namespace=metadata["namespace"])
            ).to_dict()
        except httpx2.HTTPError as error:
            # where the kind itself is not there, the apply says so
            if _code(error) == 404:
                return ""
            raise _write_error(f"{kind} {metadata['name']} cannot be read", error) from error
        if not owned(there, metadata["ownerReferences"][0]["uid"]):
            raise NameConflictError(kind, metadata["name"])
        return str(there["metadata"]["uid"])

    async def delete(self, kind: str, namespace: str, name: str, *, owner: str) -> None:
        """Delete an object, if it is there and belongs to the owner with this uid.

        Raises:
            WriteError: if the API server does not do it.
        """
        try:
            there = (await self._client.get(kinds.APPLIED[kind], name, namespace=namespace)).to_dict()
            # what somebody else gave the same name is not ours to delete
            if owned(there, owner):
                self._check_leader()
                await _delete_exactly(self._client, kinds.APPLIED[kind], namespace, name, there["metadata"]["uid"])
        except httpx2.HTTPError as error:
            if _code(error) != 404:  # nor is it an error where the kind itself is not there
                raise _write_error(f"{kind} {name} cannot be deleted", error) from error

    async def same(self, kind: str, namespace: str, name: str, known: Mark | None, since: float) -> bool:
        """Whether an object that is not watched is as it was; False where that is not known."""
        inventory = self._inventories.get(kind)
        return inventory is not None and await inventory.same(namespace, name, known, since)

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
                raise _write_error("the status cannot be written", error) from error

    async def finalize(self, manifest: Mapping[str, Any], *, present: bool) -> None:
        """Have the API server keep a rollout that is deleted until its stable has all requests again, or no more.

        Raises:
            WriteError: if the API server does not take it.
        """
        metadata = manifest["metadata"]
        there = list(metadata.get("finalizers") or ())
        if (FINALIZER in there) == present:
            return
        kept = [*there, FINALIZER] if present else [each for each in there if each != FINALIZER]
        self._check_leader()
        # lists are replaced as a whole: nobody else may have changed it; we may have written the status since
        path = "/metadata/finalizers"
        patch = [{"op": "test", "path": path, "value": there or None}, {"op": "add", "path": path, "value": kept}]
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
                raise _write_error("the finalizer cannot be set", error) from error

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
            raise _write_error(f"{EVIDENCE_KIND} {name} cannot be read", error) from error
        plain: dict[str, Any] = evidence.to_dict()
        return plain

    async def proxies(self, gateway: GatewayRef) -> tuple[tuple[str, str], ...]:
        """Addresses of the statistics of a gateway's proxies, by the name of the pod; none where they are not found.

        Labels alone prove nothing: whoever may make pods somewhere can give them any.
        """
        labels: dict[str, Any] = {f"{_OWNING}-name": gateway.name, f"{_OWNING}-namespace": gateway.namespace}
        try:
            listed = self._client.list(kinds.Pod, namespace=self._gateway_namespace, labels=labels)
            pods = [pod.to_dict() async for pod in listed]
        except httpx2.HTTPError:
            return ()
        return tuple(
            (pod["metadata"]["name"], f"http://{address}:{_STATISTICS_PORT}/stats/prometheus")
            for pod in pods
            if (address := (pod.get("status") or {}).get("podIP"))
        )

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

    async def prove(self, revision: Revision) -> Proof | Refutation:
        """Ask a revision for its proof."""
        return await self._prober.prove(revision)

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock()

    async def is_up_to_date(self, namespace: str, name: str) -> bool:
        """Whether the cache has a rollout as the API server has it.

        Raises:
            WriteError: if the API server does not answer.
        """
        fields: dict[str, Any] = {"metadata.name": name}
        try:
            listed = self._client.list(kinds.InferenceRollout, namespace=namespace, fields=fields)
            versions = [rollout["metadata"]["resourceVersion"] async for rollout in listed]
        except httpx2.HTTPError as error:
            raise _write_error("the rollout cannot be read", error) from error
        cached = self.rollouts.get(namespace, name)
        return cached is not None and versions == [cached["metadata"]["resourceVersion"]]

    def _check_leader(self) -> None:
        """A process that was suspended does not know yet that another one leads.

        Raises:
            WriteError: if this process is not the leader any more.
        """
        if not self._leads():
            raise WriteError("this controller is not the leader any more", refused=False)


async def _delete_exactly(client: AsyncClient, kind: Any, namespace: str, name: str, uid: str) -> None:
    """Delete an object unless it is another one by now. lightkube's own delete takes no preconditions."""
    generic: Any = client._client
    request = generic.prepare_request("delete", kind, name=name, namespace=namespace)
    request.data = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
    generic.raise_for_status(await generic.send(generic.build_adapter_request(request)))


def _write_error(what: str, error: httpx2.HTTPError) -> WriteError:
    code = _code(error)
    refused = code is not None and 400 <= code < 500 and code not in _TEMPORARY
    return WriteError(f"{what}: {_words(error)}", refused=refused, after=_retry_after(error))


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
