"""``tandem rollout status``."""

from __future__ import annotations

from typing import Annotated

import typer

from tandem_cli.output import Format, OutputOption
from tandem_cli.rollout.commands.options import (
    ClusterOption,
    ContextOption,
    LocalOption,
    NamespaceOption,
    parse_duration,
    select_target,
)
from tandem_cli.rollout.context import CommandContext
from tandem_cli.rollout.output import exit_codes
from tandem_cli.rollout.output.documents.status import StatusListDocument
from tandem_cli.rollout.output.screen.layout import print_result
from tandem_cli.rollout.output.screen.status import render_status, render_status_list
from tandem_cli.rollout.snapshot import read_snapshot
from tandem_cli.rollout.status import build_status
from tandem_cli.rollout.targets.target import Target
from tandem_cli.rollout.watch import Goal, wait_for_goal
from tandem_rollout.api.fields import seconds


def show_status(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the rollout; by default all rollouts.")] = "",
    wait_for: Annotated[Goal | None, typer.Option("--wait-for", help="Wait for this state first.")] = None,
    timeout: Annotated[
        str, typer.Option("--timeout", callback=parse_duration, metavar="DURATION", help="How long to wait for it.")
    ] = "10m",
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit by the state of the run.")] = False,
    namespace: NamespaceOption = "",
    kube_context: ContextOption = "",
    local: LocalOption = False,
    cluster: ClusterOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show the state of a run and the results of its metrics.

    Exit codes: 0 shown, 1 failure, 2 the command line is invalid.

    With --wait-for: 0 reached, 1 the run ended in another state, 3 aborted or rolled back, 4 timed out, 5 timed out
    while paused or waiting for approval.

    With --exit-code: 0 promoted, completed or no run, 3 aborted or rolled back, 4 in progress, 5 paused or waiting for
    approval.
    """
    command, target = select_target(
        context, name, local=local, cluster=cluster, namespace=namespace, kube_context=kube_context
    )
    if not name:
        if wait_for or exit_code:
            raise typer.BadParameter("requires a NAME", param_hint="--wait-for" if wait_for else "--exit-code")
        _show_all(target, command, output)
        return
    code = exit_codes.DONE
    if wait_for:
        snapshot, code = wait_for_goal(target, name, wait_for, command, timeout=seconds(timeout))
    else:
        snapshot = read_snapshot(target.get(name))
    status = build_status(snapshot, target.record(name, snapshot.run.number) if snapshot.run else None)
    print_result(status, render_status(status, now=command.now(), wide=output is Format.WIDE), output)
    raise typer.Exit(status.exit_code if exit_code and not wait_for else code)


def _show_all(target: Target, command: CommandContext, output: Format) -> None:
    statuses = [build_status(read_snapshot(target.get(name)), None) for name in target.names()]
    if not statuses and not output.is_document:
        typer.echo(f"no rollouts found in {target.place}")
        return
    print_result(StatusListDocument(items=statuses), render_status_list(statuses, now=command.now()), output)
