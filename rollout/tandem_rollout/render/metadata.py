"""What objects have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]
"""A manifest, as in YAML."""


def build(api_version: str, kind: str, name: str, namespace: str, labels: Mapping[str, str], **fields: Any) -> Object:
    """Build a manifest.

    Args:
        api_version: API version of the kind.
        kind: Kind of the object.
        name: Its name.
        namespace: Its namespace.
        labels: Its labels.
        fields: Everything beside ``metadata``, most often ``spec``.
    """
    metadata = {"name": name, "namespace": namespace, "labels": dict(labels)}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def empty_dir(name: str, limit: str | int) -> Object:
    """A volume that lives as long as its pod.

    Args:
        name: Its name.
        limit: A quantity: with more in it the kubelet evicts the pod, before the node's disk is full.
    """
    return {"name": name, "emptyDir": {"sizeLimit": str(limit)}}
