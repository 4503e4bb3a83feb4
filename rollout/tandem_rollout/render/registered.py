"""The bundle of a rollout that follows an alias of a registry."""

from __future__ import annotations

from typing import Final

import msgspec

from tandem_rollout.api.fields import InvalidSpecError
from tandem_rollout.api.pods import BundleSource
from tandem_rollout.api.spec import Rollout
from tandem_rollout.api.status import RegistryStatus

_PLACEHOLDERS: Final = ("{version}", "{digest}")


def check_registered(rollout: Rollout) -> None:
    """Check that the bundle of a rollout that follows an alias depends on the version.

    Raises:
        InvalidSpecError: It does not, or the spec sets what the registry sets.
    """
    bundle = rollout.spec.bundle
    if rollout.spec.registry is None or bundle is None:
        return
    path = bundle.pvc.path if bundle.pvc is not None else ""
    if not any(placeholder in text for text in (bundle.image, bundle.uri, path) for placeholder in _PLACEHOLDERS):
        raise InvalidSpecError(
            "spec.bundle: image, uri or pvc.path must contain {version} or {digest}, as spec.registry is set"
        )
    for name in ("version", "digest"):
        if getattr(bundle, name):
            raise InvalidSpecError(f"spec.bundle.{name}: must not be set, as spec.registry is set")


def with_registered_bundle(rollout: Rollout, registry: RegistryStatus) -> Rollout:
    """The rollout with the bundle of the version that the alias named when it was read last.

    Args:
        rollout: The rollout; unchanged if it follows no alias.
        registry: The status of its registry, with a version and the digest of its bundle.
    """
    bundle = rollout.spec.bundle
    if rollout.spec.registry is None or bundle is None:
        return rollout
    pvc = bundle.pvc
    resolved = msgspec.structs.replace(
        bundle,
        image=_fill(bundle.image, registry),
        uri=_fill(bundle.uri, registry),
        pvc=None if pvc is None else msgspec.structs.replace(pvc, path=_fill(pvc.path, registry)),
        # pods reject another bundle, whatever the image contains
        digest=registry.digest,
    )
    return _with_bundle(rollout, resolved)


def _fill(text: str, registry: RegistryStatus) -> str:
    return text.replace("{version}", str(registry.version)).replace("{digest}", registry.digest)


def _with_bundle(rollout: Rollout, bundle: BundleSource) -> Rollout:
    return msgspec.structs.replace(rollout, spec=msgspec.structs.replace(rollout.spec, bundle=bundle))
