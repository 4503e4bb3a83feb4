"""Writes the status of a rollout, and events about its changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tandem_rollout.api.status import RolloutStatus
from tandem_rollout.controller.interface import Cluster


class Reporter:
    """Writes the status of one rollout when it changes.

    Args:
        cluster: The cluster.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._written: tuple[str, RolloutStatus] | None = None

    def before(self, manifest: Mapping[str, Any]) -> RolloutStatus:
        """The previous status of a rollout, even if the cache does not have the last write yet."""
        if self._written and self._written[0] == manifest["metadata"].get("resourceVersion"):
            return self._written[1]
        return _status(manifest)

    async def report(self, manifest: Mapping[str, Any], status: RolloutStatus) -> None:
        """Write a status if it has changed, and record events about the changes.

        Raises:
            WriteError: The status cannot be written.
        """
        before = self.before(manifest)
        # a write would be a watch event, and so cause another pass
        if status == before:
            return
        metadata = manifest["metadata"]
        await self._cluster.set_status(metadata["namespace"], metadata["name"], msgspec.to_builtins(status))
        self._written = metadata.get("resourceVersion", ""), status
        for reason, message, warning in news(before, status):
            await self._cluster.tell(manifest, reason, message, warning=warning)


def news(before: RolloutStatus, status: RolloutStatus) -> list[tuple[str, str, bool]]:
    """Events between two statuses: reason, message, and whether it is a warning."""
    events = []
    if status.weights != before.weights:
        events.append(("WeightsSet", f"weights are {status.weights or 'none'}", False))
    earlier = {(entry.inference_service, entry.phase, entry.reason, entry.message) for entry in before.variants}
    for entry in status.variants:
        if (entry.inference_service, entry.phase, entry.reason, entry.message) not in earlier:
            message = f"{entry.inference_service}: {entry.message or entry.phase.lower()}"
            events.append((entry.phase, message, entry.phase == "Rejected"))
    invalid = any(entry.type == "Valid" and entry.status == "False" for entry in status.conditions)
    if status.reason and (status.reason, status.message) != (before.reason, before.message):
        if invalid:
            events.append(("Invalid", status.message, True))
        # the event of the variant has the same reason already
        elif status.reason not in {entry.reason for entry in status.variants}:
            events.append(("Waiting", status.message, True))
    return events


def _status(manifest: Mapping[str, Any]) -> RolloutStatus:
    try:
        return msgspec.convert(manifest.get("status") or {}, RolloutStatus)
    except msgspec.ValidationError:  # written by another version
        return RolloutStatus()
