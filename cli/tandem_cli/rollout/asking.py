"""Commands by which a person has a word in a run, and what becomes of them."""

from __future__ import annotations

from tandem_cli.rollout import exits
from tandem_cli.rollout.current import Current, current
from tandem_cli.rollout.forms import Answer
from tandem_cli.rollout.polling import looks
from tandem_cli.rollout.setting import Setting
from tandem_cli.rollout.target import Target, TargetError
from tandem_rollout.api.status import LastCommand
from tandem_rollout.engine.run import ENDS, Command, Verb


def ask(
    target: Target,
    name: str,
    verb: Verb,
    setting: Setting,
    *,
    comment: str,
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
        comment: Why, in the words of that person.
        timeout: Most seconds to wait.
        wait: Whether to wait.
        bundle: With ``start``: another version.

    Raises:
        TargetError: It makes no sense as the rollout is; nothing was sent.
    """
    manifest = target.get(name)
    before = current(manifest)
    _check_verb(before, verb, bundle)
    if verb == "start" and before.spec is not None:
        _check_start(before, target, target.revision(manifest, bundle), bundle)
    command = Command(id=setting.identity(), verb=verb, by=target.asks_as(), comment=comment)
    if bundle:
        target.set_bundle(name, bundle, command)
    else:
        target.command(name, command)
    if not wait:
        return _answer(before, command, None, state=None, code=exits.DONE)
    last = before
    for last in looks(target, name, setting, timeout=timeout):
        run = last.run
        if run is not None and run.last_command is not None and run.last_command.id == command.id:
            code = exits.DONE if run.last_command.result == "Accepted" else exits.FAILED
            return _answer(last, command, run.last_command, state=run.state, code=code)
    state = last.run.state if last.run else None
    return _answer(last, command, None, state=state, code=exits.UNDECIDED)


def _check_verb(before: Current, verb: Verb, bundle: str) -> None:
    """Make sure that there is something that a command is about.

    Raises:
        TargetError: There is not.
    """
    name, run, advice = before.name, before.run, f"see `tandem rollout explain {before.name}`"
    if before.spec is not None and before.schedule is None:
        strategy = before.spec.strategy.name
        raise TargetError(f"{name} has the strategy {strategy} and decides nothing: it has no runs", advice=advice)
    if bundle and before.spec is not None and before.spec.bundle is None:
        raise TargetError(f"{name} has variants: what follows is said in spec.variants", advice=advice)
    if verb == "start":
        return
    if run is None:
        raise TargetError(f"{name} has no run yet: there is nothing to {verb}", advice=advice)
    if run.state in ENDS and not (verb == "rollback" and run.state == "Promoted"):
        message = f"run {run.number} of {name} has ended, {run.state}: there is nothing to {verb}"
        raise TargetError(message, advice=advice)


def _check_start(before: Current, target: Target, wanted: str, bundle: str) -> None:
    """Make sure that there is something to start: no run would hear it.

    Args:
        before: The rollout.
        target: Where it is.
        wanted: The revision that is to be started.
        bundle: What the command line names.

    Raises:
        TargetError: There is nothing to start.
    """
    name, run, serving = before.name, before.run, before.serving
    another = "--bundle IMAGE" if target.takes_images else "--version VERSION"
    if before.schedule is not None and before.schedule.observes:
        raise TargetError(
            f"{name} only watches: a run begins when clients meet both versions, and anew by another spec",
            advice=f"change the spec, or see `tandem rollout explain {name}`",
        )
    if not serving:
        raise TargetError(
            f"no version of {name} serves yet: the first one needs no run",
            advice=f"see `tandem rollout explain {name}` for what it waits for",
        )
    if wanted != serving:
        return
    said = f"{bundle or before.version(serving) or serving} serves already"
    if run is not None and run.state not in ENDS:
        raise TargetError(
            f"{said}: it is stable in run {run.number}, which is {run.state}",
            advice=f"to give it all requests back, `tandem rollout abort {name} {target.options}`",
        )
    raise TargetError(
        f"there is nothing to start: {said}",
        advice=f"name another one: `tandem rollout start {name} {another} {target.options}`",
    )


def _answer(last: Current, command: Command, answer: LastCommand | None, *, state: str | None, code: int) -> Answer:
    return Answer(
        name=last.name,
        namespace=last.namespace,
        verb=command.verb,
        id=command.id,
        by=command.by,
        comment=command.comment,
        heard=answer is not None,
        result=answer.result if answer is not None else None,
        reason=answer.reason if answer is not None else "",
        message=answer.message if answer is not None else "",
        state=state,
        exit_code=code,
    )
