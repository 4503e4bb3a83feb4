"""Reads the state of revisions and routes from the objects of the cluster. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from tandem_rollout.api.cause import Cause, VariantReason
from tandem_rollout.api.text import one_line
from tandem_rollout.controller.resources import HTTPRoute, InferenceService, Pod, Terminated, Waiting
from tandem_rollout.render.revision import Revision
from tandem_rollout.render.route import ARRIVING, LEAVING, PASSING_FACTOR, WEIGHTS
from tandem_rollout.render.route_rules import OWN, SPLIT

Plain = Mapping[str, Any]

_STUCK: Final[Mapping[str, VariantReason]] = {
    "ImagePullBackOff": "ImagePullBackOff",
    "ErrImagePull": "ErrImagePull",
    "InvalidImageName": "InvalidImageName",
    "CreateContainerConfigError": "CreateContainerConfigError",
    "ErrImageNeverPull": "ErrImageNeverPull",
}
"""Kubernetes' reasons for a container that cannot start. They are passed on in the status."""

_ACCIDENTS: Final = 2
_MAX_LABEL_LENGTH: Final = 63
"""Maximum number of characters of a label of a hostname."""


def owned(plain: Plain, uid: str) -> bool:
    """Whether the owner with this uid owns an object."""
    return any(reference["uid"] == uid for reference in plain["metadata"].get("ownerReferences") or ())


def ready(pods: Iterable[Pod]) -> list[Pod]:
    """Pods that are ready."""
    return [pod for pod in pods if pod.ready]


def ready_pods(pods: Iterable[Pod], component: str) -> int:
    """Number of ready pods of a component."""
    return sum(pod.component == component for pod in ready(pods))


def problem(service: InferenceService, pods: Iterable[Pod]) -> tuple[Cause | None, bool]:
    """The problem of a revision, and whether it is fatal; None if it has none.

    Args:
        service: The InferenceService.
        pods: Its pods.
    """
    problems = [problem for pod in pods for problem in _pod_problems(pod)]
    if problems:
        fatal = [cause for cause, will_not in problems if will_not]
        return (fatal or [cause for cause, _ in problems])[0], bool(fatal)
    for condition in service.status.conditions:
        if condition.status == "False" and condition.message:
            return Cause("InferenceServiceNotReady", one_line(condition.message)), False
    return None, False


def route_weights(route: HTTPRoute | None) -> dict[str, int]:
    """Weights of a route, by InferenceService, without those that leave or arrive."""
    away = leaving(route) | arriving(route)
    factor = PASSING_FACTOR if LEAVING in _annotations(route) else 1
    # rounded up: the weights of leaving revisions are taken from another one
    return {name: -(-weight // factor) for name, weight in _backends(route).items() if weight and name not in away}


def leaving(route: HTTPRoute | None) -> dict[str, float]:
    """InferenceServices that leave a route, and when they lost their weight, in seconds since the epoch."""
    return _since(route, LEAVING)


def arriving(route: HTTPRoute | None) -> dict[str, float]:
    """InferenceServices that are about to get their first weight, and the time of their arrival, likewise."""
    return _since(route, ARRIVING)


def edited(route: HTTPRoute | None) -> bool:
    """Whether another client of the API server has changed the weights of a route."""
    try:
        written = msgspec.json.decode(_annotations(route).get(WEIGHTS, "{}"), type=dict[str, int])
    except msgspec.DecodeError:
        return True
    backends = route.backends(SPLIT) if route else ()
    return bool(written) and written != {backend.name: backend.weight for backend in backends}


def reached(routes: Iterable[HTTPRoute]) -> set[str]:
    """InferenceServices of requests that choose a variant."""
    return {name for route in routes for name in _backends(route, OWN)}


def _since(route: HTTPRoute | None, annotation: str) -> dict[str, float]:
    try:
        since = msgspec.json.decode(_annotations(route).get(annotation, "{}"), type=dict[str, float])
    except msgspec.DecodeError:  # it was edited
        return {}
    return {name: at for name, at in since.items() if name in _backends(route)}


def _annotations(route: HTTPRoute | None) -> Mapping[str, str]:
    return route.metadata.annotations if route else {}


def _backends(route: HTTPRoute | None, rule: str = SPLIT) -> dict[str, int]:
    """Weights of a rule of a route, by InferenceService."""
    backends = route.backends(rule) if route else ()
    return {backend.name.removesuffix("-transformer"): backend.weight for backend in backends}


def route_problem(route: HTTPRoute | None) -> Cause | None:
    """Why the gateway does not accept a route; None if it does."""
    for parent in route.status.parents if route else ():
        for condition in parent.conditions:
            if condition.status == "False" and condition.type in ("Accepted", "ResolvedRefs"):
                words = f"the gateway does not accept the route: {condition.reason}: {condition.message}"
                return Cause("RouteNotAccepted", one_line(words))
    return None


def waits_for(revision: Revision, transformers: int, predictors: int, exists: bool) -> Cause:
    """What a revision without a problem waits for."""
    if not exists:
        return Cause("InferenceServiceMissing", "waiting for its InferenceService")
    missing = [
        component for component, count in (("transformer", transformers), ("predictor", predictors)) if not count
    ]
    if missing:
        message = f"waiting for a ready {' and a ready '.join(missing)}{_too_long(revision)}"
        return Cause("PodsNotReady", message)
    return Cause("AwaitingVerification", f"waiting for the verification of the golden rows by {revision.name}")


def _too_long(revision: Revision) -> str:
    """A hint if the name is too long for KServe's default domainTemplate, for which KServe sets no condition."""
    host = f"{revision.transformer}-{revision.rollout.namespace}"
    if len(host) <= _MAX_LABEL_LENGTH:
        return ""
    return (
        f"; {host} has {len(host)} characters, and KServe creates no pods above {_MAX_LABEL_LENGTH} "
        "unless its domainTemplate is set to {{ .Name }}.{{ .Namespace }}.{{ .IngressDomain }}"
    )


def _pod_problems(pod: Pod) -> Iterator[tuple[Cause, bool]]:
    # containers that are stopped may exit with any code
    if pod.deleted:
        return
    for container in (*pod.status.init_container_statuses, *pod.status.container_statuses):
        waiting = container.state.waiting or Waiting()
        terminated = container.state.terminated or container.last_state.terminated
        where = (
            pod.component if container.name == "kserve-container" else f"{pod.component}, container {container.name}"
        )
        if (stuck := _STUCK.get(waiting.reason)) is not None:
            yield Cause(stuck, one_line(f"{where}: {stuck}: {waiting.message}")), True
        elif terminated is not None and terminated.exit_code and not container.ready:
            # a single failure may be an accident; a container that fails again after a restart is fatal
            again = waiting.reason == "CrashLoopBackOff" or container.restart_count >= _ACCIDENTS
            yield Cause("ContainerFailed", one_line(f"{where}: {_last_words(terminated)}")), again
    for condition in pod.status.conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            yield Cause("Unschedulable", one_line(f"{pod.component}: cannot be scheduled: {condition.message}")), False


def _last_words(terminated: Terminated) -> str:
    """The message of the last error in the log of a container that ended."""
    text = terminated.message.strip()
    for line in reversed(text.splitlines()):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and str(record.get("level", "")).lower() == "error":
            return str(record.get("message", line))
    last = text.splitlines()[-1] if text else terminated.reason
    return f"exited with code {terminated.exit_code}: {last}"


__all__ = [
    "edited",
    "leaving",
    "owned",
    "problem",
    "reached",
    "ready",
    "ready_pods",
    "route_problem",
    "route_weights",
    "waits_for",
]
