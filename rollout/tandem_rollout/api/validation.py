"""The rules of the spec, for those who have no API server: the schema of the CRD, evaluated as the API server does it.

What a field is by itself, :mod:`msgspec` checks by the structs that the schema is made of. What is left are the keys of
lists and the rules in CEL. Nothing of it is written down a second time here.
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
    """Refuse a spec that breaks a rule.

    Raises:
        InvalidSpecError: naming the field and the rule.
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
    """A rule where it stands in the schema; ``field`` is a path from there that begins with a dot, or empty."""

    expression: str
    message: str
    field: str


@dataclass(frozen=True, slots=True)
class _SchemaNode:
    """A part of the schema with what is to be checked there and below."""

    validations: tuple[_Validation, ...]
    keys: tuple[str, ...]
    properties: Mapping[str, _SchemaNode]
    items: _SchemaNode | None


@functools.cache
def _spec_node() -> _SchemaNode | None:
    return _schema_node(spec_schema())


def _schema_node(schema: Schema) -> _SchemaNode | None:
    """The part of a schema that has rules; None where there are none."""
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
    """Broken rules, each with the path of the field that is at fault."""
    if place.validations:
        activation = _environment().Activation({"self": value})
        for own in place.validations:
            # what cannot be evaluated is an error, which is not true either
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
    """Elements of a list that have the keys of an earlier one."""
    if not keys:
        return
    earlier = set()
    for index, element in enumerate(elements):
        key = tuple(element[name] for name in keys)
        if key in earlier:
            yield f"{path}[{index}].{keys[0]}", f"duplicate value {key[0]!r}"
        earlier.add(key)


def _value(own: Any) -> Any:
    """A struct as the API server has it before it evaluates rules: with its defaults, and without what is null."""
    if isinstance(own, msgspec.Struct):
        fields = zip(own.__struct_encode_fields__, msgspec.structs.astuple(own), strict=True)
        return {name: _value(value) for name, value in fields if value is not None}
    return [_value(element) for element in own] if isinstance(own, list | tuple) else own


@functools.cache
def _environment() -> cel.Env:
    # imported late: where protobuf is installed it is imported as well, for which most commands need not wait
    from cel_expr_python import cel

    return cel.NewEnv(variables={"self": cel.Type.DYN})


@functools.cache
def _program(expression: str) -> cel.Expression:
    # types are not checked, which takes ten times as long: all is dynamic, and the tests check it
    return _environment().compile(expression, disable_check=True)


def _check_template(path: str, template: Template | None) -> None:
    """Refuse overrides that do not fit onto an InferenceService; what is in them is the API server's to judge."""
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
