"""Watches a rollout until its run ends, or until it reaches a state."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from rich.live import Live

from tandem_cli.output import Console
from tandem_cli.rollout.context import CommandContext
from tandem_cli.rollout.output import exit_codes
from tandem_cli.rollout.output.documents.status import StatusDocument
from tandem_cli.rollout.output.exit_codes import exit_code_of
from tandem_cli.rollout.output.screen.status import render_line, render_status
from tandem_cli.rollout.polling import poll
from tandem_cli.rollout.snapshot import RolloutSnapshot
from tandem_cli.rollout.status import build_status
from tandem_cli.rollout.targets.target import Target
from tandem_rollout.engine.run import ENDS


class Goal(StrEnum):
    """A state to wait for."""

    ANALYZING = "analyzing"
    AWAITING_APPROVAL = "awaiting-approval"
    PAUSED = "paused"
    BAKING = "baking"
    PROMOTED = "promoted"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled-back"
    COMPLETED = "completed"
    ENDED = "ended"


_GOALS = {
    "Analyzing": Goal.ANALYZING,
    "AwaitingApproval": Goal.AWAITING_APPROVAL,
    "Paused": Goal.PAUSED,
    "Baking": Goal.BAKING,
    "Promoted": Goal.PROMOTED,
    "Aborted": Goal.ABORTED,
    "RolledBack": Goal.ROLLED_BACK,
    "Completed": Goal.COMPLETED,
}
"""Goals by state of a run."""


def check_goal(goal: Goal, snapshot: RolloutSnapshot) -> int | None:
    """The exit code if the wait is over; None if it is not.

    A status about an older spec does not count, since its run may be the previous one.
    """
    run = snapshot.run
    if run is None or not snapshot.is_observed:
        return None
    if goal is Goal.ENDED:
        return exit_code_of(run.state) if run.state in ENDS else None
    reached = _GOALS.get(run.state)
    # the bake time may be over before the first read
    if reached is goal or (goal is Goal.BAKING and reached is Goal.PROMOTED):
        return exit_codes.DONE
    if run.state not in ENDS:
        return None
    return exit_codes.ABORTED if exit_code_of(run.state) == exit_codes.ABORTED else exit_codes.FAILED


def wait_for_goal(
    target: Target, name: str, goal: Goal, context: CommandContext, *, timeout: float
) -> tuple[RolloutSnapshot, int]:
    """Wait until the run of a rollout reaches a state.

    Args:
        target: The target.
        name: Name of the rollout.
        goal: The state.
        context: The clock.
        timeout: Seconds to wait at most.

    Returns:
        The rollout as it was read last, and the exit code. At the timeout it is 5 if the run is paused or waits for
        approval, else 4.
    """
    for snapshot in poll(target, name, context, timeout=timeout):
        exit_code = check_goal(goal, snapshot)
        if exit_code is not None:
            return snapshot, exit_code
    return snapshot, _exit_code_at_timeout(snapshot)


def watch_run(
    target: Target, name: str, context: CommandContext, console: Console, *, timeout: float, every: float
) -> int:
    """Show a rollout until its run ends.

    A terminal shows a table that is updated. Elsewhere, each change is a line.

    Args:
        target: The target.
        name: Name of the rollout.
        context: The clock.
        console: The console.
        timeout: Seconds to watch at most.
        every: Seconds between two reads.

    Returns:
        The exit code.
    """
    if not console.is_terminal:
        return _watch(target, name, context, _LinePrinter(console), timeout=timeout, every=every)
    with Live(console=console, auto_refresh=False, transient=False) as live:

        def show(status: StatusDocument) -> None:
            live.update(render_status(status, now=context.now()), refresh=True)

        return _watch(target, name, context, show, timeout=timeout, every=every)


class _LinePrinter:
    """Prints a line for each change of a status."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last_line = ""

    def __call__(self, status: StatusDocument) -> None:
        line = render_line(status)
        if line != self._last_line:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)
            self._last_line = line


def _watch(
    target: Target,
    name: str,
    context: CommandContext,
    show: Callable[[StatusDocument], None],
    *,
    timeout: float,
    every: float,
) -> int:
    for snapshot in poll(target, name, context, timeout=timeout, every=every):
        run = snapshot.run
        show(build_status(snapshot, target.record(name, run.number) if run else None))
        exit_code = check_goal(Goal.ENDED, snapshot)
        if exit_code is not None:
            return exit_code
    return _exit_code_at_timeout(snapshot)


def _exit_code_at_timeout(snapshot: RolloutSnapshot) -> int:
    waits = snapshot.run is not None and exit_code_of(snapshot.run.state) == exit_codes.PAUSED
    return exit_codes.PAUSED if waits else exit_codes.UNDECIDED
