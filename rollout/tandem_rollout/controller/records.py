"""Evidence of runs, kept in ConfigMaps: apart from the status, which everybody reads."""

from __future__ import annotations

import base64
import gzip
import logging
import zlib
from typing import Any, Final, Protocol

import msgspec

from tandem_rollout.analysis.record import Record
from tandem_rollout.controller.interface import WriteError
from tandem_rollout.render import Object
from tandem_rollout.revision import rollout_labels
from tandem_rollout.spec import Rollout

logger = logging.getLogger(__name__)

KEY: Final = "record.json.gz"
"""Key of the ConfigMap: gzip of the record as JSON."""


class Store(Protocol):
    """What keeps ConfigMaps."""

    async def config_map(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A ConfigMap."""
        ...

    async def apply(self, made: Object) -> dict[str, Any]:
        """Make an object as rendered."""
        ...


def name_of(rollout: str, run: int) -> str:
    """Name of the ConfigMap of a run; no rollout can be called so."""
    return f"{rollout}.run-{run}"


def packed(record: Record) -> str:
    """A record as it stands in a ConfigMap. The same record is always the same text."""
    return base64.b64encode(gzip.compress(msgspec.json.encode(record), mtime=0)).decode()


def unpacked(text: str) -> Record | None:
    """The record of a ConfigMap; None where it is of another version of this program, or damaged."""
    try:
        return msgspec.json.decode(gzip.decompress(base64.b64decode(text)), type=Record)
    except (ValueError, OSError, EOFError, zlib.error, msgspec.MsgspecError):
        return None


class Records:
    """The records of one rollout.

    Args:
        store: What keeps ConfigMaps.
        rollout: The rollout.
        owner: Owner reference of the ConfigMaps.
    """

    def __init__(self, store: Store, rollout: Rollout, owner: dict[str, Any]) -> None:
        self._store = store
        self._rollout = rollout
        self._owner = owner

    async def load(self, run: int) -> Record | None:
        """The record of a run; None where there is none that can be read."""
        found = await self._store.config_map(self._rollout.namespace, name_of(self._rollout.name, run))
        return unpacked(((found or {}).get("binaryData") or {}).get(KEY, ""))

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
            "binaryData": {KEY: packed(record)},
        }
        try:
            await self._store.apply(made)
        except WriteError as error:
            logger.warning("evidence of %s in %s: %s", self._rollout.name, self._rollout.namespace, error)
