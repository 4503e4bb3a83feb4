"""etcd and kube-apiserver on the loopback interface, with the kinds that the controller knows, and who may do what."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks.controller.processes import Processes, StartError, free_port
from tandem_rollout import GROUP
from tandem_rollout.api.crd import build_crds
from tandem_rollout.controller.kinds import APPLIED
from tandem_rollout.controller.permissions import ELECTION_PERMISSIONS, PERMISSIONS

BINARIES: Final = "KUBEBUILDER_ASSETS"
"""Folder of etcd and kube-apiserver. Default: PATH."""

CONTROLLER: Final = "system:serviceaccount:tandem-system:tandem-controller"
_START_S: Final = 90.0

Plain = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A running API server.

    Attributes:
        url: Its address.
        token: Of one who may do everything.
        certificate: What its certificate is checked against.
        kubeconfig: For the controller, who may do what the chart grants.
        audit: Log of the controller's calls, one JSON object per line.
        pids: Its processes, by name.
    """

    url: str
    token: str
    certificate: Path
    kubeconfig: Path
    audit: Path
    pids: dict[str, int]


def binary(name: str) -> str:
    """Where a program is.

    Raises:
        StartError: if it is nowhere.
    """
    path = shutil.which(name, path=os.environ.get(BINARIES)) or shutil.which(name)
    if path is None:
        raise StartError(f"{name} is neither in the folder that {BINARIES} names nor on PATH")
    return path


async def start(processes: Processes, folder: Path) -> ControlPlane:
    """Start both, and wait until the API server is ready.

    Args:
        processes: Who ends them.
        folder: For their data.

    Raises:
        StartError: if one of them is not there, or does not become ready.
    """
    etcd_port, peer_port, port = free_port(), free_port(), free_port()
    admin, controller = secrets.token_hex(16), secrets.token_hex(16)
    url, store, pki = f"https://127.0.0.1:{port}", f"http://127.0.0.1:{etcd_port}", folder / "pki"
    groups = "system:serviceaccounts,system:serviceaccounts:tandem-system"
    _write(folder / "tokens.csv", f'{admin},admin,1,"system:masters"\n{controller},{CONTROLLER},2,"{groups}"\n')
    _write(folder / "audit.yaml", json.dumps(_audit_policy()))
    _write_key(folder / "accounts.pem")
    pids = {
        "etcd": processes.start(
            "etcd",
            [
                binary("etcd"),
                f"--data-dir={folder / 'etcd'}",
                f"--listen-client-urls={store}",
                f"--advertise-client-urls={store}",
                f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
                # the disk is not what is measured
                "--unsafe-no-fsync",
                "--log-level=warn",
            ],
        ),
        "kube-apiserver": processes.start(
            "kube-apiserver",
            [
                binary("kube-apiserver"),
                f"--etcd-servers={store}",
                "--bind-address=127.0.0.1",
                f"--secure-port={port}",
                f"--cert-dir={pki}",
                f"--token-auth-file={folder / 'tokens.csv'}",
                "--authorization-mode=RBAC",
                # pods are objects only and do not run, so that their service account is not created
                "--disable-admission-plugins=ServiceAccount",
                "--endpoint-reconciler-type=none",
                "--service-cluster-ip-range=10.96.0.0/14",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={folder / 'accounts.pem'}",
                f"--service-account-signing-key-file={folder / 'accounts.pem'}",
                f"--audit-policy-file={folder / 'audit.yaml'}",
                f"--audit-log-path={folder / 'audit.log'}",
                "--audit-log-maxsize=4096",
            ],
        ),
    }
    certificate = pki / "apiserver.crt"
    plane = ControlPlane(url, admin, certificate, folder / "kubeconfig", folder / "audit.log", pids)
    _write(plane.kubeconfig, json.dumps(_kubeconfig(url, certificate, controller)))
    await _ready(processes, plane)
    return plane


async def _ready(processes: Processes, plane: ControlPlane) -> None:
    headers = {"Authorization": f"Bearer {plane.token}"}
    try:
        async with asyncio.timeout(_START_S), aiohttp.ClientSession(headers=headers) as session:
            while True:
                processes.check()
                try:
                    async with session.get(f"{plane.url}/readyz", ssl=False) as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise StartError(f"kube-apiserver is not ready after {_START_S:g} s") from None


def definitions() -> list[Plain]:
    """Definitions of the kinds that the controller reads or writes: Tandem's own, the others with anything in them."""
    return [
        *build_crds(),
        *(_open(kind._api_info) for kind in APPLIED.values() if _foreign(kind._api_info.resource.group)),
    ]


def _foreign(group: str) -> bool:
    return "." in group and group not in ("networking.k8s.io", GROUP)


def grants() -> list[Plain]:
    """What the chart lets the controller do."""
    rules = [
        {"apiGroups": [rule.group], "resources": [rule.resource], "verbs": list(rule.verbs)}
        for rule in (*PERMISSIONS, *ELECTION_PERMISSIONS)
    ]
    rbac, metadata = "rbac.authorization.k8s.io", {"name": "tandem-controller"}
    return [
        {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules},
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "tandem-controller"},
            "subjects": [{"apiGroup": rbac, "kind": "User", "name": CONTROLLER}],
        },
    ]


def _open(info: Any) -> Plain:
    group, kind, plural = info.resource.group, info.resource.kind, info.plural
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": info.resource.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": anything, "status": anything}}},
        "subresources": {"status": {}},
    }
    metadata: Plain = {"name": f"{plural}.{group}"}
    if group.endswith(".k8s.io"):
        metadata["annotations"] = {"api-approved.kubernetes.io": "unapproved, a stand-in without a schema"}
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def _audit_policy() -> Plain:
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata", "users": [CONTROLLER]}, {"level": "None"}],
    }


def _kubeconfig(url: str, certificate: Path, token: str) -> Plain:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "bench", "cluster": {"server": url, "certificate-authority": str(certificate)}}],
        "users": [{"name": "controller", "user": {"token": token}}],
        "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "controller"}}],
        "current-context": "bench",
    }


def _write(path: Path, text: str) -> None:
    path.touch(mode=0o600)
    path.write_text(text)


def _write_key(path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    _write(path, pem.decode())
