"""Evidence of runs, kept in ConfigMaps: apart from the status, which everybody reads."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Mapping
from typing import Any, Final

from tandem_rollout.analysis.packing import pack, unpack
from tandem_rollout.analysis.record import Record
from tandem_rollout.controller.interface import Cluster, WriteError
from tandem_rollout.render import Object
from tandem_rollout.revision import rollout_labels
from tandem_rollout.spec import Rollout

logger = logging.getLogger(__name__)

KEY: Final = "record.json.gz"
"""Key of the ConfigMap: gzip of the record as JSON."""


def name_of(rollout: str, run: int) -> str:
    """Name of the ConfigMap of a run; no rollout can be called so."""
    return f"{rollout}.run-{run}"


def record_of(binary_data: Mapping[str, str] | None) -> Record | None:
    """The record of a ConfigMap; None where it is of another version of this program, or damaged."""
    try:
        return unpack(base64.b64decode((binary_data or {}).get(KEY, "")))
    except binascii.Error:
        return None


class Records:
    """The records of one rollout.

    Args:
        cluster: The cluster.
        rollout: The rollout.
        owner: Owner reference of the ConfigMaps.
    """

    def __init__(self, cluster: Cluster, rollout: Rollout, owner: dict[str, Any]) -> None:
        self._cluster = cluster
        self._rollout = rollout
        self._owner = owner

    async def load(self, run: int) -> Record | None:
        """The record of a run; None where there is none that can be read."""
        found = await self._cluster.config_map(self._rollout.namespace, name_of(self._rollout.name, run))
        return record_of((found or {}).get("binaryData"))

    async def keep(self, record: Record) -> None:
        """Keep a record. What the API server does not take now is in the next one as well."""
        made: Object = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name_of(self._rollout.name, record.run),
                "namespace": self._rollout.namespace,
                "labels": rollout_labels(self._rollout),
                "ownerReferences": [self._owner],
            },
            "binaryData": {KEY: base64.b64encode(pack(record)).decode()},
        }
        try:
            await self._cluster.apply(made)
        except WriteError as error:
            logger.warning("evidence of %s in %s: %s", self._rollout.name, self._rollout.namespace, error)
