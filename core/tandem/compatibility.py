"""What may change between two versions of a deployment API, and what a client would notice."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from tandem.contract import Contract
from tandem.dtypes import FieldType, array_length, element_type, is_ragged
from tandem.fields import Field


class ContractChange(msgspec.Struct, frozen=True):
    """One difference between the contracts of two versions.

    Attributes:
        field: Name of the field, or ``model``.
        breaking: Whether a client of the old version can notice.
        what: The difference in words.
    """

    field: str
    breaking: bool
    what: str


def compare(old: Contract, new: Contract) -> list[ContractChange]:
    """Differences from ``old`` to ``new``, field by field, as a client of the old version meets them."""
    changes = []
    if old.model != new.model:
        changes.append(ContractChange("model", True, f"renamed from {old.model} to {new.model}"))
    changes += _compare_inputs(old.inputs, new.inputs)
    changes += _compare_answers(old.answers, new.answers)
    changes += _compare_classes(old, new)
    # no client sees the buckets, but a rollout cannot compare predictions that fall into other ones
    if old.prediction.buckets != new.prediction.buckets:
        description = "histogram buckets changed: predictions of the two versions cannot be compared"
        changes.append(ContractChange(old.prediction.name, False, description))
    return changes


def _compare_inputs(old: Mapping[str, Field], new: Mapping[str, Field]) -> list[ContractChange]:
    changes = [
        ContractChange(name, True, "removed: requests that have it are refused") for name in old if name not in new
    ]
    for name, field in new.items():
        if name not in old:
            changes.append(
                ContractChange(name, field.required, "added, required" if field.required else "added, may be left out")
            )
            continue
        before = old[name]
        if before.type != field.type:
            widened = _takes_all(before.type, field.type)
            changes.append(ContractChange(name, not widened, f"type changed from {before.type} to {field.type}"))
        # the same number then means something else, and nothing would fail
        if before.unit != field.unit:
            changes.append(
                ContractChange(name, True, f"unit changed from {before.unit or 'none'} to {field.unit or 'none'}")
            )
        if before.required != field.required:
            changes.append(
                ContractChange(name, field.required, "now required" if field.required else "may now be left out")
            )
        elif before.default != field.default:
            changes.append(ContractChange(name, False, f"default changed from {before.default!r} to {field.default!r}"))
        changes += _compare_ranges(name, before, field)
        changes += _compare_sizes(name, before, field)
        changes += _compare_enums(name, before, field)
    return changes


_WIDER = {("int64", "float64"), ("int64", "float32"), ("float32", "float64")}
"""Types of numbers, and those that take all that they take: a whole number is a number in JSON too."""


def _takes_all(old: FieldType, new: FieldType) -> bool:
    """Whether a field of the new type takes every value that one of the old type takes."""
    numbers = (element_type(old), element_type(new))
    old_length, new_length = array_length(old), array_length(new)
    if old_length is None or new_length is None:
        return (old, new) in _WIDER
    fits = new_length >= old_length if is_ragged(new) else new_length == old_length and not is_ragged(old)
    return fits and (numbers[0] == numbers[1] or numbers in _WIDER)


def _compare_sizes(name: str, old: Field, new: Field) -> list[ContractChange]:
    if old.max_bytes == new.max_bytes:
        return []
    narrowed = (new.max_bytes or math.inf) < (old.max_bytes or math.inf)
    return [ContractChange(name, narrowed, f"largest size {'narrowed' if narrowed else 'widened'}")]


def _compare_ranges(name: str, old: Field, new: Field) -> list[ContractChange]:
    changes = []
    for side, old_edge, new_edge in (("lower", _lower(old), _lower(new)), ("upper", _upper(old), _upper(new))):
        if old_edge != new_edge:
            narrowed = new_edge > old_edge
            changes.append(ContractChange(name, narrowed, f"{side} bound {'narrowed' if narrowed else 'widened'}"))
    return changes


def _compare_enums(name: str, old: Field, new: Field) -> list[ContractChange]:
    if old.enum == new.enum:
        return []
    if new.enum is None:
        return [ContractChange(name, False, "any value is allowed now")]
    if old.enum is None:
        return [ContractChange(name, True, f"only {', '.join(map(str, new.enum))} allowed now")]
    gone = [str(value) for value in old.enum if value not in new.enum]
    came = [str(value) for value in new.enum if value not in old.enum]
    changes = [ContractChange(name, True, f"no longer allowed: {', '.join(gone)}")] if gone else []
    return changes + ([ContractChange(name, False, f"also allowed: {', '.join(came)}")] if came else [])


def _compare_answers(old: Mapping[str, Field], new: Mapping[str, Field]) -> list[ContractChange]:
    changes = [ContractChange(name, True, "removed from answers") for name in old if name not in new]
    changes += [ContractChange(name, False, "added to answers") for name in new if name not in old]
    for name in old.keys() & new.keys():
        if old[name].type != new[name].type:
            changes.append(
                ContractChange(name, True, f"type in answers changed from {old[name].type} to {new[name].type}")
            )
        if old[name].unit != new[name].unit:
            changes.append(
                ContractChange(
                    name, True, f"unit in answers changed from {old[name].unit or 'none'} to {new[name].unit or 'none'}"
                )
            )
    return sorted(changes, key=lambda change: change.field)


def _compare_classes(old: Contract, new: Contract) -> list[ContractChange]:
    return [
        ContractChange(name, True, "classes in answers changed")
        for name in old.answers.keys() & new.answers.keys()
        if old.classes.get(name) != new.classes.get(name) and old.answers[name].type == new.answers[name].type
    ]


def _lower(field: Field) -> tuple[float, bool]:
    """Lower edge as something that grows as the range narrows; the flag tells whether the edge itself is excluded."""
    edges = [(float(field.ge), False)] if field.ge is not None else []
    edges += [(float(field.gt), True)] if field.gt is not None else []
    return max(edges, default=(-math.inf, False))


def _upper(field: Field) -> tuple[float, bool]:
    """Upper edge, mirrored so that it too grows as the range narrows."""
    edges = [(-float(field.le), False)] if field.le is not None else []
    edges += [(-float(field.lt), True)] if field.lt is not None else []
    return max(edges, default=(-math.inf, False))
