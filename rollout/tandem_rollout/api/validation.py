"""Validation of the spec without an API server: the schema of the CRD is evaluated as the API server does it.

:mod:`msgspec` validates single fields with the structs from which the schema is generated. This module evaluates the
rest of the schema: the keys of lists and the CEL rules.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from tandem_rollout.api.fields import InvalidSpecError
from tandem_rollout.api.schema import Schema, spec_schema
from tandem_rollout.api.spec import RolloutSpec, Template

if TYPE_CHECKING:
    from cel_expr_python import cel


def check(spec: RolloutSpec) -> None:
    """Validate a spec.

    Raises:
        InvalidSpecError: The spec breaks a rule. The message names the field and the rule.
    """
    place = _spec_node()
    if place is not None:
        for path, message in _violations(_value(spec), place, "spec"):
            raise InvalidSpecError(f"{path}: {message}")
    _check_template("spec.template", spec.template)
    for index, variant in enumerate(spec.variants):
        _check_template(f"spec.variants[{index}].template", variant.template)


@dataclass(frozen=True, slots=True)
class _Validation:
    """A CEL rule of the schema. ``field`` is the relative path of the invalid field: empty, or with a leading dot."""

    expression: str
    message: str
    field: str


@dataclass(frozen=True, slots=True)
class _SchemaNode:
    """A node of the schema with its rules and those below it."""

    validations: tuple[_Validation, ...]
    keys: tuple[str, ...]
    properties: Mapping[str, _SchemaNode]
    items: _SchemaNode | None


@functools.cache
def _spec_node() -> _SchemaNode | None:
    return _schema_node(spec_schema())


def _schema_node(schema: Schema) -> _SchemaNode | None:
    """The node of a schema; None if it has no rules."""
    validations = tuple(
        _Validation(own["rule"], own["message"], own.get("fieldPath", ""))
        for own in schema.get("x-kubernetes-validations", ())
    )
    keys = tuple(schema.get("x-kubernetes-list-map-keys", ()))
    places = {name: _schema_node(own) for name, own in schema.get("properties", {}).items()}
    properties = {name: place for name, place in places.items() if place is not None}
    items = _schema_node(schema["items"]) if "items" in schema else None
    return _SchemaNode(validations, keys, properties, items) if validations or keys or properties or items else None


def _violations(value: Any, place: _SchemaNode, path: str) -> Iterator[tuple[str, str]]:
    """Broken rules, each with the path of the invalid field."""
    if place.validations:
        activation = _environment().Activation({"self": value})
        for own in place.validations:
            # an evaluation error is not True either
            if _program(own.expression).eval(activation).value() is not True:
                yield path + own.field, own.message
    if isinstance(value, list):
        yield from _duplicates(value, place.keys, path)
        if place.items is not None:
            for index, element in enumerate(value):
                yield from _violations(element, place.items, f"{path}[{index}]")
    elif isinstance(value, dict):
        for name, inner in place.properties.items():
            if name in value:
                yield from _violations(value[name], inner, f"{path}.{name}")


def _duplicates(elements: list[Any], keys: tuple[str, ...], path: str) -> Iterator[tuple[str, str]]:
    """Elements of a list with the same keys as an earlier one."""
    if not keys:
        return
    earlier = set()
    for index, element in enumerate(elements):
        key = tuple(element[name] for name in keys)
        if key in earlier:
            yield f"{path}[{index}].{keys[0]}", f"duplicate value {key[0]!r}"
        earlier.add(key)


def _value(own: Any) -> Any:
    """A struct as the API server has it when it evaluates rules: with defaults, and without null."""
    if isinstance(own, msgspec.Struct):
        fields = zip(own.__struct_encode_fields__, msgspec.structs.astuple(own), strict=True)
        return {name: _value(value) for name, value in fields if value is not None}
    return [_value(element) for element in own] if isinstance(own, list | tuple) else own


@functools.cache
def _environment() -> cel.Env:
    # imported late, as it imports protobuf, which is slow and which most commands do not need
    from cel_expr_python import cel

    return cel.NewEnv(variables={"self": cel.Type.DYN})


@functools.cache
def _program(expression: str) -> cel.Expression:
    # without type checking, which takes ten times as long: all types are dynamic, and the tests check the rules
    return _environment().compile(expression, disable_check=True)


def _check_template(path: str, template: Template | None) -> None:
    """Validate the structure of overrides. The API server validates their content with the InferenceService."""
    if template is None:
        return
    for name in ("labels", "annotations"):
        own = template.metadata.get(name) or {}
        if not isinstance(own, dict) or not all(isinstance(value, str | None) for value in own.values()):
            raise InvalidSpecError(f"{path}.metadata.{name}: must be a map of strings")
    for component in ("transformer", "predictor"):
        own = template.spec.get(component, {})
        if not isinstance(own, dict):
            raise InvalidSpecError(f"{path}.spec.{component}: must be a map")
        for name in ("containers", "initContainers"):
            if not _are_named(own.get(name) or []):
                raise InvalidSpecError(f"{path}.spec.{component}.{name}: must be a list of containers with names")


def _are_named(containers: Any) -> bool:
    return isinstance(containers, list) and all(
        isinstance(container, dict) and isinstance(container.get("name"), str) for container in containers
    )
