"""Name conflicts: objects of other owners are neither written nor targeted by policies."""

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
    """The objects without name conflicts: without routes whose names are taken, and without policies about those.

    Args:
        applied: The applied objects.
        objects: Routes, and policies that name routes.
        namespace: Their namespace.
        owner: Owner reference of the objects.

    Returns:
        The remaining objects, and one error for each conflict.

    Raises:
        WriteError: The API server did not respond.
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
    """An owner reference with ``controller: true``.

    Args:
        api_version: API version of the owner.
        kind: Kind of the owner.
        name: Name of the owner.
        uid: The uid of the owner.
    """
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": True,
        # true requires the permission to update the owner's finalizers
        "blockOwnerDeletion": False,
    }


def first_error(errors: Sequence[WriteError]) -> WriteError:
    """The error to report: the first name conflict, which does not resolve itself, or else the first error."""
    return next((error for error in errors if isinstance(error, NameConflictError)), errors[0])


def _is_left(rendered: Object, conflicts: Mapping[str, WriteError]) -> bool:
    """Whether an object may be applied. Conflicting targets are removed from policies."""
    if rendered["kind"] == _ROUTE:
        return rendered["metadata"]["name"] not in conflicts
    foreign = [target for target in _targets(rendered) if target["name"] in conflicts]
    if foreign:
        rendered["spec"]["targetRefs"] = [target for target in rendered["spec"]["targetRefs"] if target not in foreign]
    return not foreign or bool(rendered["spec"]["targetRefs"])


def _targets(rendered: Object) -> list[dict[str, Any]]:
    """Routes that a policy targets."""
    return [target for target in (rendered.get("spec") or {}).get("targetRefs") or () if target["kind"] == _ROUTE]
