"""Commands by which a person has a word in a run, and what becomes of them."""

from __future__ import annotations

from typing import Final

from tandem_cli.rollout import exits
from tandem_cli.rollout.current import Current, current
from tandem_cli.rollout.forms import Answer
from tandem_cli.rollout.polling import looks
from tandem_cli.rollout.setting import Setting
from tandem_cli.rollout.target import Target, TargetError
from tandem_rollout.engine.run import ENDS, Command, Verb
from tandem_rollout.status import RunStatus

_NOT_OBEYED: Final = "cannot "
"""How the engine begins the reason of a run that has heard a command and not obeyed it; the reason before follows."""


def ask(
    target: Target,
    name: str,
    verb: Verb,
    setting: Setting,
    *,
    reason: str,
    timeout: float,
    wait: bool = True,
    bundle: str = "",
) -> Answer:
    """Send a command, and wait until the run has heard it.

    Args:
        target: Where the rollout is.
        name: Its name.
        verb: What to do.
        setting: The clock, and what makes identities.
        reason: Why.
        timeout: Most seconds to wait.
        wait: Whether to wait.
        bundle: With ``start``: another version.

    Raises:
        TargetError: It makes no sense as the rollout is; nothing was sent.
    """
    before = current(target.get(name))
    if refusal := _senseless(before, verb, bundle):
        raise TargetError(refusal, advice=f"see `tandem rollout explain {name}`")
    command = Command(id=setting.identity(), verb=verb, by=target.asks_as(), reason=reason)
    if bundle:
        target.set_bundle(name, bundle, command)
    else:
        target.command(name, command)
    if not wait:
        return _answer(before, command, heard=False, state=None, code=exits.DONE)
    last = before
    for last in looks(target, name, setting, timeout=timeout):
        run = last.run
        if run is not None and run.command == command.id:
            # another version takes its turn by the spec, whatever the run before it says of the command
            refused = "" if bundle else _refused(run, verb, before.run)
            code = exits.FAILED if refused else exits.DONE
            return _answer(last, command, heard=True, refused=refused, state=run.state, code=code)
    state = last.run.state if last.run else None
    return _answer(last, command, heard=False, state=state, code=exits.UNDECIDED)


def _senseless(before: Current, verb: Verb, bundle: str) -> str:
    """Why a command makes no sense; empty where it does."""
    run = before.run
    if before.spec is not None and before.schedule is None:
        return f"{before.name} has the strategy {before.spec.strategy.name} and decides nothing: it has no runs"
    if bundle and before.spec is not None and before.spec.bundle is None:
        return f"{before.name} has variants: what follows is said in spec.variants"
    if verb == "start":
        return ""
    if run is None:
        return f"{before.name} has no run yet: there is nothing to {verb}"
    if run.state in ENDS and not (verb == "rollback" and run.state == "Promoted"):
        return f"run {run.number} of {before.name} has ended, {run.state}: there is nothing to {verb}"
    return ""


def _refused(run: RunStatus, verb: Verb, before: RunStatus | None) -> str:
    """Why a run that has heard a command has not obeyed it; empty where it has."""
    if run.reason.startswith(_NOT_OBEYED):
        return run.reason.partition("; ")[0]
    if verb == "start" and before is not None and run.number == before.number:
        return "there is nothing to start: what the spec asks for serves already"
    return ""


def _answer(last: Current, command: Command, *, heard: bool, state: str | None, code: int, refused: str = "") -> Answer:
    return Answer(
        name=last.name,
        namespace=last.namespace,
        verb=command.verb,
        id=command.id,
        by=command.by,
        reason=command.reason,
        heard=heard,
        refused=refused or None,
        state=state,
        exit_code=code,
    )
