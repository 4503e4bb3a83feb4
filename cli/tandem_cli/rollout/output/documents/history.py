"""The document of ``tandem rollout history``."""

from __future__ import annotations

from typing import Literal

from tandem_cli.rollout.output.documents.base import SCHEMA, DocumentPart, RunVersion


class HistoryEntry(DocumentPart, frozen=True, kw_only=True):
    """A run of the history.

    Attributes:
        number: Number of the run.
        outcome: How it ended; its state if it has not ended.
        stable: The version that served before the run.
        canary: The version that was to replace it.
        started: When it began.
        ended: When it ended; null if it has not ended.
        seconds: How long it took; null if it has not ended.
        reason: Why it ended so, as a code.
        message: The same in words.
        by: Who caused it; empty for the controller.
        started_by: Who started it; empty if a change of the spec did.
        start_comment: Why it was started, in that user's own words.
    """

    number: int
    outcome: str
    stable: RunVersion
    canary: RunVersion
    started: str
    ended: str | None
    seconds: float | None
    reason: str
    message: str
    by: str
    started_by: str
    start_comment: str


class HistoryDocument(DocumentPart, frozen=True, kw_only=True):
    """``tandem rollout history``.

    Attributes:
        name: Name of the rollout.
        namespace: Its namespace; empty on this machine.
        runs: Its runs, the latest first.
    """

    api_version: str = SCHEMA
    kind: Literal["RolloutHistory"] = "RolloutHistory"
    name: str
    namespace: str
    runs: list[HistoryEntry]
