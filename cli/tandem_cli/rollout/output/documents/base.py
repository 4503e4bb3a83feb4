"""The parts that several documents have in common."""

from __future__ import annotations

from typing import Final

import msgspec

SCHEMA: Final = "cli.tandem-serving.io/v1"
"""``apiVersion`` of all documents."""


class DocumentPart(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A document, or a part of one."""


class RunVersion(DocumentPart, frozen=True, kw_only=True):
    """One of the two versions of a run.

    Attributes:
        service: Its InferenceService; on this machine, its variant.
        version: Version of its bundle; empty if it is not known.
    """

    service: str
    version: str


class Statement(DocumentPart, frozen=True, kw_only=True):
    """A fact about a rollout.

    Attributes:
        reason: The fact as a code.
        message: The same in words.
    """

    reason: str
    message: str


class CommandResult(DocumentPart, frozen=True, kw_only=True):
    """The last command that a run answered.

    Attributes:
        id: Its ID.
        verb: The command.
        by: Who sent it.
        result: Accepted or Rejected.
        reason: Why it was rejected, as a code; empty if it was accepted.
        message: The same in words.
    """

    id: str
    verb: str
    by: str
    result: str
    reason: str
    message: str
