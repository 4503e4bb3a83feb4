"""Storage of the evidence of runs in RolloutEvidences, which only the controller may write."""

from __future__ import annotations

import base64
import binascii
import logging
from collections.abc import Mapping
from typing import Any

from tandem_rollout import API_VERSION, EVIDENCE_KIND
from tandem_rollout.analysis.packing import pack, unpack
from tandem_rollout.analysis.record import Record
from tandem_rollout.api.spec import Rollout
from tandem_rollout.controller.interface import Cluster, WriteError
from tandem_rollout.controller.objects import owned
from tandem_rollout.render import Object
from tandem_rollout.render.revision import rollout_labels

logger = logging.getLogger(__name__)


def name_of(rollout: str, run: int) -> str:
    """Name of the RolloutEvidence of a run."""
    return f"{rollout}.run-{run}"


def record_of(evidence: Mapping[str, Any]) -> Record | None:
    """The record of a RolloutEvidence; None if it is damaged or has another schema."""
    try:
        return unpack(base64.b64decode((evidence.get("spec") or {}).get("record", "")))
    except (binascii.Error, TypeError):
        return None


class Records:
    """The records of one rollout.

    Args:
        cluster: The cluster.
        rollout: The rollout.
        owner: Owner reference of the objects.
    """

    def __init__(self, cluster: Cluster, rollout: Rollout, owner: dict[str, Any]) -> None:
        self._cluster = cluster
        self._rollout = rollout
        self._owner = owner
        self._uids: dict[int, str] = {}

    async def load(self, run: int) -> Record | None:
        """The record of a run; None if this rollout has none that is valid."""
        evidence = await self._cluster.evidence(self._rollout.namespace, name_of(self._rollout.name, run))
        # a rollout that was created again under this name does not continue from the evidence of the deleted one
        if evidence is None or not owned(evidence, self._rollout.uid):
            return None
        return record_of(evidence)

    async def keep(self, record: Record) -> None:
        """Store a record. After a failed write the next record contains the same evidence."""
        evidence: Object = {
            "apiVersion": API_VERSION,
            "kind": EVIDENCE_KIND,
            "metadata": {
                "name": name_of(self._rollout.name, record.run),
                "namespace": self._rollout.namespace,
                "labels": rollout_labels(self._rollout),
                "ownerReferences": [self._owner],
            },
            "spec": {"record": base64.b64encode(pack(record)).decode()},
        }
        try:
            applied = await self._cluster.apply(evidence, uid=self._uids.get(record.run, ""))
        except WriteError as error:
            logger.warning("evidence of %s in %s: %s", self._rollout.name, self._rollout.namespace, error)
        else:
            self._uids = {record.run: applied["metadata"]["uid"]}
