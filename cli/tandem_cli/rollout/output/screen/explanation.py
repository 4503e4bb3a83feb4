"""The output of ``tandem rollout explain``."""

from __future__ import annotations

from rich.console import RenderableType
from rich.text import Text

from tandem_cli.rollout.output.documents.explanation import ExplanationDocument
from tandem_cli.rollout.output.screen.layout import build_facts, styled


def render_explanation(explanation: ExplanationDocument) -> RenderableType:
    """The state of a rollout, its reasons, and the commands that it accepts."""
    facts = build_facts()
    facts.add_row("state", styled(explanation.state or "no run", "bold"))
    for title, statements in (("because", explanation.because), ("waits for", explanation.waits_for)):
        for index, statement in enumerate(statements):
            facts.add_row("" if index else title, Text(statement.message))
    if explanation.rule:
        facts.add_row("rule", Text(explanation.rule))
    for index, command in enumerate(explanation.next):
        facts.add_row("" if index else "next", Text(command.command, "bold").append(f"  {command.effect}", "default"))
    return facts
