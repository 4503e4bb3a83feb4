"""Structural schemas of Kubernetes, generated from the structs of spec and status."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tandem_rollout.api.rules import RULES
from tandem_rollout.api.spec import RolloutSpec

Schema = dict[str, Any]

_DROPPED: Final = ("title", "$defs", "additionalProperties")
_FREE: Final[Schema] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def spec_schema() -> Schema:
    """The structural schema of the spec, with its CEL rules. Patterns remain patterns."""
    schema = structural(RolloutSpec)
    for own in RULES:
        place = _at(schema, own.where)
        validation = {"rule": own.expression, "message": own.message}
        if own.field:
            validation["fieldPath"] = f".{own.field}"
        place.setdefault("x-kubernetes-validations", []).append(validation)
    return schema


def structural(kind: type) -> Schema:
    """The structural schema of a struct, without CEL rules."""
    schema = msgspec.json.schema(kind)
    return _convert(schema, schema["$defs"])


def _convert(schema: Schema, defs: dict[str, Schema]) -> Schema:
    """Convert a JSON Schema of msgspec: Kubernetes allows no references, unions with null or closed objects."""
    if "$ref" in schema:
        target = defs[schema["$ref"].rpartition("/")[2]]
        # a field's own description replaces that of its struct
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    if "anyOf" in schema:
        first, *alternatives = [choice for choice in schema["anyOf"] if choice.get("type") != "null"]
        if alternatives:  # a quantity
            annotations = {key: schema[key] for key in ("description", "default") if schema.get(key)}
            # structural schemas have no unions of types, except for this one
            return {**annotations, "x-kubernetes-int-or-string": True}
        schema = {**first, **{key: value for key, value in schema.items() if key not in ("anyOf", "default")}}
        return _convert(schema, defs)
    converted = {key: value for key, value in schema.items() if key not in _DROPPED and not _is_empty(key, value)}
    for bound in ("minimum", "maximum"):
        exclusive = f"exclusive{bound.capitalize()}"
        if exclusive in schema:  # Kubernetes uses the form of JSON Schema draft 4
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
            # the API server would drop fields that the schema does not name
            converted["x-kubernetes-preserve-unknown-fields"] = True
    if "items" in schema:
        converted["items"] = _convert(schema["items"], defs) if schema["items"] else _FREE
        if key := _key(converted["items"]):
            # with keys, server-side apply merges elements instead of replacing the list
            converted["x-kubernetes-list-type"], converted["x-kubernetes-list-map-keys"] = "map", [key]
    return converted


def _key(items: Schema) -> str | None:
    """The property that identifies the elements of a list."""
    required = items.get("required", ())
    # the type identifies a condition, but not a metric
    keys = ("type",) if "status" in required else ("inferenceService", "name")
    return next((key for key in keys if key in required and items.get("type") == "object"), None)


def _is_empty(key: str, value: Any) -> bool:
    return key in ("default", "description", "required") and value is not False and not value


def _at(schema: Schema, path: str) -> Schema:
    """The schema at a path such as ``variants[].bundle``."""
    for part in filter(None, path.split(".")):
        schema = schema["properties"][part.removesuffix("[]")]
        if part.endswith("[]"):
            schema = schema["items"]
    return schema
