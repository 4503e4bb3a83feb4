"""The document of ``tandem rollout explain``."""

from __future__ import annotations

from typing import Literal

from tandem_cli.rollout.output.documents.base import SCHEMA, DocumentPart, Statement


class NextCommand(DocumentPart, frozen=True, kw_only=True):
    """A command that the rollout accepts in its present state.

    Attributes:
        command: The command line.
        effect: What the command does.
    """

    command: str
    effect: str


class ExplanationDocument(DocumentPart, frozen=True, kw_only=True):
    """``tandem rollout explain``.

    Attributes:
        name: Name of the rollout.
        namespace: Its namespace; empty on this machine.
        state: State of the run; null without a run.
        because: Why the rollout is in this state.
        waits_for: What must happen before the run proceeds.
        rule: The rule of this state.
        next: Commands that the rollout accepts now.
    """

    api_version: str = SCHEMA
    kind: Literal["RolloutExplanation"] = "RolloutExplanation"
    name: str
    namespace: str
    state: str | None
    because: list[Statement]
    waits_for: list[Statement]
    rule: str
    next: list[NextCommand]
