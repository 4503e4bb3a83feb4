"""Messages about an invalid spec: the field, and what it must be.

They are generated from the schema of the structs, like the CRD, so that each rule is defined once.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from tandem_rollout.api.fields import PATTERNS
from tandem_rollout.api.spec import RolloutSpec

Schema = Mapping[str, Any]

_PATH: Final = re.compile(r"`\$([^`]*)`$")
_STEP: Final = re.compile(r"\.(\w+)|\[(\d+|\.\.\.)\]")

_TYPES: Final = {
    bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object", type(None): "null",
}  # fmt: skip
_NOUNS: Final = {
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "string": "a string",
    "array": "a list",
    "object": "a map",
    "null": "null",
}
_QUANTITY: Final = "a whole number, or a string such as 500m or 2Gi"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a message about an unknown name; empty if no known name is similar."""
    # ignoring case: "minreplicas" and "minReplicas" are the same name
    plain = {candidate.lower(): candidate for candidate in known}
    near = difflib.get_close_matches(name.lower(), plain, n=1)
    return f"; did you mean {plain[near[0]]!r}?" if near else ""


def spec_message(error: msgspec.ValidationError, spec: Any) -> str:
    """The message about a spec that :mod:`msgspec` does not accept.

    Args:
        error: The error. Only its path is read.
        spec: The spec.

    Returns:
        ``spec.route.timeout: must be …``, with the path in the form of ``kubectl explain``. The message never
        contains the value, which may be a password.
    """
    whole = _schema()
    path = match[1] if (match := _PATH.search(str(error))) else ""
    where, value, schema = "spec", spec, _resolved(whole, whole)
    for name, index in _STEP.findall(path):
        if name and "properties" in schema:
            where, value, schema = f"{where}.{name}", value[name], schema["properties"][name]
        elif index == "..." and isinstance(value, dict):
            schema = schema["additionalProperties"]
            # msgspec writes ... for any key of a map: the invalid one has to be found again
            name = next((key for key, own in value.items() if not _is_of(own, schema)), "")
            where, value = f"{where}.{name}", value.get(name)
        elif index:
            at = int(index) if index.isdecimal() else 0
            where, value, schema = f"{where}[{at}]", value[at], schema["items"]
        schema = _resolved(schema, whole)
    if isinstance(value, dict) and not all(isinstance(key, str) for key in value):
        return f"{where}: names must be strings"
    return f"{where}: {_fault(value, schema)}"


def rule(schema: Schema) -> str:
    """Description of the valid values, such as ``a whole number from 1 to 99``.

    Args:
        schema: JSON Schema of the value, without references.
    """
    choices = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
    if len(choices) > 1:
        return _QUANTITY
    (own,) = choices
    if "enum" in own:
        return f"one of {', '.join(map(str, own['enum']))}"
    if "pattern" in own:
        return PATTERNS[own["pattern"]] + _longest(own, " ({} characters at most)")
    if own["type"] == "string":
        least = "a string that is not empty" if own.get("minLength") else "a string"
        return least + _longest(own, " of {} characters at most")
    return f"{_NOUNS[own['type']]}{_range(own)}"


def _fault(value: Any, schema: Schema) -> str:
    if isinstance(value, dict) and "properties" in schema:
        properties = schema["properties"]
        for name in value:
            if name not in properties:
                return f"unknown field {name!r}{did_you_mean(str(name), properties)}"
        for name in schema.get("required", ()):
            if name not in value:
                return f"{name} is required"
    if _is_of(value, schema):
        return f"must be {rule(schema)}"
    kind = _TYPES.get(type(value), "string")
    # YAML reads a string such as 1.10 as a number unless it is quoted
    hint = "; put it in quotes" if _types(schema) & {"string"} and kind in ("boolean", "integer", "number") else ""
    return f"must be {rule(schema)}, not {_NOUNS[kind]}{hint}"


def _types(schema: Schema) -> set[str]:
    choices = schema.get("anyOf", [schema])
    types = {choice.get("type", "string" if "enum" in choice else "object") for choice in choices}
    return types | {"integer"} if "number" in types else types


def _is_of(value: Any, schema: Schema) -> bool:
    """Whether a value has a type that the schema allows."""
    return _TYPES.get(type(value)) in _types(schema)


def _range(schema: Schema) -> str:
    if schema["type"] == "array":
        least, most = schema.get("minItems"), schema.get("maxItems")
        bounds = [f"at least {least}"] * bool(least) + [f"at most {most}"] * bool(most)
        return f" of {' and '.join(bounds)}" if bounds else ""
    if "minimum" in schema and "maximum" in schema:
        return f" from {schema['minimum']} to {schema['maximum']}"
    words = {"minimum": "not below", "exclusiveMinimum": "above", "maximum": "not above", "exclusiveMaximum": "below"}
    bounds = [f"{word} {schema[key]}" for key, word in words.items() if key in schema]
    return f" {' and '.join(bounds)}" if bounds else ""


def _longest(schema: Schema, words: str) -> str:
    return words.format(schema["maxLength"]) if "maxLength" in schema else ""


def _resolved(schema: Schema, whole: Schema) -> Schema:
    """A schema with its top-level reference resolved, and without null as an alternative."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    if len(choices) == 1:
        schema = choices[0]
    return whole["$defs"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


@functools.cache
def _schema() -> Schema:
    return msgspec.json.schema(RolloutSpec)
