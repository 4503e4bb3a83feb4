"""``tandem rollout watch``, and waiting for a state."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from rich.console import RenderableType
from rich.live import Live

from tandem_cli.output import Console
from tandem_cli.rollout import exits, screen
from tandem_cli.rollout.current import Current
from tandem_cli.rollout.forms import Status
from tandem_cli.rollout.polling import looks
from tandem_cli.rollout.setting import Setting
from tandem_cli.rollout.standing import standing
from tandem_cli.rollout.target import Target
from tandem_rollout.engine.run import ENDS


class Goal(StrEnum):
    """A state that may be waited for."""

    ANALYSING = "analysing"
    GATED = "gated"
    PAUSED = "paused"
    BAKING = "baking"
    PROMOTED = "promoted"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled-back"
    CONCLUDED = "concluded"
    ENDED = "ended"


def reached(goal: Goal, found: Current) -> int | None:
    """Exit code, if the waiting is over; None where it is not.

    A status that is about an older spec says nothing: its run may be the one before.
    """
    run = found.run
    if run is None or not found.seen:
        return None
    state = "rolled-back" if run.state == "RolledBack" else run.state.lower()
    if goal == Goal.ENDED:
        return exits.of_state(run.state) if run.state in ENDS else None
    # who waits for the switch does not mind when the bake time is over as well
    if state == goal or (goal == Goal.BAKING and state == Goal.PROMOTED):
        return exits.DONE
    if run.state not in ENDS:
        return None
    return exits.ABORTED if exits.of_state(run.state) == exits.ABORTED else exits.FAILED


def wait(target: Target, name: str, goal: Goal, setting: Setting, *, timeout: float) -> tuple[Current, int]:
    """Wait for a state.

    Returns:
        The rollout as it was last, and the exit code: 5 where it waits for a person when the time is over, else 4.
    """
    for last in looks(target, name, setting, timeout=timeout):
        code = reached(goal, last)
        if code is not None:
            return last, code
    return last, _undecided(last)


def watch(target: Target, name: str, setting: Setting, console: Console, *, timeout: float, every: float) -> int:
    """Show a rollout until its run ends.

    On a terminal a table stays and changes; elsewhere each change is a line.

    Args:
        target: Where it is.
        name: Its name.
        setting: The clock.
        console: Where to show it.
        timeout: Most seconds.
        every: Seconds between two looks.

    Returns:
        The exit code.
    """
    if not console.is_terminal:
        return _follow(target, name, setting, console.print, timeout=timeout, every=every)
    with Live(console=console, auto_refresh=False, transient=False) as live:

        def show(form: Status) -> None:
            shown: RenderableType = screen.status(form, now=setting.now())
            live.update(shown, refresh=True)

        return _look(target, name, setting, show, timeout=timeout, every=every)


def _follow(
    target: Target, name: str, setting: Setting, tell: Callable[..., None], *, timeout: float, every: float
) -> int:
    told = ""

    def show(form: Status) -> None:
        nonlocal told
        line = screen.line(form)
        if line != told:
            tell(line, markup=False, highlight=False, soft_wrap=True)
            told = line

    return _look(target, name, setting, show, timeout=timeout, every=every)


def _look(
    target: Target,
    name: str,
    setting: Setting,
    show: Callable[[Status], None],
    *,
    timeout: float,
    every: float,
) -> int:
    for last in looks(target, name, setting, timeout=timeout, every=every):
        run = last.run
        show(standing(last, target.record(name, run.number) if run else None))
        code = reached(Goal.ENDED, last)
        if code is not None:
            return code
    return _undecided(last)


def _undecided(last: Current) -> int:
    waits = last.run is not None and exits.of_state(last.run.state) == exits.PAUSED
    return exits.PAUSED if waits else exits.UNDECIDED
