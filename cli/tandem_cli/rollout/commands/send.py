"""The commands that are sent to a rollout: ``start``, ``promote``, ``pause``, ``resume``, ``abort``, ``rollback``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

import typer
from rich.text import Text

from tandem_cli.errors import AdvisedError
from tandem_cli.output import Format, OutputOption
from tandem_cli.rollout.commands.options import (
    BundleOption,
    ClusterOption,
    ContextOption,
    LocalOption,
    NameArgument,
    NamespaceOption,
    ReasonOption,
    TimeoutOption,
    VersionOption,
    WaitOption,
    check_version,
    select_target,
)
from tandem_cli.rollout.context import CommandContext
from tandem_cli.rollout.decision_time import check_next_run
from tandem_cli.rollout.output.documents.answer import AnswerDocument
from tandem_cli.rollout.output.documents.base import Statement
from tandem_cli.rollout.output.screen.layout import print_result
from tandem_cli.rollout.send import send_command
from tandem_cli.rollout.snapshot import RolloutSnapshot, find_record, read_snapshot
from tandem_cli.rollout.targets.target import Target
from tandem_rollout.api.fields import seconds
from tandem_rollout.engine.run import Verb

_EXIT_CODES: Final = "Exit codes: 0 accepted, 1 rejected, 2 the command line is invalid, 4 timed out."

_PLAIN_COMMANDS: Final[tuple[tuple[Verb, str], ...]] = (
    ("pause", "Pause a run: weights stay as they are. A failing canary is still rolled back."),
    ("resume", "Resume a run that is paused or waits for approval."),
    ("abort", "Abort a run: stable gets all requests back."),
    (
        "rollback",
        "Give all requests back to the previous version, if it still has its pods. A run in progress is aborted.",
    ),
)
"""The commands without options of their own, with their help."""


@dataclass(frozen=True, slots=True)
class _Delivery:
    """How a command is sent, and how its answer is printed.

    Attributes:
        comment: Why, in the user's own words.
        timeout: How long to wait, as a duration.
        wait: Whether to wait.
        output: Format of the answer.
    """

    comment: str
    timeout: str
    wait: bool
    output: Format


def add_commands(commands: typer.Typer) -> None:
    """Add the commands to a group."""
    commands.command("start", help=f"Start a run of another bundle, or try the last one again.\n\n{_EXIT_CODES}")(
        _start
    )
    commands.command(
        "promote",
        help="Promote the canary without waiting for evidence. To continue a run that is paused or waits for approval, "
        f"use resume.\n\n{_EXIT_CODES}",
    )(_promote)
    for verb, description in _PLAIN_COMMANDS:
        _add_plain_command(commands, verb, f"{description}\n\n{_EXIT_CODES}")


def _add_plain_command(commands: typer.Typer, verb: Verb, description: str) -> None:
    @commands.command(verb, help=description)
    def plain(
        context: typer.Context,
        name: NameArgument,
        reason: ReasonOption = "",
        timeout: TimeoutOption = "30s",
        wait: WaitOption = True,
        namespace: NamespaceOption = "",
        kube_context: ContextOption = "",
        local: LocalOption = False,
        cluster: ClusterOption = False,
        output: OutputOption = Format.TABLE,
    ) -> None:
        command, target = select_target(
            context, name, local=local, cluster=cluster, namespace=namespace, kube_context=kube_context
        )
        snapshot = read_snapshot(target.get(name))
        _send(command, target, snapshot, verb, _Delivery(reason, timeout, wait, output))


def _start(
    context: typer.Context,
    name: NameArgument,
    bundle: BundleOption = "",
    version: VersionOption = "",
    reason: ReasonOption = "",
    timeout: TimeoutOption = "30s",
    wait: WaitOption = True,
    namespace: NamespaceOption = "",
    kube_context: ContextOption = "",
    local: LocalOption = False,
    cluster: ClusterOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    command, target = select_target(
        context, name, local=local, cluster=cluster, namespace=namespace, kube_context=kube_context
    )
    image = check_version(target, bundle, version)
    snapshot = read_snapshot(target.get(name))
    for warning in _warnings(target, snapshot):
        typer.echo(f"warning: {warning.message}", err=True)
    _send(command, target, snapshot, "start", _Delivery(reason, timeout, wait, output), bundle=image)


def _promote(
    context: typer.Context,
    name: NameArgument,
    reason: Annotated[str, typer.Option("--reason", help="Why; kept in the history with the user and the time.")],
    timeout: TimeoutOption = "30s",
    wait: WaitOption = True,
    namespace: NamespaceOption = "",
    kube_context: ContextOption = "",
    local: LocalOption = False,
    cluster: ClusterOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    if not reason.strip():
        raise typer.BadParameter("must not be empty: a promotion overrides the evidence", param_hint="--reason")
    command, target = select_target(
        context, name, local=local, cluster=cluster, namespace=namespace, kube_context=kube_context
    )
    snapshot = read_snapshot(target.get(name))
    _send(command, target, snapshot, "promote", _Delivery(reason, timeout, wait, output))


def _warnings(target: Target, snapshot: RolloutSnapshot) -> list[Statement]:
    """Why the run will probably time out. A user who may not read the evidence may still start the run."""
    try:
        return check_next_run(snapshot, find_record(target, snapshot))
    except AdvisedError:
        return []


def _send(
    context: CommandContext,
    target: Target,
    snapshot: RolloutSnapshot,
    verb: Verb,
    delivery: _Delivery,
    *,
    bundle: str = "",
) -> None:
    """Send a command, print the answer, and exit."""
    timeout = seconds(delivery.timeout)
    answer = send_command(
        target,
        snapshot,
        verb,
        context,
        comment=delivery.comment.strip(),
        timeout=timeout if delivery.wait else None,
        bundle=bundle,
    )
    print_result(answer, _describe(answer), delivery.output)
    if delivery.wait and answer.result is None:
        typer.echo(f"timed out after {timeout:g} s waiting for the rollout to accept {verb}", err=True)
        typer.echo(f"hint: see `tandem rollout explain {snapshot.name}`, and check that the controller runs", err=True)
    raise typer.Exit(answer.exit_code)


def _describe(answer: AnswerDocument) -> Text:
    if answer.accepted:
        return Text(f"{answer.verb} accepted: {answer.name} is {answer.state}")
    if answer.result is None:
        return Text(f"{answer.verb} sent as {answer.by}")
    return Text(f"{answer.verb} rejected: {answer.message}")
