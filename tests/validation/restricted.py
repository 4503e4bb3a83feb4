"""The controls of the Pod Security Standard *restricted*, those of *baseline* included, for pods on Linux.

As published in https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

Spec = dict[str, Any]

_VOLUMES: Final = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SELINUX_TYPES: Final = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
_SYSCTLS: Final = {
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
}
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")


def pod_specs(manifest: Spec) -> Iterator[tuple[str, Spec]]:
    """Pod specs in a manifest, each with the name of its part."""
    kind, spec = manifest["kind"], manifest.get("spec", {})
    if kind == "InferenceService":
        yield from ((half, spec[half]) for half in ("predictor", "transformer", "explainer") if half in spec)
    elif kind in ("ClusterServingRuntime", "ServingRuntime"):
        yield "runtime", spec
    elif kind == "Pod":
        yield "pod", spec
    elif kind == "CronJob":
        yield "pod", spec["jobTemplate"]["spec"]["template"]["spec"]
    elif kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"):
        yield "pod", spec["template"]["spec"]


def violations(pod: Spec) -> list[str]:
    """Controls that a pod spec breaks."""
    return [
        *_pod_violations(pod),
        *(violation for container in _containers(pod) for violation in _container_violations(pod, container)),
    ]


def _containers(pod: Spec) -> list[Spec]:
    return [
        container for key in ("initContainers", "containers", "ephemeralContainers") for container in pod.get(key) or ()
    ]


def _pod_violations(pod: Spec) -> Iterator[str]:
    context = pod.get("securityContext") or {}
    yield from (f"{field}" for field in ("hostNetwork", "hostPID", "hostIPC") if pod.get(field))
    for volume in pod.get("volumes") or ():
        yield from (f"volume {volume['name']}: {kind}" for kind in volume.keys() - {"name"} - _VOLUMES)
    for sysctl in context.get("sysctls") or ():
        if sysctl["name"] not in _SYSCTLS:
            yield f"sysctl {sysctl['name']}"
    yield from _context_violations("pod", context)


def _container_violations(pod: Spec, container: Spec) -> Iterator[str]:
    name, context = container["name"], container.get("securityContext") or {}
    inherited = {**(pod.get("securityContext") or {}), **context}
    yield from _context_violations(name, context)
    if context.get("privileged"):
        yield f"{name}: privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield f"{name}: allowPrivilegeEscalation is not false"
    if inherited.get("runAsNonRoot") is not True:
        yield f"{name}: runAsNonRoot is not true"
    if (inherited.get("seccompProfile") or {}).get("type") not in ("RuntimeDefault", "Localhost"):
        yield f"{name}: seccompProfile is not RuntimeDefault"
    capabilities = context.get("capabilities") or {}
    if "ALL" not in (capabilities.get("drop") or ()):
        yield f"{name}: does not drop ALL capabilities"
    yield from (
        f"{name}: adds {capability}" for capability in capabilities.get("add") or () if capability != "NET_BIND_SERVICE"
    )
    if context.get("procMount", "Default") != "Default":
        yield f"{name}: procMount"
    yield from (f"{name}: hostPort" for port in container.get("ports") or () if port.get("hostPort"))
    hooks = [container.get(probe) or {} for probe in _PROBES]
    hooks += [hook or {} for hook in (container.get("lifecycle") or {}).values() if isinstance(hook, dict)]
    for hook in hooks:
        if any((hook.get(action) or {}).get("host") for action in ("httpGet", "tcpSocket")):
            yield f"{name}: a probe or hook names a host"


def _context_violations(where: str, context: Spec) -> Iterator[str]:
    """Fields that pods and containers both have."""
    if context.get("runAsUser") == 0:
        yield f"{where}: runs as root"
    if context.get("runAsNonRoot") is False:
        yield f"{where}: runAsNonRoot is false"
    if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
        yield f"{where}: seccompProfile is Unconfined"
    if (context.get("appArmorProfile") or {}).get("type") == "Unconfined":
        yield f"{where}: appArmorProfile is Unconfined"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{where}: hostProcess"
    linux = context.get("seLinuxOptions") or {}
    if linux.get("type", "") not in _SELINUX_TYPES or linux.get("user") or linux.get("role"):
        yield f"{where}: seLinuxOptions"
