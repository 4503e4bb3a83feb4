"""Checks of manifests against the schemas of their kinds: Kubernetes' own, ours, and those that we render for."""

from __future__ import annotations

import functools
import gzip
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
from kubernetes_validate.utils import SchemaNotFoundError, schema_contents
from referencing import Registry, Resource
from rollout.tests.structural import violations

from tandem_rollout import GROUP
from tandem_rollout.api.crd import build_crds

KUBERNETES: Final = "1.34"
SCHEMAS: Final = Path(__file__).parent / "schemas"

_SERVICE: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_RBAC: Final = re.compile(r"[^/%]+\Z")
_LABEL: Final = re.compile(r"(?=.{0,63}\Z)([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?\Z")
_LABEL_KEY: Final = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")
_LABELS: Final = ("labels", "matchLabels", "nodeSelector", "selector")
_STRICT: Final = f"v{KUBERNETES}.0-local-strict"

Manifest = dict[str, Any]


def problems(manifest: Manifest) -> list[str]:
    """Why the API server would refuse a new object, unknown fields included.

    Raises:
        LookupError: if there is no schema of its kind.
    """
    schema = custom_schema(manifest["apiVersion"], manifest["kind"])
    reasons = core_problems(manifest) if schema is None else violations(manifest, schema)
    return [*reasons, *_of(_core("objectmeta-meta-v1"), manifest["metadata"]), *bad_names(manifest)]


def core_problems(manifest: Manifest) -> list[str]:
    """The same for Kubernetes' own kinds."""
    group, _, version = manifest["apiVersion"].rpartition("/")
    if "." in group and not group.endswith(".k8s.io"):
        raise LookupError(f"no schema of {manifest['apiVersion']} {manifest['kind']}")
    parts = (manifest["kind"].lower(), group.partition(".")[0], version)
    return _of(_core("-".join(filter(None, parts))), manifest)


def bad_names(manifest: Manifest) -> list[str]:
    """Names and labels that Kubernetes does not take, wherever they stand; its schemas do not say so."""
    name, kind = manifest["metadata"]["name"], manifest["kind"]
    reasons = []
    if kind == "Service" and not (_SERVICE.match(name) and len(name) <= 63):
        reasons.append(f"metadata.name: {name} is no name of a Service")
    elif not (_RBAC if "rbac" in manifest["apiVersion"] else _SUBDOMAIN).match(name) or len(name) > 253:
        reasons.append(f"metadata.name: {name}")
    if kind == "CustomResourceDefinition":
        # there ``labels`` is the name of a property
        return reasons
    return reasons + [f"{where}: {key}={value} is no label" for where, key, value in _bad_labels(manifest, "")]


def _bad_labels(value: Any, where: str) -> Iterator[tuple[str, str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            path = f"{where}.{name}".lstrip(".")
            if name in _LABELS and isinstance(inner, dict) and name not in inner:
                for key, label in inner.items():
                    is_map = isinstance(label, (dict, list))
                    if not is_map and not (isinstance(label, str) and _LABEL_KEY.match(key) and _LABEL.match(label)):
                        yield path, key, label
            yield from _bad_labels(inner, path)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _bad_labels(inner, f"{where}.{index}")


@functools.cache
def custom_schema(api_version: str, kind: str) -> Manifest | None:
    """Schema of a custom resource; None where it is none."""
    group, _, version = api_version.rpartition("/")
    if group == GROUP:
        (definition,) = (crd for crd in build_crds() if crd["spec"]["names"]["kind"] == kind)
        (served,) = definition["spec"]["versions"]
        own: Manifest = served["schema"]["openAPIV3Schema"]
        return own
    path = SCHEMAS / f"{kind}-{group}-{version}.json.gz"
    if not path.exists():
        return None
    schema: Manifest = json.loads(gzip.decompress(path.read_bytes()))
    return schema


@functools.cache
def _core(name: str) -> jsonschema.Draft202012Validator:
    try:
        schema = schema_contents(f"kubernetes-json-schema/{_STRICT}/{name}.json", KUBERNETES)
    except (SchemaNotFoundError, FileNotFoundError):
        raise LookupError(f"no schema of {name}") from None
    return jsonschema.Draft202012Validator(schema, registry=_definitions())


@functools.cache
def _definitions() -> Registry[Any]:
    contents = schema_contents(f"kubernetes-json-schema/{_STRICT}/_definitions.json", KUBERNETES)
    return Resource.from_contents(contents) @ Registry()


def _of(validator: jsonschema.Draft202012Validator, value: Any) -> list[str]:
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in validator.iter_errors(value)
    ]
