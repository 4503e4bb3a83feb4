"""Security contexts that meet the restricted Pod Security standard."""

from __future__ import annotations

from typing import Final

from tandem_rollout.render.metadata import Object

USER: Final = 65532
"""A numeric user, so that the kubelet can verify that it is not root."""


def restricted_pod() -> Object:
    """Security context of a pod."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def restricted_container() -> Object:
    """Security context of a container."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def scratch() -> Object:
    """Mount of the volume ``tmp``, the only writable directory of a container."""
    return {"name": "tmp", "mountPath": "/tmp"}  # noqa: S108 - a volume
