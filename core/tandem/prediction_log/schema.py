"""What a record of one version holds; the first thing in each segment."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from tandem.contract import Contract
from tandem.dtypes import FieldType
from tandem.errors import DefinitionError
from tandem.features import ViewUse
from tandem.signature import Signature, TensorSpec

FORMAT: Final = 1
"""Raised when older readers could not read what is written."""


class LogSchema(msgspec.Struct, frozen=True, kw_only=True):
    """Names and types of what one process writes.

    Attributes:
        writer: What the ids of its predictions begin with; each process has its own.
        model: Name of the model, as clients know it.
        version: The author's name for the version.
        digest: Digest of the bundle.
        host: Name of the machine or pod.
        request: Types of the request's fields.
        views: Types of the looked-up features, by use of a view.
        vectors: The model's input tensors; empty where vectors are not logged.
        answers: Types of the answer's fields, the prediction first.
        truth: Type of the values that feedback gives.
        traffic: How requests come to a version; records have the index.
        stages: Names of the stages whose seconds are recorded.
        redacted: Fields and features that are left out.
        format: The format of the segment.
    """

    writer: str
    model: str
    version: str
    digest: str
    host: str
    request: dict[str, FieldType]
    views: dict[str, dict[str, FieldType]]
    vectors: tuple[TensorSpec, ...]
    answers: dict[str, FieldType]
    truth: FieldType
    traffic: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    redacted: tuple[str, ...] = ()
    format: int = FORMAT


def log_schema(
    contract: Contract,
    views: Sequence[ViewUse],
    signature: Signature,
    *,
    redact: Collection[str] = (),
    vectors: bool = True,
    **attributes: str | tuple[str, ...],
) -> LogSchema:
    """The schema of one version's records.

    Args:
        contract: The deployment API.
        views: The feature views, as the model uses them.
        signature: The model's tensors.
        redact: What must not be written: fields of the request or of the answer by name, features as ``VIEW.FEATURE``,
            whole views by name. Vectors are computed from all of them, so with anything redacted none is written.
        vectors: Whether the model's input tensors are written.
        attributes: The other attributes of :class:`LogSchema`.

    Raises:
        DefinitionError: naming what is to be redacted and does not exist.
    """
    answers = {name: field.type for name, field in contract.answers.items()}
    request = {name: field.type for name, field in contract.inputs.items()}
    stored = {use.name: {feature.name: feature.type for feature in use.view.features} for use in views}
    names = {*answers, *request, *stored, *(f"{view}.{name}" for view, types in stored.items() for name in types)}
    if unknown := sorted(set(redact) - names):
        raise DefinitionError(f"cannot redact {', '.join(unknown)}; the model has {', '.join(sorted(names))}")
    return LogSchema(
        request=_without(request, redact),
        views={
            view: _without(types, [name.removeprefix(f"{view}.") for name in redact if name.startswith(f"{view}.")])
            for view, types in stored.items()
            if view not in redact
        },
        vectors=signature.inputs if vectors and not redact else (),
        answers=_without(answers, redact),
        truth=contract.prediction.type,
        redacted=tuple(sorted(redact)),
        **attributes,  # type: ignore[arg-type]
    )


def _without(types: Mapping[str, FieldType], names: Iterable[str]) -> dict[str, FieldType]:
    return {name: type_ for name, type_ in types.items() if name not in set(names)}
