"""Parsing the manifest of a rollout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tandem_rollout.api.fields import InvalidSpecError, RolloutName
from tandem_rollout.api.messages import rule, spec_message
from tandem_rollout.api.spec import Rollout, RolloutSpec
from tandem_rollout.api.validation import check


def parse(manifest: Mapping[str, Any]) -> Rollout:
    """Parse and validate the manifest of a rollout.

    Args:
        manifest: The manifest, as YAML or the API server has it.

    Raises:
        InvalidSpecError: The manifest is invalid. The message names the field and the rule.
    """
    metadata = manifest.get("metadata") or {}
    if not isinstance(metadata, Mapping):
        raise InvalidSpecError("metadata: must be a map")
    if not isinstance(metadata.get("namespace") or "", str):
        raise InvalidSpecError("metadata.namespace: must be a string")
    name = metadata.get("name") or ""
    try:
        msgspec.convert(name, RolloutName)
    except msgspec.ValidationError:
        raise InvalidSpecError(f"metadata.name: must be {rule(msgspec.json.schema(RolloutName))}") from None
    try:
        spec = msgspec.convert(manifest.get("spec") or {}, RolloutSpec)
    except msgspec.ValidationError as error:
        # from None: the message of msgspec may contain the value, which may be a password
        raise InvalidSpecError(spec_message(error, manifest.get("spec") or {})) from None
    check(spec)
    return Rollout(
        name, metadata.get("namespace") or "default", spec, metadata.get("uid", ""), metadata.get("generation", 0)
    )
