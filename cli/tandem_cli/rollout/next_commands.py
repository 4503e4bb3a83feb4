"""The commands that a rollout accepts in its present state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tandem_cli.rollout.output.documents.explanation import NextCommand
from tandem_cli.rollout.snapshot import RolloutSnapshot
from tandem_cli.rollout.wait_conditions import READY_REASONS
from tandem_rollout.api.fields import seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFacts:
    """What is known of the target of a rollout.

    Attributes:
        options: Options of the command line that select the target.
        is_alive: Whether a process executes commands there.
        desired: The revision that the spec desires; empty if it is not known.
    """

    options: str = ""
    is_alive: bool = True
    desired: str = ""


_EFFECTS: Final = {
    "watch": "shows its progress",
    "abort": "gives all requests back to stable",
    "pause": "keeps the weights as they are",
    "resume": "continues the run",
    "promote": "promotes the canary without evidence",
    "start": "tries this version again",
    "report": "writes the evidence of the run",
    "plan": "shows what another version would take",
    "rollback": "gives all requests back to the previous version",
}

_BY_STATE: Final = {
    "Preparing": ["watch", "abort"],
    "Analyzing": ["watch", "pause", "abort", "promote"],
    "Scaling": ["watch", "abort"],
    "AwaitingApproval": ["resume", "abort"],
    "Paused": ["resume", "abort", "promote"],
    "Baking": ["watch", "abort"],
    "Promoted": ["report"],
    "Aborting": ["watch"],
    "Aborted": ["report"],
    "RollingBack": ["watch"],
    "RolledBack": ["report"],
    "Observing": ["report"],
    "Completed": ["report"],
}


def list_next_commands(snapshot: RolloutSnapshot, facts: TargetFacts) -> list[NextCommand]:
    """The commands that a rollout accepts now, with their effects.

    Args:
        snapshot: The rollout.
        facts: What is known of the target.
    """
    return [_next_command(verb, snapshot.name, facts.options) for verb in _verbs(snapshot, facts)]


def _verbs(snapshot: RolloutSnapshot, facts: TargetFacts) -> list[str]:
    run = snapshot.run
    if run is None:
        return ["plan"] if snapshot.schedule is not None else []
    if not facts.is_alive:
        return ["report"]
    verbs = list(_BY_STATE.get(run.state, []))
    if run.state == "Promoted" and _keeps_stable(snapshot, run.stable):
        verbs.append("rollback")
    is_tried = snapshot.is_observed and facts.desired not in ("", snapshot.serving)
    if run.state in ("Aborted", "RolledBack") and is_tried:
        verbs.append("start")
    return verbs


def _keeps_stable(snapshot: RolloutSnapshot, stable: str) -> bool:
    """Whether the previous version still has its pods."""
    is_kept = snapshot.spec is not None and seconds(snapshot.spec.scale_down_delay) > 0
    return is_kept and any(
        variant.inference_service == stable and variant.phase != "Rejected" and variant.reason in READY_REASONS
        for variant in snapshot.status.variants
    )


def _next_command(verb: str, name: str, options: str) -> NextCommand:
    reason = '--reason "…"' if verb == "promote" else ""
    command = " ".join(filter(None, ("tandem rollout", verb, name, reason, options)))
    return NextCommand(command=command, effect=_EFFECTS[verb])
