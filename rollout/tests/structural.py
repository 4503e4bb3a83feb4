"""What the API server says of a custom resource: defaults, the structural schema, and its rules in CEL.

Strict as ``kubectl apply`` is: fields that the schema does not know are errors.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from typing import Any

import cel
from jsonschema import Draft4Validator

Schema = dict[str, Any]

_METADATA = ("apiVersion", "kind", "metadata")
_ESCAPED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ]
)
"""Words of CEL, which no property may be called by."""


def violations(manifest: dict[str, Any], schema: Schema) -> list[str]:
    """Why a new object would be refused, each as ``path: reason``; empty where it would be taken.

    Args:
        manifest: The object.
        schema: ``openAPIV3Schema`` of its kind and version.
    """
    value = defaulted(manifest, schema)
    errors = [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        for error in _validator(_Key(schema)).iter_errors(value)
    ]
    # as in the API server, rules are for what has the right shape
    return errors or [*_duplicates(value, schema, ""), *_broken_rules(value, schema, "")]


def defaulted(value: Any, schema: Schema) -> Any:
    """A copy with the schema's defaults in the places of what is missing."""
    if isinstance(value, dict):
        filled = dict(value)
        for name, own in schema.get("properties", {}).items():
            if name not in filled and "default" in own:
                filled[name] = copy.deepcopy(own["default"])
            if name in filled:
                filled[name] = defaulted(filled[name], own)
        extra_schema = schema.get("additionalProperties")
        if isinstance(extra_schema, dict):
            filled |= {name: defaulted(value[name], extra_schema) for name in value}
        return filled
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        return [defaulted(element, schema["items"]) for element in value]
    return value


def closed(schema: Schema, *, root: bool = False) -> Schema:
    """A structural schema as JSON Schema that refuses unknown fields.

    Only the structure is closed; what stands under ``anyOf`` and its like adds rules about fields, not fields.
    """
    json_schema = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes")}
    properties = {name: closed(own) for name, own in schema.get("properties", {}).items()}
    if properties:
        json_schema["properties"] = properties
    if isinstance(schema.get("items"), dict):
        json_schema["items"] = closed(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        json_schema["additionalProperties"] = closed(schema["additionalProperties"])
    elif schema.get("type") == "object" and "additionalProperties" not in schema:
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            json_schema["additionalProperties"] = False
        if root or schema.get("x-kubernetes-embedded-resource"):
            json_schema["properties"] = {name: {} for name in _METADATA} | properties | {"metadata": {"type": "object"}}
    if schema.get("x-kubernetes-int-or-string"):
        json_schema["type"] = ["integer", "string"]
    if schema.get("nullable") and "type" in json_schema:
        json_schema["type"] = [
            *([json_schema["type"]] if isinstance(json_schema["type"], str) else json_schema["type"]),
            "null",
        ]
        if "enum" in json_schema:
            json_schema["enum"] = [*json_schema["enum"], None]
    return json_schema


class _Key:
    """A schema as a key of a cache: by identity, and kept alive."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema

    def __hash__(self) -> int:
        return id(self.schema)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.schema is self.schema


@functools.lru_cache(maxsize=64)
def _validator(key: _Key) -> Draft4Validator:
    return Draft4Validator(closed(key.schema, root=True))


def _duplicates(value: Any, schema: Schema, path: str) -> Iterator[str]:
    """Elements of lists of type ``map`` or ``set`` that have the same key."""
    kind = schema.get("x-kubernetes-list-type")
    if isinstance(value, list) and kind in ("map", "set"):
        keys = schema.get("x-kubernetes-list-map-keys", ())
        told_apart = [tuple(element.get(key) for key in keys) if kind == "map" else element for element in value]
        yield from (
            f"{path}: duplicate {duplicate}" for duplicate in {str(e) for e in told_apart if told_apart.count(e) > 1}
        )
    for inner, own, where in _children(value, schema, path):
        yield from _duplicates(inner, own, where)


def _broken_rules(value: Any, schema: Schema, path: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        # rules about the old object do not apply to a new one
        if "oldSelf" not in rule["rule"] and not _holds(rule["rule"], _cel_value(value, schema)):
            yield f"{path}: {rule.get('message') or rule['rule']}"
    for inner, own, where in _children(value, schema, path):
        yield from _broken_rules(inner, own, where)


def _holds(rule: str, value: Any) -> bool:
    """Whether a rule is true of a value; a rule that cannot be evaluated does not hold."""
    try:
        return bool(program(rule).execute({"self": value}) is True)
    except (RuntimeError, ValueError, TypeError, KeyError):
        return False


@functools.lru_cache(maxsize=2048)
def program(rule: str) -> Any:
    """A compiled rule.

    Raises:
        ValueError: if it is no CEL.
    """
    return cel.compile(rule)


def _children(value: Any, schema: Schema, path: str) -> Iterator[tuple[Any, Schema, str]]:
    if isinstance(value, dict):
        extra_schema = schema.get("additionalProperties")
        for name, inner in value.items():
            own = schema.get("properties", {}).get(name, extra_schema if isinstance(extra_schema, dict) else None)
            if own is not None and inner is not None:
                yield inner, own, f"{path}.{name}".lstrip(".")
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for index, inner in enumerate(value):
            yield inner, schema["items"], f"{path}.{index}"


def _cel_value(value: Any, schema: Schema) -> Any:
    """A value as CEL sees it: property names that are words of CEL escaped, numbers of the declared type."""
    if isinstance(value, dict):
        properties, extra_schema = schema.get("properties", {}), schema.get("additionalProperties")
        return {
            _escaped(name) if name in properties else name: _cel_value(
                inner, properties.get(name, extra_schema if isinstance(extra_schema, dict) else {})
            )
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [_cel_value(element, schema.get("items", {})) for element in value]
    return float(value) if schema.get("type") == "number" and not isinstance(value, bool) else value


def _escaped(name: str) -> str:
    for char, word in (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")):
        name = name.replace(char, word)
    return f"__{name}__" if name in _ESCAPED else name
