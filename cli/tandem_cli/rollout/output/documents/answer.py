"""The document of the commands that are sent to a rollout: ``start``, ``promote``, ``pause`` and so on."""

from __future__ import annotations

from typing import Literal

from tandem_cli.rollout.output.documents.base import SCHEMA, DocumentPart


class AnswerDocument(DocumentPart, frozen=True, kw_only=True):
    """``start``, ``promote``, ``pause``, ``resume``, ``abort`` and ``rollback``.

    Attributes:
        name: Name of the rollout.
        namespace: Its namespace; empty on this machine.
        verb: The command.
        id: ID of the command.
        by: Who sent it.
        comment: Why, in that user's own words.
        accepted: Whether the rollout has accepted the command.
        result: Accepted or Rejected; null before the answer.
        reason: Why it was rejected, as a code; empty if it was not.
        message: The same in words.
        state: State of the run after the command; null if it is not known.
        exit_code: The exit code of the command.
    """

    api_version: str = SCHEMA
    kind: Literal["RolloutAnswer"] = "RolloutAnswer"
    name: str
    namespace: str
    verb: str
    id: str
    by: str
    comment: str
    accepted: bool
    result: str | None
    reason: str
    message: str
    state: str | None
    exit_code: int
