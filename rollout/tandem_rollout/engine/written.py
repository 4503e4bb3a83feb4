"""Runs and commands as they are written down: in a status, in an annotation."""

from __future__ import annotations

from typing import Final

import msgspec

from tandem_rollout import GROUP
from tandem_rollout.engine.run import Command, Run, State, Verb
from tandem_rollout.status import RunStatus
from tandem_rollout.times import epoch, stamp

COMMAND: Final = f"{GROUP}/command"
"""Annotation of a rollout: what a person asks for, as JSON with id, verb, by and comment."""


def write(run: Run, *, steps: int, measured: float | None = None, verdict: str = "") -> RunStatus:
    """A run for the status.

    Args:
        run: The run.
        steps: How many steps its schedule has.
        measured: Percentage of the requests that the canary had in the last tick.
        verdict: What the metrics say together.
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
        deadline=stamp(run.deadline) if run.deadline is not None and run.deadline < _FAR else "",
        floor=list(run.floor),
        before=run.before or "",
        hurried=run.hurried,
        reason=run.reason,
        message=run.message,
        by=run.by,
        started_by=run.started_by,
        start_comment=run.start_comment,
        last_command=run.last_command,
        heard=list(run.heard),
        pending=run.pending,
        verdict=verdict,
    )


def read(status: RunStatus | None) -> Run | None:
    """The run of a status; None where there is none, or one of another version of this program."""
    if status is None:
        return None
    try:
        return _run(status)
    except ValueError:  # msgspec's errors are ValueErrors too
        return None


def _run(status: RunStatus) -> Run:
    floor = (status.floor[0], status.floor[1]) if len(status.floor) == 2 else (0, 0)
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
        floor=floor,
        before=msgspec.convert(status.before, State) if status.before else None,
        hurried=status.hurried,
        reason=status.reason,
        message=status.message,
        by=status.by,
        started_by=status.started_by,
        start_comment=status.start_comment,
        last_command=status.last_command,
        heard=tuple(status.heard),
        pending=status.pending,
    )


def command(text: str | None) -> Command | None:
    """The command of an annotation; None where there is none that makes sense."""
    if not text:
        return None
    try:
        given = msgspec.json.decode(text, type=dict[str, str])
        return Command(
            id=given["id"],
            verb=msgspec.convert(given["verb"], Verb),
            by=given.get("by", ""),
            comment=given.get("comment", ""),
        )
    except (ValueError, KeyError):
        return None


def command_text(command: Command) -> str:
    """The same for the annotation."""
    fields = {"id": command.id, "verb": command.verb, "by": command.by, "comment": command.comment}
    return msgspec.json.encode(fields).decode()


_FAR: Final = 253_402_300_800.0
"""The year 10000, which RFC 3339 has no digits for."""
