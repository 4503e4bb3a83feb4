"""Names that others already have: what is not ours is neither written to nor named in a policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tandem_rollout.controller.apply import Applied
from tandem_rollout.controller.interface import NameConflictError, WriteError
from tandem_rollout.render import Object

_ROUTE = "HTTPRoute"


async def with_free_names(
    applied: Applied, objects: Sequence[Object], namespace: str, owner: Mapping[str, Any]
) -> tuple[list[Object], list[WriteError]]:
    """The objects that may be applied: without routes whose names others have, and without policies about those.

    Args:
        applied: Knows what has been applied.
        objects: Routes, and policies that name routes.
        namespace: Their namespace.
        owner: Owner reference of the objects.

    Returns:
        The objects that are left, and one error for each name that another one has.

    Raises:
        WriteError: if the API server does not answer.
    """
    names = [rendered["metadata"]["name"] for rendered in objects if rendered["kind"] == _ROUTE]
    names += [target["name"] for rendered in objects for target in _targets(rendered)]
    conflicts: dict[str, WriteError] = {}
    for name in dict.fromkeys(names):
        metadata = {"name": name, "namespace": namespace, "ownerReferences": [owner]}
        try:
            await applied.check_name({"kind": _ROUTE, "metadata": metadata})
        except NameConflictError as error:
            conflicts[name] = error
    return [rendered for rendered in objects if _is_left(rendered, conflicts)], list(conflicts.values())


def owner_reference(api_version: str, kind: str, name: str, uid: str) -> dict[str, Any]:
    """The owner reference of an object that its owner controls.

    Args:
        api_version: Of the owner.
        kind: Of the owner.
        name: Of the owner.
        uid: Of the owner.
    """
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def first_error(errors: Sequence[WriteError]) -> WriteError:
    """The error to report: a name that another one has does not pass by itself."""
    return next((error for error in errors if isinstance(error, NameConflictError)), errors[0])


def _is_left(rendered: Object, conflicts: Mapping[str, WriteError]) -> bool:
    """Whether an object may be applied. From a policy the names that others have are taken out."""
    if rendered["kind"] == _ROUTE:
        return rendered["metadata"]["name"] not in conflicts
    foreign = [target for target in _targets(rendered) if target["name"] in conflicts]
    if foreign:
        rendered["spec"]["targetRefs"] = [target for target in rendered["spec"]["targetRefs"] if target not in foreign]
    return not foreign or bool(rendered["spec"]["targetRefs"])


def _targets(rendered: Object) -> list[dict[str, Any]]:
    """Routes that a policy is about."""
    return [target for target in (rendered.get("spec") or {}).get("targetRefs") or () if target["kind"] == _ROUTE]
