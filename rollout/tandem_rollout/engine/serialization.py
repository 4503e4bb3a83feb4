"""Serialization of runs, in a status, and of commands, in an annotation."""

from __future__ import annotations

from typing import Final

import msgspec

from tandem_rollout import GROUP
from tandem_rollout.api.status import RunStatus
from tandem_rollout.api.times import epoch, stamp
from tandem_rollout.engine.run import Command, Run, State, Verb

COMMAND: Final = f"{GROUP}/command"
"""Annotation of a rollout with its command: JSON with id, verb, by and comment."""


def to_status(run: Run, *, steps: int, measured: float | None = None, verdict: str = "") -> RunStatus:
    """The status of a run.

    Args:
        run: The run.
        steps: Number of steps of its schedule.
        measured: Percentage of the requests that the canary had in the last sample.
        verdict: Combined verdict of the metrics.
    """
    return RunStatus(
        number=run.number,
        state=run.state,
        stable=run.stable,
        canary=run.canary,
        plan=run.plan,
        started=stamp(run.started),
        since=stamp(run.since),
        step=run.step,
        steps=steps,
        weight=run.weight,
        measured=measured,
        # the deadline of a shadow is infinite
        deadline=stamp(run.deadline) if run.deadline is not None and run.deadline < _FAR else "",
        min_pods=list(run.min_pods),
        paused_from=run.paused_from or "",
        immediate_rollback=run.immediate_rollback,
        reason=run.reason,
        message=run.message,
        by=run.by,
        started_by=run.started_by,
        start_comment=run.start_comment,
        last_command=run.last_command,
        previous_commands=list(run.previous_commands),
        pending=run.pending,
        verdict=verdict,
    )


def from_status(status: RunStatus | None) -> Run | None:
    """The run of a status; None if there is none, or if another version has written it in another form."""
    if status is None:
        return None
    try:
        return _run(status)
    except ValueError:  # msgspec's errors are ValueErrors too
        return None


def _run(status: RunStatus) -> Run:
    # a status that was edited by hand may have any length
    min_pods = (status.min_pods[0], status.min_pods[1]) if len(status.min_pods) == 2 else (0, 0)
    return Run(
        number=status.number,
        stable=status.stable,
        canary=status.canary,
        plan=status.plan,
        state=msgspec.convert(status.state, State),
        started=epoch(status.started),
        since=epoch(status.since),
        step=status.step,
        weight=status.weight,
        deadline=epoch(status.deadline) if status.deadline else None,
        min_pods=min_pods,
        paused_from=msgspec.convert(status.paused_from, State) if status.paused_from else None,
        immediate_rollback=status.immediate_rollback,
        reason=status.reason,
        message=status.message,
        by=status.by,
        started_by=status.started_by,
        start_comment=status.start_comment,
        last_command=status.last_command,
        previous_commands=tuple(status.previous_commands),
        pending=status.pending,
    )


def parse_command(text: str | None) -> Command | None:
    """The command of an annotation; None if there is none, or if it is invalid."""
    if not text:
        return None
    try:
        # anyone with access to the rollout may write the annotation
        fields = msgspec.json.decode(text, type=dict[str, str])
        return Command(
            id=fields["id"],
            verb=msgspec.convert(fields["verb"], Verb),
            by=fields.get("by", ""),
            comment=fields.get("comment", ""),
        )
    except (ValueError, KeyError):
        return None


def format_command(command: Command) -> str:
    """The annotation of a command."""
    fields = {"id": command.id, "verb": command.verb, "by": command.by, "comment": command.comment}
    return msgspec.json.encode(fields).decode()


_FAR: Final = 253_402_300_800.0
"""The year 10000, which RFC 3339 cannot represent."""
