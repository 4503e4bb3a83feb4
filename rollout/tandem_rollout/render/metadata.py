"""What every object has in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]
"""A manifest, as in YAML."""


def made(api_version: str, kind: str, name: str, namespace: str, labels: Mapping[str, str], **fields: Any) -> Object:
    """A manifest.

    Args:
        api_version: Of the kind.
        kind: Kind of the object.
        name: Its name.
        namespace: Its namespace.
        labels: Its labels.
        fields: Everything beside ``metadata``, most often ``spec``.
    """
    metadata = {"name": name, "namespace": namespace, "labels": dict(labels)}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}
