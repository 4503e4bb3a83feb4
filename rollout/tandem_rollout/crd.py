"""The CustomResourceDefinition, made from the structs of :mod:`.spec` and :mod:`.status`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from tandem_rollout import EVIDENCE_KIND, EVIDENCE_PLURAL, GROUP, KIND, PLURAL, VERSION
from tandem_rollout.messages import rule
from tandem_rollout.rules import RULES
from tandem_rollout.spec import RolloutSpec
from tandem_rollout.status import RolloutStatus

Schema = dict[str, Any]

_DROPPED: Final = ("title", "$defs", "additionalProperties")
_COLUMNS: Final = (
    ("Model", ".spec.model", "string", 1),
    ("Ready", ".status.ready", "string", 0),
    ("Weights", ".status.weights", "string", 0),
    ("Progress", ".status.progress", "string", 0),
    ("Verdict", ".status.run.verdict", "string", 0),
    ("Measured", ".status.run.measured", "number", 1),
    ("Since", ".status.run.since", "date", 1),
    ("Age", ".metadata.creationTimestamp", "date", 0),
    ("URL", ".status.url", "string", 1),
    ("Message", ".status.message", "string", 0),  # the last one, as it may be long
)
"""Columns of a table: name, path, type, and 1 for those of wide tables."""

MOST_EVIDENCE: Final = 1 << 20
"""Characters of the evidence of a run: an object may have 1.5 MiB in etcd."""


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition: a structural schema with CEL rules, printer columns and the status subresource."""
    spec = _with_words(structural(RolloutSpec))
    for where, expression, message in RULES:
        for schema in _at(spec, where):
            schema.setdefault("x-kubernetes-validations", []).append({"rule": expression, "message": message})
    name_rule = {
        "rule": "self.metadata.name.size() <= 22 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "message": "metadata.name may have 22 characters at most, a-z, 0-9 and -, and begins with a letter",
    }
    schema = {
        "type": "object",
        "description": "Versions of a model on Kubernetes, and how requests are shared out between them.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": structural(RolloutStatus),
        },
        "x-kubernetes-validations": [name_rule],
    }
    columns: list[Schema] = [
        {"name": name, "jsonPath": path, "type": kind, "priority": wide} for name, path, kind, wide in _COLUMNS
    ]
    names: Schema = {"shortNames": ["irl"], "categories": ["all", "tandem"]}
    version = {
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
    }
    return _definition(KIND, PLURAL, names, version)


def evidence_crd() -> Schema:
    """The CustomResourceDefinition of what the controller keeps of a run: nobody else is to write it."""
    record = {
        "type": "string",
        "format": "byte",
        "maxLength": MOST_EVIDENCE,
        "description": "What was counted and decided: JSON, compressed with gzip, as base64.",
    }
    schema = {
        "type": "object",
        "description": "Evidence of one run of an InferenceRollout. The controller writes it, tandem rollout reads it.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": {
                "type": "object",
                "description": "The evidence.",
                "required": ["record"],
                "properties": {"record": record},
            },
        },
    }
    return _definition(
        EVIDENCE_KIND, EVIDENCE_PLURAL, {"categories": ["tandem"]}, {"schema": {"openAPIV3Schema": schema}}
    )


def crds() -> list[Schema]:
    """All CustomResourceDefinitions."""
    return [crd(), evidence_crd()]


def _definition(kind: str, plural: str, names: Schema, version: Schema) -> Schema:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower(), **names},
            "versions": [{"name": VERSION, "served": True, "storage": True, **version}],
        },
    }


def structural(kind: type) -> Schema:
    """The structural schema of a struct, without rules of CEL."""
    schema = msgspec.json.schema(kind)
    return _convert(schema, schema["$defs"])


def _convert(schema: Schema, defs: dict[str, Schema]) -> Schema:
    """A JSON Schema of msgspec's as Kubernetes takes it: no references, no unions with null, no closed objects."""
    if "$ref" in schema:
        target = defs[schema["$ref"].rpartition("/")[2]]
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    if "anyOf" in schema:
        first, *alternatives = [choice for choice in schema["anyOf"] if choice.get("type") != "null"]
        if alternatives:  # of a quantity
            annotations = {key: schema[key] for key in ("description", "default") if schema.get(key)}
            return {**annotations, "x-kubernetes-int-or-string": True}
        schema = {**first, **{key: value for key, value in schema.items() if key not in ("anyOf", "default")}}
        return _convert(schema, defs)
    converted = {key: value for key, value in schema.items() if key not in _DROPPED and not _is_empty(key, value)}
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.capitalize()}"
        if exclusive in schema:  # Kubernetes has the form of JSON Schema's fourth draft
            converted[bound], converted[exclusive] = schema[exclusive], True
    if "enum" in schema:
        converted["type"] = "string"
    if schema.get("type") == "integer":
        converted["format"] = "int64"
    if "properties" in schema:
        converted["properties"] = {name: _convert(own, defs) for name, own in schema["properties"].items()}
    elif schema.get("type") == "object":
        values = schema.get("additionalProperties")
        if values:
            converted["additionalProperties"] = _convert(values, defs)
        else:
            converted["x-kubernetes-preserve-unknown-fields"] = True
    if "items" in schema:
        converted["items"] = _convert(schema["items"], defs) if schema["items"] else _FREE
        if key := _key(converted["items"]):
            converted["x-kubernetes-list-type"], converted["x-kubernetes-list-map-keys"] = "map", [key]
    return converted


def _with_words(schema: Schema) -> Schema:
    """A structural schema with rules of CEL for its patterns: of a pattern, an API server shows the expression only."""
    worded = {key: value for key, value in schema.items() if key != "pattern"}
    if "pattern" in schema:
        validation = {"rule": f"self.matches(r'{schema['pattern']}')", "message": f"must be {rule(schema)}"}
        worded["x-kubernetes-validations"] = [validation]
    if "properties" in schema:
        worded["properties"] = {name: _with_words(own) for name, own in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            worded[key] = _with_words(schema[key])
    return worded


_FREE: Final[Schema] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def _key(items: Schema) -> str | None:
    """The property by which elements of a list are told apart."""
    required = items.get("required", ())
    # a type tells conditions apart; there may be several metrics of one
    keys = ("type",) if "status" in required else ("inferenceService", "name")
    return next((key for key in keys if key in required and items.get("type") == "object"), None)


def _is_empty(key: str, value: Any) -> bool:
    return key in ("default", "description", "required") and value is not False and not value


def _at(schema: Schema, path: str) -> Iterator[Schema]:
    """The schemas that a rule is meant for."""
    if path == "bundle":
        yield schema["properties"]["bundle"]
        yield schema["properties"]["variants"]["items"]["properties"]["bundle"]
        return
    for name in filter(None, path.split(".")):
        schema = schema["properties"][name]
    yield schema
