"""Sends commands to a rollout, and waits for its answer."""

from __future__ import annotations

from tandem_cli.rollout.context import CommandContext
from tandem_cli.rollout.output import exit_codes
from tandem_cli.rollout.output.documents.answer import AnswerDocument
from tandem_cli.rollout.polling import poll
from tandem_cli.rollout.snapshot import RolloutSnapshot
from tandem_cli.rollout.targets.target import Target, TargetError
from tandem_rollout.api.status import LastCommand
from tandem_rollout.engine.run import ENDS, Command, Verb


def send_command(
    target: Target,
    snapshot: RolloutSnapshot,
    verb: Verb,
    context: CommandContext,
    *,
    comment: str,
    timeout: float | None,
    bundle: str = "",
) -> AnswerDocument:
    """Send a command to a rollout, and wait until it accepts or rejects it.

    Args:
        target: The target of the rollout.
        snapshot: The rollout.
        verb: The command.
        context: The clock, and the IDs of commands.
        comment: Why, in the user's own words.
        timeout: Seconds to wait at most; None to send the command without waiting.
        bundle: With ``start``, the bundle to start: an image; on this machine, a version.

    Raises:
        TargetError: if the rollout cannot accept the command in its present state. Nothing was sent then.
    """
    _check_command(snapshot, verb, bundle)
    if verb == "start" and snapshot.spec is not None:
        _check_start(snapshot, target, bundle)
    command = Command(id=context.create_id(), verb=verb, by=target.user(), comment=comment)
    if bundle:
        target.set_bundle(snapshot.name, bundle, command)
    else:
        target.send(snapshot.name, command)
    if timeout is None:
        return _answer(snapshot, command, None, state=None, exit_code=exit_codes.DONE)
    return _wait_for_answer(target, snapshot.name, command, context, timeout)


def _wait_for_answer(
    target: Target, name: str, command: Command, context: CommandContext, timeout: float
) -> AnswerDocument:
    for snapshot in poll(target, name, context, timeout=timeout):
        run = snapshot.run
        # by ID: the status may have the answer to somebody else's command
        if run is not None and run.last_command is not None and run.last_command.id == command.id:
            exit_code = exit_codes.DONE if run.last_command.result == "Accepted" else exit_codes.FAILED
            return _answer(snapshot, command, run.last_command, state=run.state, exit_code=exit_code)
    state = snapshot.run.state if snapshot.run else None
    return _answer(snapshot, command, None, state=state, exit_code=exit_codes.UNDECIDED)


def _check_command(snapshot: RolloutSnapshot, verb: Verb, bundle: str) -> None:
    """Check that there is a run that can accept a command.

    Raises:
        TargetError: if there is none.
    """
    name, run, advice = snapshot.name, snapshot.run, f"see `tandem rollout explain {snapshot.name}`"
    if snapshot.spec is not None and snapshot.schedule is None:
        strategy = snapshot.spec.strategy.name
        raise TargetError(f"{name} has the strategy {strategy}, which has no runs", advice=advice)
    if bundle and snapshot.spec is not None and snapshot.spec.bundle is None:
        raise TargetError(f"{name} has variants: change spec.variants to start another version", advice=advice)
    if verb == "start":
        return
    if run is None:
        raise TargetError(f"{name} has no run yet: there is nothing to {verb}", advice=advice)
    if run.state in ENDS and not (verb == "rollback" and run.state == "Promoted"):
        message = f"run {run.number} of {name} has ended ({run.state}): there is nothing to {verb}"
        raise TargetError(message, advice=advice)


def _check_start(snapshot: RolloutSnapshot, target: Target, bundle: str) -> None:
    """Check that there is a version to start: without a run, nothing would answer.

    Raises:
        TargetError: if there is none, or if there is no such bundle.
    """
    name, serving = snapshot.name, snapshot.serving
    desired = target.revision(snapshot.manifest, bundle)
    if snapshot.schedule is not None and snapshot.schedule.observes:
        raise TargetError(
            f"{name} only observes: a run begins when both versions serve, and again when the spec changes",
            advice=f"change the spec, or see `tandem rollout explain {name}`",
        )
    if not serving:
        raise TargetError(
            f"no version of {name} serves yet: the first version needs no run",
            advice=f"see `tandem rollout explain {name}` for what it waits for",
        )
    if desired == serving:
        raise _already_serves(snapshot, target, bundle)


def _already_serves(snapshot: RolloutSnapshot, target: Target, bundle: str) -> TargetError:
    name, run = snapshot.name, snapshot.run
    version = bundle or snapshot.version(snapshot.serving) or snapshot.serving
    if run is not None and run.state not in ENDS:
        return TargetError(
            f"{version} already serves: it is stable in run {run.number}, which is {run.state}",
            advice=f"to give all requests back to it, use `tandem rollout abort {name} {target.options}`",
        )
    another = "--bundle IMAGE" if target.takes_images else "--version VERSION"
    return TargetError(
        f"there is nothing to start: {version} already serves",
        advice=f"start another one: `tandem rollout start {name} {another} {target.options}`",
    )


def _answer(
    snapshot: RolloutSnapshot, command: Command, result: LastCommand | None, *, state: str | None, exit_code: int
) -> AnswerDocument:
    return AnswerDocument(
        name=snapshot.name,
        namespace=snapshot.namespace,
        verb=command.verb,
        id=command.id,
        by=command.by,
        comment=command.comment,
        accepted=result is not None and result.result == "Accepted",
        result=result.result if result is not None else None,
        reason=result.reason if result is not None else "",
        message=result.message if result is not None else "",
        state=state,
        exit_code=exit_code,
    )
