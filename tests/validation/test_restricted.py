"""Every pod that we render is admitted where the Pod Security Standard *restricted* is enforced."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tandem_rollout.api.crd import build_crd

from .everything import everything
from .restricted import pod_specs, violations

PODS = [
    (f"{where}: {manifest['kind']} {manifest['metadata']['name']}, {part}", pod)
    for where, objects in everything().items()
    for manifest in objects
    for part, pod in pod_specs(manifest)
]


def test_every_pod_is_admitted() -> None:
    assert len(PODS) > 60
    assert {where: reasons for where, pod in PODS if (reasons := violations(pod))} == {}


def test_every_container_has_a_root_that_it_cannot_write() -> None:
    for where, pod in PODS:
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, where


def _is_modelcar(pod: dict[str, Any]) -> bool:
    """Whether KServe adds containers that the standard does not admit."""
    variables = [variable for container in pod["containers"] for variable in container.get("env", ())]
    return any(
        variable["name"] == "STORAGE_URI" and variable.get("value", "").startswith("oci://") for variable in variables
    )


def test_modelcars_are_the_only_exception_asked_for_by_name_and_documented() -> None:
    exceptions = {where.partition(": InferenceService")[0] for where, pod in PODS if _is_modelcar(pod)}
    assert exceptions == {"renderer: bundle by modelcar"}
    spec = build_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert "restricted" in spec["properties"]["bundle"]["properties"]["modelcar"]["description"]


GOOD: dict[str, Any] = {
    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "volumes": [{"name": "tmp", "emptyDir": {}}],
    "initContainers": [
        {"name": "i", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    ],
    "containers": [
        {
            "name": "c",
            "ports": [{"containerPort": 80}],
            "readinessProbe": {"httpGet": {"port": 80}},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
            },
        }
    ],
}


def _at(path: str, value: Any) -> Callable[[Any], None]:
    def change(pod: Any) -> None:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in parents:
            pod = pod[part]
        pod[last] = value

    return change


BAD: dict[str, tuple[Callable[[Any], None], str]] = {
    "host network": (_at("hostNetwork", True), "hostNetwork"),
    "host processes": (_at("hostPID", True), "hostPID"),
    "host IPC": (_at("hostIPC", True), "hostIPC"),
    "host path": (_at("volumes.0", {"name": "v", "hostPath": {"path": "/"}}), "volume v: hostPath"),
    "volume over NFS": (_at("volumes.0", {"name": "v", "nfs": {}}), "volume v: nfs"),
    "sysctl": (_at("securityContext.sysctls", [{"name": "kernel.msgmax", "value": "1"}]), "sysctl kernel.msgmax"),
    "pod as root": (_at("securityContext.runAsUser", 0), "pod: runs as root"),
    "container as root": (_at("containers.0.securityContext.runAsUser", 0), "c: runs as root"),
    "init container as root": (_at("initContainers.0.securityContext.runAsUser", 0), "i: runs as root"),
    "may be root": (_at("securityContext.runAsNonRoot", None), "c: runAsNonRoot is not true"),
    "one may be root": (_at("containers.0.securityContext.runAsNonRoot", False), "c: runAsNonRoot is not true"),
    "privileged": (_at("containers.0.securityContext.privileged", True), "c: privileged"),
    "escalation": (
        lambda pod: pod["initContainers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
        "i: allowPrivilegeEscalation is not false",
    ),
    "no context": (_at("initContainers.0.securityContext", None), "i: does not drop ALL capabilities"),
    "capabilities": (_at("containers.0.securityContext.capabilities", {"drop": ["KILL"]}), "c: does not drop ALL"),
    "more capabilities": (
        _at("containers.0.securityContext.capabilities", {"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
        "c: adds SYS_ADMIN",
    ),
    "no seccomp": (_at("securityContext.seccompProfile", None), "c: seccompProfile is not RuntimeDefault"),
    "unconfined": (
        _at("containers.0.securityContext.seccompProfile", {"type": "Unconfined"}),
        "c: seccompProfile is Unconfined",
    ),
    "AppArmor": (_at("securityContext.appArmorProfile", {"type": "Unconfined"}), "pod: appArmorProfile is Unconfined"),
    "SELinux": (_at("securityContext.seLinuxOptions", {"role": "r"}), "pod: seLinuxOptions"),
    "proc": (_at("containers.0.securityContext.procMount", "Unmasked"), "c: procMount"),
    "host port": (_at("containers.0.ports.0.hostPort", 80), "c: hostPort"),
    "probe of a host": (_at("containers.0.readinessProbe.httpGet.host", "h"), "c: a probe or hook names a host"),
}


def test_the_check_admits_what_the_standard_admits() -> None:
    assert violations(GOOD) == []


@pytest.mark.parametrize(("change", "expected"), BAD.values(), ids=BAD)
def test_the_check_finds_each_control(change: Callable[[Any], None], expected: str) -> None:
    pod = copy.deepcopy(GOOD)
    change(pod)
    assert any(reason.startswith(expected) for reason in violations(pod)), violations(pod)
