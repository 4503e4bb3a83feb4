"""The reference of all fields, in Markdown, generated from the structs of :mod:`.spec` and :mod:`.status`.

``make manifests`` writes it to ``docs/kubernetes/inferencerollout.md``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tandem_rollout import API_VERSION, KIND
from tandem_rollout.api.fields import DURATION, PATTERNS, RolloutName
from tandem_rollout.api.messages import rule
from tandem_rollout.api.rules import RULES
from tandem_rollout.api.spec import RolloutSpec
from tandem_rollout.api.status import RolloutStatus

Schema = dict[str, Any]

_INTRODUCTION: Final = f"""\
# InferenceRollout

This page lists all fields of an `{KIND}` (`{API_VERSION}`). `make manifests` generates it from the
code; `kubectl explain inferencerollout.spec` shows the same descriptions. See
[shipping a model](ship-a-model.md) for how to use the fields, and [operations](operations.md) for the meaning of the
status.
"""


@dataclass(frozen=True, slots=True)
class _Section:
    """A struct and the path at which it is used first."""

    path: str
    schema: Schema


def write_reference() -> str:
    """The page."""
    metadata = f"`metadata.name` is {rule(msgspec.json.schema(RolloutName))}.\n"
    parts = [_INTRODUCTION, metadata]
    for kind, path in ((RolloutSpec, "spec"), (RolloutStatus, "status")):
        schema = msgspec.json.schema(kind)
        sections = list(_sections(schema["$defs"], kind.__name__, path, set()))
        paths = {section.schema["title"]: section.path for section in sections}
        parts += [_table(section, schema["$defs"], paths) for section in sections]
        if kind is RolloutSpec:
            parts.append(_rules())
    return "\n".join(parts)


def _sections(defs: dict[str, Schema], name: str, path: str, names: set[str]) -> Iterator[_Section]:
    """A struct and the structs of its fields, each once."""
    if name in names:
        return
    names.add(name)
    yield _Section(path, defs[name])
    for field, schema in defs[name]["properties"].items():
        inner, suffix = _struct(schema)
        if inner:
            yield from _sections(defs, inner, f"{path}.{field}{suffix}", names)


def _struct(schema: Schema) -> tuple[str, str]:
    """Name of the struct of a field, and ``[]`` if the field is a list of structs; empty for other types."""
    for choice in (schema, *schema.get("anyOf", ())):
        if "$ref" in choice:
            return choice["$ref"].rpartition("/")[2], ""
        if "$ref" in (choice.get("items") or {}):
            return choice["items"]["$ref"].rpartition("/")[2], "[]"
    return "", ""


def _table(section: _Section, defs: dict[str, Schema], paths: dict[str, str]) -> str:
    head = [f"## {section.path}", "", _plain(section.schema["description"]), ""]
    required, fields = section.schema.get("required", ()), section.schema["properties"].items()
    if not fields:
        return "\n".join([*head[:2], f"{head[2]} It has no fields.", ""])
    # the controller writes the status: its fields have no defaults
    is_spec = section.path.startswith("spec")
    columns = ["field", "type", *(["default"] if is_spec else []), "description"]
    rows = [columns, ["---"] * len(columns)]
    for name, schema in fields:
        default = [_default(name, schema, required)] if is_spec else []
        rows.append([f"`{name}`", _type(schema, paths), *default, _what(schema, defs)])
    return "\n".join([*head, *(f"| {' | '.join(row)} |" for row in rows), ""])


def _type(schema: Schema, paths: dict[str, str]) -> str:
    inner, suffix = _struct(schema)
    if inner:
        path = paths[inner]
        anchor = "".join(char for char in path.lower() if char.isalnum())
        return f"{'list of ' if suffix else ''}[`{path.removesuffix('[]')}`](#{anchor})"
    own, *alternatives = [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]
    if alternatives:
        return "quantity"
    if "enum" in own:
        return "string"
    if own.get("pattern") == DURATION:
        return "duration"
    if own["type"] == "array":
        return f"list of {(own.get('items') or {}).get('type', 'object')}s"
    if own["type"] == "object":
        values = own.get("additionalProperties")
        if not values:
            return "object"
        return "map of quantities" if "anyOf" in values else f"map of {values.get('type', 'string')}s"
    return str(own["type"])


def _default(name: str, schema: Schema, required: Any) -> str:
    if name in required:
        return "required"
    default = schema.get("default")
    return (
        f"`{default if isinstance(default, str) else json.dumps(default)}`" if default not in (None, "", [], {}) else ""
    )


def _what(schema: Schema, defs: dict[str, Schema]) -> str:
    inner, _ = _struct(schema)
    description = schema.get("description") or defs.get(inner, {}).get("description", "")
    return " ".join([_plain(description), *_bounds(schema)]).replace("|", "\\|").strip()


def _bounds(schema: Schema) -> Iterator[str]:
    """Descriptions of the bounds of a value."""
    if "enum" in schema:
        yield f"One of {', '.join(f'`{value}`' for value in schema['enum'])}."
    if "minimum" in schema and "maximum" in schema:
        yield f"{schema['minimum']} to {schema['maximum']}."
    if "maxLength" in schema and schema.get("pattern") != DURATION:
        yield f"At most {schema['maxLength']} characters."
    if "maxItems" in schema:
        yield f"At most {schema['maxItems']}."
    for own in (schema, schema.get("items") or {}):
        if "pattern" in own and own["pattern"] != DURATION:
            words = PATTERNS[own["pattern"]].replace("*", "\\*")
            yield f"Each is {words}." if own is not schema else f"{words[0].upper()}{words[1:]}."


def _rules() -> str:
    """The table of the rules that span fields."""
    rows = [f"| `{own.path}` | {own.message} |" for own in RULES]
    head = ["## Rules that span fields", "", "The API server rejects a spec that breaks one of these rules.", ""]
    return "\n".join([*head, "| field | rule |", "|---|---|", *rows, ""])


def _plain(text: str) -> str:
    """A description as one paragraph of Markdown."""
    text = " ".join(text.split()).replace("``", "`")
    return text if not text or text.endswith(".") else f"{text}."


if __name__ == "__main__":
    print(write_reference(), end="")
