"""Names that others already have: what is not ours is neither written to nor named in a policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tandem_rollout.controller.applied import Applied
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
    names = [each["metadata"]["name"] for each in objects if each["kind"] == _ROUTE]
    names += [target["name"] for each in objects for target in _targets(each)]
    conflicts: dict[str, WriteError] = {}
    for name in dict.fromkeys(names):
        metadata = {"name": name, "namespace": namespace, "ownerReferences": [owner]}
        try:
            await applied.check_name({"kind": _ROUTE, "metadata": metadata})
        except NameConflictError as error:
            conflicts[name] = error
    return [each for each in objects if _is_left(each, conflicts)], list(conflicts.values())


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
    return next((each for each in errors if isinstance(each, NameConflictError)), errors[0])


def _is_left(made: Object, conflicts: Mapping[str, WriteError]) -> bool:
    """Whether an object may be applied. From a policy the names that others have are taken out."""
    if made["kind"] == _ROUTE:
        return made["metadata"]["name"] not in conflicts
    foreign = [each for each in _targets(made) if each["name"] in conflicts]
    if foreign:
        made["spec"]["targetRefs"] = [each for each in made["spec"]["targetRefs"] if each not in foreign]
    return not foreign or bool(made["spec"]["targetRefs"])


def _targets(made: Object) -> list[dict[str, Any]]:
    """Routes that a policy is about."""
    return [each for each in (made.get("spec") or {}).get("targetRefs") or () if each["kind"] == _ROUTE]
