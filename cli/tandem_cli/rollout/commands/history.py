"""``tandem rollout history``."""

from __future__ import annotations

import typer

from tandem_cli.output import Format, OutputOption
from tandem_cli.rollout.commands.options import (
    ClusterOption,
    ContextOption,
    LocalOption,
    NameArgument,
    NamespaceOption,
    select_target,
)
from tandem_cli.rollout.output.screen.history import render_history
from tandem_cli.rollout.output.screen.layout import print_result
from tandem_cli.rollout.snapshot import read_snapshot
from tandem_cli.rollout.status import build_history


def show_history(
    context: typer.Context,
    name: NameArgument,
    namespace: NamespaceOption = "",
    kube_context: ContextOption = "",
    local: LocalOption = False,
    cluster: ClusterOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show the runs of a rollout: how each ended, who caused it, and why.

    Exit codes: 0 shown, 1 failure, 2 the command line is invalid.
    """
    command, target = select_target(
        context, name, local=local, cluster=cluster, namespace=namespace, kube_context=kube_context
    )
    history = build_history(read_snapshot(target.get(name)))
    print_result(history, render_history(history, now=command.now(), wide=output is Format.WIDE), output)
