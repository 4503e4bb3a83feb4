"""A fake API server over a real socket: watches, server-side apply, garbage collection, and faults on demand."""

from __future__ import annotations

import asyncio
import bisect
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from types import FrameType
from typing import Any, Final, NamedTuple

import httpx2
import msgspec
from aiohttp import web
from lightkube import AsyncClient, KubeConfig
from lightkube.config.models import Cluster, User

Object = dict[str, Any]
Key = tuple[str, str, str]
"""Plural, namespace, name."""

KINDS: Final = {
    "inferencerollouts": ("tandem-serving.io/v1alpha1", "InferenceRollout"),
    "inferenceservices": ("serving.kserve.io/v1beta1", "InferenceService"),
    "httproutes": ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    "backendtrafficpolicies": ("gateway.envoyproxy.io/v1alpha1", "BackendTrafficPolicy"),
    "securitypolicies": ("gateway.envoyproxy.io/v1alpha1", "SecurityPolicy"),
    "podmonitors": ("monitoring.coreos.com/v1", "PodMonitor"),
    "scaledobjects": ("keda.sh/v1alpha1", "ScaledObject"),
    "networkpolicies": ("networking.k8s.io/v1", "NetworkPolicy"),
    "poddisruptionbudgets": ("policy/v1", "PodDisruptionBudget"),
    "services": ("v1", "Service"),
    "rolloutevidences": ("tandem-serving.io/v1alpha1", "RolloutEvidence"),
    "pods": ("v1", "Pod"),
    "events": ("v1", "Event"),
    "leases": ("coordination.k8s.io/v1", "Lease"),
}


class Call(NamedTuple):
    """One call, as the API server authorizes it."""

    verb: str
    group: str
    resource: str
    name: str = ""

    @property
    def writes(self) -> bool:
        return self.verb not in ("get", "list", "watch")


class Answer(NamedTuple):
    """An answer that is given instead of the right one."""

    code: int
    message: str = "on demand"
    headers: Mapping[str, str] = {}
    plain: bool = False
    """As text, as proxies and filters before the API server proper do."""


@dataclass(frozen=True)
class Lost:
    """The connection is cut; before or after the call has been carried out."""

    done: bool


@dataclass(frozen=True)
class Late:
    """The call is carried out, and the answer comes when nobody waits for it any more."""


Fault = Answer | Lost | Late | asyncio.Event
"""An event holds the call up until it is set."""


FAULTS: Final[dict[str, Fault]] = {
    "conflict": Answer(409, "the object has been modified"),
    "gone": Answer(410, "too old resource version"),
    "too many requests": Answer(429, "too many requests", {"Retry-After": "7"}),
    "too many requests, says a filter": Answer(429, "Too many requests", {"Retry-After": "1"}, plain=True),
    "internal error": Answer(500, 'Internal error occurred: failed calling webhook "x": connection refused'),
    "unavailable": Answer(503, "the server is currently unable to handle the request"),
    "lost before": Lost(done=False),
    "lost after": Lost(done=True),
    "too late": Late(),
}
"""What may happen to any call."""


def copied(value: Any) -> Any:
    """A deep copy of what JSON can say."""
    return msgspec.json.decode(msgspec.json.encode(value))


@dataclass
class ApiServer:
    """The objects, and how they are reached.

    Attributes:
        calls: Every call, in order.
        callers: Each call without its name, with the function of the controller that makes it.
        fault: Is asked about each call; what it returns happens instead of the answer.
        unknown: Plurals of kinds that are not installed.
        changed: Is set at every change of an object.
    """

    calls: list[Call] = field(default_factory=list)
    callers: set[tuple[Call, str]] = field(default_factory=set)
    fault: Callable[[Call], Fault | None] = lambda call: None
    unknown: set[str] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""
    _objects: dict[Key, Object] = field(default_factory=dict)
    _applied: dict[Key, Object] = field(default_factory=dict)
    _history: list[tuple[int, str, Key, Object]] = field(default_factory=list)
    _oldest: int = 0
    _version: int = 0
    _uids: int = 0
    _watches: dict[asyncio.Task[Any], asyncio.Event] = field(default_factory=dict)

    def client(self) -> AsyncClient:
        """A client of it."""
        config = KubeConfig.from_one(cluster=Cluster(server=self.url), user=User())
        return AsyncClient(config, trust_env=False, transport=_Patience())

    # for tests: what is there, and what others do to it

    def get(self, plural: str, name: str, namespace: str = "models") -> Object | None:
        manifest = self._objects.get((plural, namespace, name))
        return copied(manifest) if manifest else None

    def all(self, plural: str) -> list[Object]:
        return [copied(manifest) for key, manifest in sorted(self._objects.items()) if key[0] == plural]

    def put(self, plural: str, manifest: Object) -> Object:
        """Make or replace an object, as somebody else."""
        key = (plural, manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        return copied(self._store(key, copied(manifest)))

    def edit(self, plural: str, name: str, change: Callable[[Object], Any], namespace: str = "models") -> Object:
        """Change an object, as somebody else."""
        manifest = self.get(plural, name, namespace)
        assert manifest is not None, (plural, name)
        change(manifest)
        return self.put(plural, manifest)

    def remove(self, plural: str, name: str, namespace: str = "models") -> None:
        """Delete an object, and in the background what it owns."""
        self._delete((plural, namespace, name))

    @property
    def version(self) -> int:
        return self._version

    @property
    def history(self) -> list[tuple[str, Key, Object]]:
        """Every change, in order."""
        return [(event, key, manifest) for _, event, key, manifest in self._history]

    def end_watches(self, *, forget: bool = False) -> None:
        """Cut the connection of every watch; with ``forget``, versions until now are too old to go on from."""
        if forget:
            self._oldest = self._version + 1
            self._version += 1
        for task in list(self._watches):
            task.cancel()

    # objects

    def _store(self, key: Key, manifest: Object) -> Object:
        old = self._objects.get(key)
        metadata = manifest["metadata"]
        api_version, kind = KINDS[key[0]]
        manifest |= {"apiVersion": api_version, "kind": kind}
        if old is None:
            self._uids += 1
            metadata |= {"uid": f"uid-{self._uids}", "creationTimestamp": "2026-01-01T00:00:00Z", "generation": 1}
        else:
            metadata["uid"], metadata["creationTimestamp"] = (
                old["metadata"]["uid"],
                old["metadata"]["creationTimestamp"],
            )
            changed = any(old.get(part) != manifest.get(part) for part in (old.keys() | manifest.keys()) - _UNCOUNTED)
            metadata["generation"] = old["metadata"]["generation"] + changed
            metadata["resourceVersion"] = old["metadata"]["resourceVersion"]
            if old == manifest:
                return old
        self._objects[key] = manifest
        self._record("MODIFIED" if old else "ADDED", key, manifest)
        return manifest

    def _delete(self, key: Key) -> None:
        """Delete an object at once, or, where somebody has a finalizer on it, say that it is to go."""
        metadata = self._objects[key]["metadata"]
        if metadata.get("finalizers"):
            if not metadata.get("deletionTimestamp"):
                manifest = copied(self._objects[key])
                manifest["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:01Z"
                self._store(key, manifest)
            return
        gone = self._objects.pop(key)
        self._applied.pop(key, None)
        self._record("DELETED", key, gone)
        uid = gone["metadata"]["uid"]
        for child_key, child in list(self._objects.items()):
            owners = child["metadata"].get("ownerReferences") or []
            if child_key in self._objects and any(owner["uid"] == uid for owner in owners):
                rest = [owner for owner in owners if self._has_uid(owner["uid"])]
                if not rest:
                    self._delete(child_key)

    def _has_uid(self, uid: str) -> bool:
        return any(manifest["metadata"]["uid"] == uid for manifest in self._objects.values())

    def _record(self, event: str, key: Key, manifest: Object) -> None:
        self._version += 1
        manifest["metadata"]["resourceVersion"] = str(self._version)
        self._history.append((self._version, event, key, copied(manifest)))
        self.changed.set()
        for news in self._watches.values():
            news.set()

    def _apply(self, key: Key, desired: Object) -> Object:
        """Server-side apply by the only manager: what it gave before and gives no more goes."""
        for owner in desired["metadata"].get("ownerReferences") or ():
            assert owner["uid"], owner
        live = copied(self._objects.get(key) or {})
        uid, version = desired["metadata"].pop("uid", ""), desired["metadata"].pop("resourceVersion", "")
        if uid and not live:
            raise _Refused(
                409, f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            )
        if uid and uid != live["metadata"]["uid"]:
            raise _Refused(422, "metadata.uid: Invalid value: field is immutable")
        if version and live and version != live["metadata"]["resourceVersion"]:
            raise _Refused(409, "the object has been modified; please apply your changes to the latest version")
        merged = _merged(live, self._applied.get(key) or {}, desired)
        merged["metadata"].setdefault("namespace", key[1])
        controllers = [
            reference for reference in merged["metadata"].get("ownerReferences") or () if reference.get("controller")
        ]
        if len(controllers) > 1:
            raise _Refused(422, "Only one reference can have Controller set to true")
        stored = self._store(key, merged)
        self._applied[key] = copied(desired)
        return stored

    # HTTP

    async def handle(self, request: web.Request) -> web.StreamResponse:
        parts = request.match_info["path"].split("/")
        group = "" if parts[0] == "api" else parts[1]
        rest = parts[2:] if parts[0] == "api" else parts[3:]
        namespace = None
        if rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        plural, name, subresource = [*rest, "", ""][:3]
        verb = {"GET": "get", "PATCH": "patch", "POST": "create", "PUT": "update", "DELETE": "delete"}[request.method]
        if verb == "get" and not name:
            verb = "watch" if request.query.get("watch") else "list"
        call = Call(verb, group, f"{plural}/{subresource}" if subresource else plural, name)
        self.calls.append(call)
        self.callers.add((call._replace(name=""), request.headers.get(_CALLER, "")))
        body = json.loads(await request.read() or b"null")
        fault = self.fault(call)
        if isinstance(fault, asyncio.Event):
            await fault.wait()
        if isinstance(fault, Answer):
            return _status(fault)
        if plural in self.unknown:
            return _status(Answer(404, "404 page not found\n", plain=True))
        if isinstance(fault, Lost) and not fault.done:
            return _cut(request)
        if isinstance(fault, Late) and verb == "watch":
            return _too_late(web.Response())
        if verb == "watch":
            return await self._watch(request, plural, namespace)
        try:
            answer = self._carry_out(call, (plural, namespace or "", name), body, request)
        except _Refused as rejected:
            return _status(Answer(rejected.code, str(rejected)))
        if isinstance(fault, Late):
            return _too_late(_json(answer))
        return _cut(request) if isinstance(fault, Lost) else _json(answer)

    def _carry_out(self, call: Call, key: Key, body: Any, request: web.Request) -> Object:
        if call.verb == "list":
            items = [
                manifest
                for _, manifest in self._selected(key[0], key[1] or None, request.query.get("labelSelector", ""))
            ]
            if fields := request.query.get("fieldSelector"):
                items = [manifest for manifest in items if fields == f"metadata.name={manifest['metadata']['name']}"]
            api_version, kind = KINDS[key[0]]
            metadata = {"resourceVersion": str(self._version)}
            return {"apiVersion": api_version, "kind": f"{kind}List", "metadata": metadata, "items": items}
        if call.verb == "create":
            name = body["metadata"].get("name") or f"{body['metadata']['generateName']}{self._version}"
            body["metadata"]["name"] = name
            if (key[0], key[1], name) in self._objects:
                raise _Refused(409, f'{key[0]} "{name}" already exists')
            return self._store((key[0], key[1], name), body)
        if call.verb == "patch" and "apply-patch" in request.content_type:
            assert request.query["fieldManager"]
            return self._apply(key, body)
        if key not in self._objects:
            raise _Refused(404, f'{key[0]} "{key[2]}" not found')
        if call.verb == "get":
            return self._objects[key]
        if call.verb == "update":
            if body["metadata"]["resourceVersion"] != self._objects[key]["metadata"]["resourceVersion"]:
                raise _Refused(409, "the object has been modified; please apply your changes to the latest version")
            return self._store(key, body)
        if call.verb == "delete":
            uid = ((body or {}).get("preconditions") or {}).get("uid")
            if uid not in (None, self._objects[key]["metadata"]["uid"]):
                raise _Refused(409, "the UID in the precondition does not match the UID in record")
            self._delete(key)
            return {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        if not call.resource.endswith("/status"):
            return self._change_finalizers(key, body)
        (patch,) = body
        assert (patch["op"], patch["path"]) == ("add", "/status")
        return self._store(key, {**copied(self._objects[key]), "status": patch["value"]})

    def _change_finalizers(self, key: Key, patch: list[Object]) -> Object:
        """A JSON patch of the finalizers, if they are still what they were."""
        test, add = patch
        assert (test["op"], add["op"], test["path"], add["path"]) == ("test", "add", *["/metadata/finalizers"] * 2)
        live = copied(self._objects[key])
        if (live["metadata"].get("finalizers") or None) != test["value"]:
            raise _Refused(422, "the server rejected our request due to an error in our request")
        live["metadata"]["finalizers"] = add["value"]
        if live["metadata"].get("deletionTimestamp") and not live["metadata"].get("finalizers"):
            self._objects[key] = live
            self._delete(key)
            return live
        return self._store(key, live)

    def _selected(self, plural: str, namespace: str | None, selector: str) -> Iterable[tuple[Key, Object]]:
        for key, manifest in sorted(self._objects.items()):
            if key[0] == plural and namespace in (None, key[1]) and _matches(manifest, selector):
                yield key, manifest

    async def _watch(self, request: web.Request, plural: str, namespace: str | None) -> web.StreamResponse:
        since, selector = int(request.query.get("resourceVersion", 0)), request.query.get("labelSelector", "")
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        if since < self._oldest:
            gone = {"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"}
            await response.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            return response
        task: Any = asyncio.current_task()
        news = self._watches[task] = asyncio.Event()
        try:
            while True:
                news.clear()
                for version, event, key, manifest in self._history[
                    bisect.bisect(self._history, since, key=itemgetter(0)) :
                ]:
                    since = version
                    if key[0] == plural and namespace in (None, key[1]) and _matches(manifest, selector):
                        await response.write(json.dumps({"type": event, "object": manifest}).encode() + b"\n")
                await news.wait()
        except asyncio.CancelledError:
            return _cut(request, response)
        finally:
            del self._watches[task]


_TOO_LATE: Final = "x-too-late"
_CALLER: Final = "x-caller"


def _caller() -> str:
    """The innermost function of the controller on the stack."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith("tandem_rollout.controller."):
            return frame.f_code.co_qualname.partition(".<locals>")[0]
        frame = frame.f_back
    return ""


class _Patience(httpx2.AsyncHTTPTransport):
    """Calls of a client, whose patience ends before an answer that says so has come: no test waits for a timeout."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        request.headers[_CALLER] = _caller()
        response = await super().handle_async_request(request)
        if _TOO_LATE in response.headers:
            await response.aclose()
            raise httpx2.ReadTimeout("", request=request)
        return response


def _too_late(response: web.Response) -> web.Response:
    response.headers[_TOO_LATE] = "yes"
    return response


_UNCOUNTED: Final = frozenset({"status", "metadata"})


class _Refused(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def _merged(live: Any, before: Any, desired: Any) -> Any:
    """Maps by key, owner references by uid, everything else as a whole."""
    if not isinstance(desired, dict) or not isinstance(live, dict):
        return copied(desired)
    before = before if isinstance(before, dict) else {}
    merged = {key: entry for key, entry in live.items() if key in desired or key not in before}
    for key, value in desired.items():
        if key == "ownerReferences":
            dropped = {owner["uid"] for owner in before.get(key) or ()} | {owner["uid"] for owner in value}
            merged[key] = [owner for owner in live.get(key) or () if owner["uid"] not in dropped] + value
        else:
            merged[key] = _merged(live.get(key), before.get(key), value)
    return merged


def _matches(manifest: Object, selector: str) -> bool:
    labels = manifest["metadata"].get("labels") or {}
    for term in filter(None, selector.split(",")):
        label, equals, value = term.partition("=")
        if label not in labels or (equals and labels[label] != value):
            return False
    return True


def _status(answer: Answer) -> web.Response:
    if answer.plain:
        return web.Response(text=answer.message, status=answer.code, headers=answer.headers)
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": answer.code, "message": answer.message}
    return _json(status, status=answer.code, headers=answer.headers)


def _json(answer: Object, **more: Any) -> web.Response:
    """Without a charset, as the real one."""
    response = web.Response(body=json.dumps(answer).encode(), **more)
    response.headers["Content-Type"] = "application/json"
    return response


def _cut(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """End the connection without a word."""
    if request.transport is not None:
        request.transport.abort()
    return response or web.Response()


@asynccontextmanager
async def serving(server: ApiServer) -> AsyncIterator[None]:
    """Serve on a free port."""
    app = web.Application()
    app.router.add_route("*", "/{path:.+}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield
    finally:
        server.end_watches()
        await runner.cleanup()
