"""The version of a registry with which a local stack begins."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tandem import TandemError
from tandem_cli.local import LocalVariant
from tandem_cli.local.following import version_number
from tandem_cli.local.manifest import rollout_name
from tandem_cli.local.runner import free_name
from tandem_cli.local.status import interrupt, serving_variant
from tandem_cli.rollout.targets.stack_files import StackFiles
from tandem_rollout.api.status import RegistryStatus, RolloutStatus

if TYPE_CHECKING:
    from tandem_offline.registry import ModelVersion, Reference, Registry


@dataclass(frozen=True, kw_only=True)
class RegisteredStart:
    """What a stack begins with.

    Attributes:
        variant: The version, which gets all the traffic.
        status: The status from which its rollout goes on; None if it follows no alias.
    """

    variant: LocalVariant
    status: RolloutStatus | None = None


def choose_start(registry: Registry, reference: Reference, *, directory: Path, resume: bool) -> RegisteredStart:
    """The version with which a stack begins.

    That is the version that the reference names. A stack that follows an alias begins with the version that the last
    stack of this alias served, so that an alias that has moved meanwhile starts a rollout too.

    Args:
        registry: The registry.
        reference: The version, or the alias to follow.
        directory: Where bundles are downloaded to.
        resume: Whether to go on from the last stack.

    Raises:
        RegistryError: if the registry has no such version.
        BundleError: if the version is damaged.
    """
    version = registry.resolve(reference)
    if not version.digest:
        raise TandemError(f"{version.reference} is no bundle; `tandem register` registers bundles")
    if reference.alias is None:
        return RegisteredStart(variant=_variant(registry, version, directory))
    previous = _previous_status(registry, reference) if resume else None
    serving = _still_registered(registry, reference, previous) if previous is not None else None
    if previous is None or serving is None:
        previous, serving = RolloutStatus(registry=RegistryStatus()), version
    status = interrupt(previous, time.time())
    followed = msgspec.structs.replace(
        status.registry or RegistryStatus(),
        uri=registry.uri,
        model=reference.name,
        alias=reference.alias,
        # if the alias names another one, it has moved
        version=serving.number,
        digest=serving.digest,
        command="",
        reason="",
        message="",
    )
    variant = _variant(registry, serving, directory)
    return RegisteredStart(variant=variant, status=msgspec.structs.replace(status, registry=followed))


def _variant(registry: Registry, version: ModelVersion, directory: Path) -> LocalVariant:
    return LocalVariant(str(version.number), registry.download(version, directory), 100)


def _previous_status(registry: Registry, reference: Reference) -> RolloutStatus | None:
    """The status of the last stack that followed an alias; None if there was none."""
    rollout = StackFiles(free_name(rollout_name(reference.name))).rollout() or {}
    try:
        status = msgspec.convert(rollout.get("status"), RolloutStatus)
    # another version of this program may have written it
    except msgspec.ValidationError:
        return None
    alias = (registry.uri, reference.name, reference.alias)
    followed = status.registry
    return status if followed is not None and (followed.uri, followed.model, followed.alias) == alias else None


def _still_registered(registry: Registry, reference: Reference, status: RolloutStatus) -> ModelVersion | None:
    """The version that the last stack served; None if this registry does not have it."""
    from tandem_offline.registry import RegistryError

    name = serving_variant(status)
    number = version_number(name)
    digest = next((variant.digest for variant in status.variants if variant.name == name), "")
    if number is None or not digest:
        return None
    try:
        version = registry.resolve(msgspec.structs.replace(reference, number=number, alias=None))
    except RegistryError:
        return None
    # another registry may have been made in the same place
    return version if version.digest == digest else None
