"""What is around a controller, without any pod: KServe, KEDA, the kubelet and the gateway write what they would."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, Final

from benchmarks.controller.api import PODS, ROUTES, SCALED, SERVICES, Api, ApiError, Plain

COMPONENTS: Final = ("transformer", "predictor")
_LABEL: Final = "serving.kserve.io/inferenceservice"
_NOT_IN_A_POD: Final = ("minReplicas", "maxReplicas")

Key = tuple[str, str]


class Surroundings:
    """Writes pods and statuses as long as it runs.

    Args:
        api: The API server.
        ready_after: Seconds from a pod's start until it is ready.
    """

    def __init__(self, api: Api, ready_after: float) -> None:
        self._api = api
        self._ready_after = ready_after
        self._services: dict[Key, Plain] = {}
        self._least: dict[Key, int] = {}
        self._pods: dict[Key, list[str]] = {}
        self._numbers = itertools.count(1)
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Watch, and do what is to be done, until it is cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            for watch in (self._watch_services, self._watch_scaled, self._watch_routes):
                self._tasks.create_task(watch())

    def _soon(self, work: Coroutine[Any, Any, None]) -> None:
        assert self._tasks is not None
        self._tasks.create_task(work)

    async def _watch_services(self) -> None:
        async for event, service in self._api.watch(SERVICES):
            key = _key(service)
            if event == "DELETED":
                self._services.pop(key, None)
                for component in COMPONENTS:
                    for name in self._pods.pop((key[0], f"{key[1]}-{component}"), ()):
                        self._soon(self._api.delete(PODS, key[0], name))
            elif key not in self._services:
                self._services[key] = service
                self._soon(self._start(service))
            elif self._services[key]["metadata"]["generation"] != service["metadata"]["generation"]:
                self._services[key] = service
                self._soon(self._replace(service))

    async def _start(self, service: Plain) -> None:
        """A new InferenceService: its pods start, and once they are ready it says so."""
        namespace, name = _key(service)
        await self._say(service, "False")
        await asyncio.gather(*(self._scale((namespace, f"{name}-{component}")) for component in COMPONENTS))
        await self._say(service, "True")

    async def _replace(self, service: Plain) -> None:
        """An InferenceService has another spec: new pods start, and the old ones end."""
        namespace, name = _key(service)
        await self._say(service, "False")
        for key in ((namespace, f"{name}-{component}") for component in COMPONENTS):
            before = self._pods.pop(key, [])
            await self._scale(key)
            for pod in before:
                await self._api.delete(PODS, namespace, pod)
        await self._say(service, "True")

    async def _watch_scaled(self) -> None:
        async for event, scaled in self._api.watch(SCALED):
            key = _key(scaled)
            least = max(scaled["spec"].get("minReplicaCount", 1), 1)
            if event != "DELETED" and self._least.get(key) != least:
                self._least[key] = least
                self._soon(self._scale(key))

    async def _scale(self, key: Key) -> None:
        """Have as many pods of a component as KEDA wants; one before it has a value."""
        name, _, component = key[1].rpartition("-")
        service, there = self._services.get((key[0], name)), self._pods.setdefault(key, [])
        if service is None:
            return
        least = self._least.get(key, 1)
        while len(there) > least:
            await self._api.delete(PODS, key[0], there.pop())
        names = [f"{key[1]}-{next(self._numbers):06d}" for _ in range(least - len(there))]
        there += names
        await asyncio.gather(*(self._run_pod(service, component, pod) for pod in names))

    async def _run_pod(self, service: Plain, component: str, name: str) -> None:
        namespace = _key(service)[0]
        number = int(name.rpartition("-")[2])
        try:
            await self._api.create(PODS, _pod(service, component, name), namespace)
            await self._api.patch(PODS, namespace, name, _running(service, component, number, ready=False), status=True)
            await asyncio.sleep(self._ready_after)
            await self._api.patch(PODS, namespace, name, _running(service, component, number, ready=True), status=True)
        except ApiError as error:
            # it may have been taken away meanwhile
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def _say(self, service: Plain, ready: str) -> None:
        kinds = ("IngressReady", "PredictorReady", "Ready", "TransformerReady")
        conditions = [{"type": kind, "status": ready, "lastTransitionTime": _AT} for kind in kinds]
        status = {"conditions": conditions, "observedGeneration": service["metadata"]["generation"]}
        try:
            await self._api.patch(SERVICES, *_key(service), {"status": status}, status=True)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise

    async def _watch_routes(self) -> None:
        generations: dict[Key, int] = {}
        async for event, route in self._api.watch(ROUTES):
            key, generation = _key(route), route["metadata"]["generation"]
            if event == "DELETED":
                generations.pop(key, None)
            elif generations.get(key) != generation:
                generations[key] = generation
                self._soon(self._accept(key, generation))

    async def _accept(self, key: Key, generation: int) -> None:
        """The gateway takes a route."""
        conditions = [
            {
                "type": kind,
                "status": "True",
                "reason": kind,
                "message": "",
                "observedGeneration": generation,
                "lastTransitionTime": _AT,
            }
            for kind in ("Accepted", "ResolvedRefs")
        ]
        parent = {"name": "kserve-ingress-gateway", "namespace": "kserve"}
        parents = [{"parentRef": parent, "controllerName": "gateway.envoyproxy.io/gateway", "conditions": conditions}]
        try:
            await self._api.patch(ROUTES, *key, {"status": {"parents": parents}}, status=True)
        except ApiError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise


_AT: Final = "2026-01-01T00:00:00Z"


def _key(plain: Plain) -> Key:
    return plain["metadata"]["namespace"], plain["metadata"]["name"]


def _pod(service: Plain, component: str, name: str) -> Plain:
    """A pod as KServe's Deployment makes it."""
    metadata = service["metadata"]
    deployment = f"{metadata['name']}-{component}"
    spec = {key: value for key, value in service["spec"][component].items() if key not in _NOT_IN_A_POD}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {
                **metadata["labels"],
                _LABEL: metadata["name"],
                "component": component,
                "app": f"isvc.{deployment}",
                "pod-template-hash": "6f7c9d4b8",
            },
            "annotations": metadata.get("annotations") or {},
            "ownerReferences": [
                {
                    "apiVersion": "apps/v1",
                    "kind": "ReplicaSet",
                    "name": f"{deployment}-6f7c9d4b8",
                    "uid": metadata["uid"],
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": spec,
    }


def _running(service: Plain, component: str, number: int, *, ready: bool) -> Plain:
    """A pod's status as the kubelet writes it."""
    spec = service["spec"][component]
    conditions = [
        {"type": kind, "status": str(ready or at < 3), "lastTransitionTime": _AT, "lastProbeTime": None}
        for at, kind in enumerate(
            ("PodReadyToStartContainers", "Initialized", "PodScheduled", "ContainersReady", "Ready")
        )
    ]

    def container(container_spec: Plain, state: Plain, is_ready: bool) -> Plain:
        digest = f"{container_spec['image'].partition(':')[0]}@sha256:{number:064x}"
        return {
            "name": container_spec["name"],
            "image": container_spec["image"],
            "imageID": digest,
            "containerID": f"containerd://{number:064x}",
            "ready": is_ready,
            "started": is_ready,
            "restartCount": 0,
            "state": state,
        }

    ended = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": _AT, "finishedAt": _AT}}
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    return {
        "status": {
            "phase": "Running",
            "conditions": conditions,
            "hostIP": "192.0.2.1",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": _AT,
            "initContainerStatuses": [
                container(container_spec, ended, True) for container_spec in spec.get("initContainers") or ()
            ],
            "containerStatuses": [
                container(container_spec, {"running": {"startedAt": _AT}}, ready)
                for container_spec in spec["containers"]
            ],
        }
    }
