"""Common parts of objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]
"""A manifest as a map."""


def build(api_version: str, kind: str, name: str, namespace: str, labels: Mapping[str, str], **fields: Any) -> Object:
    """Build a manifest.

    Args:
        api_version: API version of the kind.
        kind: Kind of the object.
        name: Its name.
        namespace: Its namespace.
        labels: Its labels.
        fields: Top-level fields besides ``metadata``, such as ``spec``.
    """
    metadata = {"name": name, "namespace": namespace, "labels": dict(labels)}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def empty_dir(name: str, limit: str | int) -> Object:
    """An emptyDir volume.

    Args:
        name: Name of the volume.
        limit: Size limit. The kubelet evicts a pod that exceeds it.
    """
    return {"name": name, "emptyDir": {"sizeLimit": str(limit)}}
