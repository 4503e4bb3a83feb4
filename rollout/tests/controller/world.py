"""What happens around a controller: KServe makes pods, they become ready, the gateway takes the route, time passes.

Time is the test's own: it passes only when a test lets it.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tandem.contract import Contract
from tandem_rollout.analysis.counts import Counters, NoData
from tandem_rollout.analysis.reading import CounterReading, Reading, Readings
from tandem_rollout.analysis.verdict import ProviderError
from tandem_rollout.api.analysis import Metric
from tandem_rollout.api.status import RolloutStatus
from tandem_rollout.controller import objects
from tandem_rollout.controller.analysts import Sources
from tandem_rollout.controller.cluster import LiveCluster
from tandem_rollout.controller.interface import FINALIZER, VerificationFailure, WriteError
from tandem_rollout.controller.observation import Verification
from tandem_rollout.controller.permissions import ELECTION_PERMISSIONS, PERMISSIONS
from tandem_rollout.controller.reconciler import Reconciler
from tandem_rollout.controller.resources import HTTPRoute, Pod
from tandem_rollout.render import Object
from tandem_rollout.render.platform import Platform
from tandem_rollout.render.revision import Revision
from tandem_rollout.sources import Arms
from tandem_rollout.sources.queries import at_gateway

from .apiserver import ApiServer, serving

HALVES = ("transformer", "predictor")
Made = Callable[[str, int], list[Object]]
"""From a half and the number of pods that the autoscaler wants to what is known of the pods' containers."""


class Killed(Exception):
    """The controller's process is gone."""


def contract(**fields: Any) -> Contract:
    """A contract with these request parameters."""
    described = {
        "model": "time-estimator",
        "serving_keys": {"athlete_id": {"type": "string"}},
        "passed_features": {},
        "request_parameters": fields,
        "prediction": {"name": "seconds", "field": {"type": "float64"}},
        "outputs": {},
    }
    return msgspec.convert(described, Contract)


def verification(version: str, **fields: Any) -> Verification:
    return Verification(version=version, digest=digest(version), contract=contract(**fields))


def digest(version: str) -> str:
    """Digest of the bundle of a version."""
    return hashlib.sha256(version.encode()).hexdigest()


# pods


def container(name: str = "kserve-container", *, ready: bool = True, restarts: int = 0, **states: Any) -> Object:
    status = {"name": name, "image": "i", "imageID": "", "ready": ready, "restartCount": restarts}
    return {**status, **states}


def replicas(**state: Any) -> Made:
    """As many pods as are specified, all in one state."""
    return lambda half, specified: [container(**state)] * specified


def fixed(count: int) -> Made:
    """So many ready pods, whatever is specified."""
    return lambda half, specified: [container()] * count


READY = replicas()
NONE = fixed(0)
STARTING = replicas(ready=False, state={"running": {}})


def crashed(message: str, *, half: str = "transformer", restarts: int = 3, waiting: str = "CrashLoopBackOff") -> Made:
    """A container of one half ended with a message; the other half is ready."""
    ended = {"terminated": {"exitCode": 1, "reason": "Error", "message": message}}
    bad = container(ready=False, restarts=restarts, lastState=ended, state={"waiting": {"reason": waiting}})
    return lambda of, specified: [bad if of == half else container()] * specified


def without_image(image: str) -> Made:
    waiting = {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}
    return lambda half, specified: [container("bundle", ready=False, state={"waiting": waiting})] * specified


def pod(service: Object, half: str, number: int, status: Object) -> Object:
    name, labels = service["metadata"]["name"], service["metadata"].get("labels") or {}
    owner = {"apiVersion": "v1", "kind": "x", "name": name, "uid": service["metadata"]["uid"], "controller": True}
    kserve = {
        "serving.kserve.io/inferenceservice": name,
        "component": half,
        "app": f"isvc.{name}-{half}",
    }
    group = "containerStatuses" if status["name"] == "kserve-container" else "initContainerStatuses"
    ready = "True" if status["ready"] else "False"
    return {
        "metadata": {
            "name": f"{name}-{half}-{number}",
            "namespace": service["metadata"]["namespace"],
            "labels": {**labels, **kserve},
            "ownerReferences": [owner],
        },
        "spec": {"containers": [{"name": "kserve-container", "image": "i"}]},
        "status": {"conditions": [{"type": "Ready", "status": ready}], group: [status]},
    }


def route_weights(route: Object | None) -> dict[str, int]:
    """Weights of a route as the API server has it."""
    return objects.route_weights(HTTPRoute.of(route) if route is not None else None)


class Counting:
    """A source of metrics that counts what clients would have met: by the route's weights, rates of errors by image.

    Args:
        world: The world.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._at = world.now
        self._requests: dict[str, float] = {}
        self._errors: dict[str, float] = {}

    async def read(self, metrics: Sequence[Metric], arms: Arms) -> Readings:
        self._count()
        if self._world.outage:
            return {metric.full_name: ProviderError("PrometheusUnreachable", self._world.outage) for metric in metrics}
        return {metric.full_name: self._reading(metric, arms) for metric in metrics}

    async def history(self, metrics: Sequence[Metric], arms: Arms, *, seconds: float, step: float) -> list[Readings]:
        return [await self.read(metrics, arms)]

    async def close(self) -> None:
        pass

    def _count(self) -> None:
        seconds, self._at = self._world.now - self._at, self._world.now
        routes = [
            httproute for httproute in self._world.server.all("httproutes") if "." not in httproute["metadata"]["name"]
        ]
        for route in routes:
            namespace, weights = route["metadata"]["namespace"], route_weights(route)
            whole = self._world.rate * seconds
            for service, weight in weights.items():
                self._answer(service, namespace, whole * weight / sum(weights.values()))
            for route_filter in route["spec"]["rules"][0].get("filters", ()):
                copies = route_filter["requestMirror"]
                service = copies["backendRef"]["name"].removesuffix("-transformer")
                self._answer(service, namespace, whole * copies["percent"] / 100)

    def _answer(self, service: str, namespace: str, requests: float) -> None:
        image = self._world.image(service, namespace)
        requests = round(requests * self._world.units.get(image, 1.0))
        self._requests[service] = self._requests.get(service, 0.0) + requests
        errors = round(requests * self._world.errors.get(image, 0.005))
        self._errors[service] = self._errors.get(service, 0.0) + errors

    def _reading(self, metric: Metric, arms: Arms) -> Reading:
        if at_gateway(metric) and not (arms.stable.clusters or arms.canary.clusters):
            return NoData("NoClusters", "there is no cluster")

        def scrape(service: str) -> dict[str, Counters]:
            requests = {"all": self._requests.get(service, 0.0)}
            return {"gateway": Counters(requests, {"5": self._errors.get(service, 0.0)})}

        return CounterReading(scrape(arms.stable.service), scrape(arms.canary.service))


@dataclass
class World:
    """The surroundings of controllers.

    Attributes:
        server: The API server.
        pods: What pods of a bundle's image do; ready at once, where nothing is said.
        answers: The result of a verification, by the bundle's image; by default it succeeds.
        asked: InferenceServices whose proof was asked for.
        now: The time.
        rate: Requests per second.
        errors: Rates of errors by the bundle's image; 0.005 where nothing is said.
        units: How much of its share a bundle's image gets; 1 where nothing is said.
        outage: Why metrics cannot be read; empty where they can.
    """

    server: ApiServer
    pods: dict[str, Made] = field(default_factory=dict)
    answers: dict[str, Verification | VerificationFailure] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    now: float = 1_800_000_000.0
    rate: float = 200.0
    errors: dict[str, float] = field(default_factory=dict)
    units: dict[str, float] = field(default_factory=dict)
    outage: str = ""

    def __post_init__(self) -> None:
        self.source = Counting(self)

    async def verify(self, revision: Revision) -> Verification | VerificationFailure:
        """As HttpVerifier does."""
        self.asked.append(revision.name)
        image = self.image(revision.name, revision.rollout.namespace)
        return self.answers.get(image) or verification(image.rpartition(":")[2])

    def image(self, service: str, namespace: str = "models") -> str:
        """The image of an InferenceService's bundle."""
        resource = self.server.get("inferenceservices", service, namespace)
        assert resource is not None, service
        return str(resource["spec"]["predictor"]["initContainers"][0]["image"])

    def turn(self) -> None:
        """Let KServe, KEDA and the gateway do what is to be done now."""
        for service in self.server.all("inferenceservices"):
            self._make_pods(service)
        for route in self.server.all("httproutes"):
            conditions = [
                {"type": kind, "status": "True", "reason": "Accepted", "message": ""}
                for kind in ("Accepted", "ResolvedRefs")
            ]
            self.server.put("httproutes", {**route, "status": {"parents": [{"conditions": conditions}]}})

    def _make_pods(self, service: Object) -> None:
        name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
        statuses = self.pods.get(self.image(name, namespace), READY)
        specified = {}
        for half in HALVES:
            scaled = self.server.get("scaledobjects", f"{name}-{half}", namespace)
            count = scaled["spec"]["minReplicaCount"] if scaled else 1
            for number, status in enumerate(statuses(half, count)):
                pod_object = pod(service, half, number, status)
                specified[pod_object["metadata"]["name"]] = pod_object
        for pod_object in self.server.all("pods"):
            labels, key = pod_object["metadata"]["labels"], pod_object["metadata"]["name"]
            if labels["serving.kserve.io/inferenceservice"] == name and key not in specified:
                self.server.remove("pods", key, namespace)
        for key, pod_object in specified.items():
            if (there := self.server.get("pods", key, namespace)) is not None:
                pod_object["metadata"] = {**there["metadata"], **pod_object["metadata"]}
            self.server.put("pods", pod_object)

    # what a user sees

    def status(self, name: str = "time-estimator", namespace: str = "models") -> RolloutStatus:
        resource = self.server.get("inferencerollouts", name, namespace)
        assert resource is not None
        return msgspec.convert(resource.get("status") or {}, RolloutStatus)

    def weights(self, name: str = "time-estimator", namespace: str = "models") -> dict[str, int]:
        """Weights of the route, by the bundle's image."""
        backends = route_weights(self.server.get("httproutes", name, namespace))
        return {self.image(service, namespace): weight for service, weight in backends.items()}

    def events(self) -> list[str]:
        return [event["message"] for event in self.server.all("events")]

    def condition(self, kind: str, name: str = "time-estimator") -> tuple[str, str]:
        condition = next(entry for entry in self.status(name).conditions if entry.type == kind)
        return condition.status, condition.message

    def ready(self, service: str, namespace: str = "models") -> bool:
        """Whether both halves have a ready pod."""
        pods = [
            pod_object
            for pod_object in self.server.all("pods")
            if pod_object["metadata"]["labels"]["serving.kserve.io/inferenceservice"] == service
            and pod_object["metadata"]["namespace"] == namespace
        ]
        return all(objects.ready_pods(map(Pod.of, pods), half) for half in HALVES)

    def end_state(self) -> dict[str, Any]:
        """Everything that lasts, without what depends on the way to it."""
        state: dict[str, Any] = {}
        # of what was counted only the outcome is the same each time
        for plural in (
            "inferenceservices",
            "httproutes",
            "backendtrafficpolicies",
            "scaledobjects",
            "podmonitors",
            "networkpolicies",
            "poddisruptionbudgets",
            "services",
        ):
            for resource in self.server.all(plural):
                state[f"{plural}/{resource['metadata']['namespace']}/{resource['metadata']['name']}"] = resource["spec"]
        for resource in self.server.all("inferencerollouts"):
            status = resource.get("status") or {}
            variants = [(v["name"], v["phase"], v.get("weight", 0)) for v in status.get("variants", [])]
            run = status.get("run") or {}
            outcome = (run.get("number"), run.get("state"), run.get("reason"), run.get("weight", 0))
            past = [(entry["number"], entry["outcome"], entry.get("reason")) for entry in status.get("history", ())]
            summary = (status.get("weights"), status.get("message", ""), variants, outcome, past)
            state[f"status/{resource['metadata']['name']}"] = summary
        return state


class Controller:
    """A controller's process in a world, pass by pass.

    Attributes:
        writes_left: Writes until the process is killed.
        failed: Why passes failed.
    """

    def __init__(self, world: World, cluster: LiveCluster, news: asyncio.Event, platform: Platform) -> None:
        self.world = world
        self.cluster = cluster
        self.news = news
        self.platform = platform
        self.writes_left: int | None = None
        self.due: dict[tuple[str, str], float] = {}
        self.failed: list[str] = []
        self.start_again()

    def start_again(self) -> None:
        """Another process: without any memory."""
        self.writes_left = None
        random.seed(0)  # when a process first doubts what it has applied is the same in each run of a test
        sources = Sources("", lambda *_: self.world.source, self.platform.allows)
        self.reconciler = Reconciler(_Guarded(self), self.platform, sources)

    def rollouts(self) -> list[tuple[str, str]]:
        rollouts = self.world.server.all("inferencerollouts")
        return [(rollout["metadata"]["namespace"], rollout["metadata"]["name"]) for rollout in rollouts]

    async def caught_up(self) -> None:
        """Wait until the caches have what the API server has."""
        plurals = ("inferencerollouts", "inferenceservices", "httproutes", "pods")
        async with asyncio.timeout(30):
            for plural, cache in zip(plurals, self.cluster.caches, strict=True):
                while True:
                    self.news.clear()
                    # what has lost its labels is not ours to see
                    there = {
                        _seen(resource) for resource in self.world.server.all(plural) if _labelled(plural, resource)
                    }
                    if there == {_seen(resource) for resource in cache.all()}:
                        break
                    await self.news.wait()

    async def one_pass(self, *key: str) -> None:
        """One pass over one rollout, as a worker of the process makes it."""
        await self.caught_up()
        namespace, name = key
        manifest = self.cluster.rollouts.get(namespace, name)
        if manifest is None:
            self.reconciler.forget(namespace, name)
            self.due.pop((namespace, name), None)
            return
        try:
            self.due[namespace, name] = self.world.now + await self.reconciler.reconcile(manifest)
        except WriteError as error:
            self.failed.append(str(error))
            self.due[namespace, name] = self.world.now + 1.0

    async def settle(self) -> None:
        """Passes and the world's turns until nothing changes any more at this time."""
        for _ in range(100):
            before = self.world.server.version
            self.world.turn()
            # a rollout that is gone gets a last pass, in which it is forgotten
            for key in dict.fromkeys([*self.rollouts(), *self.due]):
                await self.one_pass(*key)
            if self.world.server.version == before:
                return
        raise AssertionError("the world does not come to rest")

    async def run(self, seconds: float = 0.0) -> None:
        """Let time pass, from one thing that is due to the next."""
        end = self.world.now + seconds
        await self.settle()
        while self.due and (due := min(self.due.values())) <= end:
            self.world.now = max(self.world.now, due)
            await self.settle()
            assert not self.due or min(self.due.values()) > due, f"no progress: still due at {due}: {self.due}"
        self.world.now = end

    async def survive(self, seconds: float) -> bool:
        """The same; where the process is killed, another one goes on. Returns whether it was."""
        until = self.world.now + seconds
        try:
            await self.run(seconds)
        except Killed:
            self.start_again()
            await self.run(until - self.world.now)
            return True
        return False


def _seen(resource: Object) -> tuple[str, str, str]:
    metadata = resource["metadata"]
    return metadata["namespace"], metadata["name"], metadata["resourceVersion"]


def _labelled(plural: str, resource: Object) -> bool:
    labels = resource["metadata"].get("labels") or {}
    return plural == "inferencerollouts" or "tandem-serving.io/rollout" in labels


class _Guarded:
    """A controller's cluster, that checks each route before it is written, and kills the process after some writes."""

    def __init__(self, controller: Controller) -> None:
        self._controller = controller
        cluster = controller.cluster
        self.services, self.pods, self.route, self.now = cluster.services, cluster.pods, cluster.route, cluster.now
        self.verify, self.routes, self.claims = cluster.verify, cluster.routes, cluster.claims
        self.evidence, self.proxies, self.same = cluster.evidence, cluster.proxies, cluster.same
        self.uid_of = cluster.uid_of

    async def apply(self, rendered: Object, *, uid: str = "") -> dict[str, Any]:
        if rendered["kind"] == "HTTPRoute":
            world, namespace = self._controller.world, rendered["metadata"]["namespace"]
            before = route_weights(world.server.get("httproutes", rendered["metadata"]["name"], namespace))
            for service, weight in route_weights(rendered).items():
                same_weight = before.get(service) == weight
                assert same_weight or world.ready(service, namespace), (
                    f"{service} gets weight {weight} without ready pods"
                )
        applied: dict[str, Any] = await self._write(self._controller.cluster.apply(rendered, uid=uid))
        return applied

    async def delete(self, kind: str, namespace: str, name: str, *, owner: str) -> None:
        await self._write(self._controller.cluster.delete(kind, namespace, name, owner=owner))

    async def set_status(self, namespace: str, name: str, status: dict[str, Any]) -> None:
        await self._write(self._controller.cluster.set_status(namespace, name, status))

    async def finalize(self, manifest: Mapping[str, Any], *, present: bool) -> None:
        there = FINALIZER in (manifest["metadata"].get("finalizers") or ())
        if there != present:
            await self._write(self._controller.cluster.finalize(manifest, present=present))

    async def tell(self, manifest: Mapping[str, Any], reason: str, message: str, *, warning: bool) -> None:
        await self._write(self._controller.cluster.tell(manifest, reason, message, warning=warning))

    async def _write(self, written: Awaitable[Any]) -> Any:
        writes_left = self._controller.writes_left
        if writes_left == 0:
            written.close()  # type: ignore[attr-defined]
            raise Killed
        if writes_left is not None:
            self._controller.writes_left = writes_left - 1
        return await written


@asynccontextmanager
async def controller(
    world: World, platform: Platform | None = None, *, leads: Callable[[], bool] = lambda: True
) -> AsyncIterator[Controller]:
    """A controller whose caches are running, and that may write as long as it leads."""
    news = asyncio.Event()

    async def no_wait(seconds: float) -> None:
        await asyncio.sleep(0)

    async with world.server.client() as client:
        cluster = LiveCluster(client, world, lambda *_: news.set(), leads=leads, clock=lambda: world.now, sleep=no_wait)
        tasks = [asyncio.create_task(cache.run()) for cache in cluster.caches]
        try:
            async with asyncio.timeout(30):
                for cache in cluster.caches:
                    await cache.filled.wait()
            yield Controller(world, cluster, news, platform or Platform())
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if not isinstance(result, asyncio.CancelledError):
                raise AssertionError("a cache has ended") from (result if isinstance(result, Exception) else None)


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """An empty world. Nobody in it may do what the controller's permissions do not say."""
    server = ApiServer()
    async with serving(server):
        yield World(server)
    allowed = {
        (permission.group, permission.resource, verb)
        for permission in (*PERMISSIONS, *ELECTION_PERMISSIONS)
        for verb in permission.verbs
    }
    assert {(call.group, call.resource, call.verb) for call in server.calls} <= allowed
