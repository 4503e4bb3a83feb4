"""``tandem rollout watch``."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from tandem_cli.output import Console
from tandem_cli.rollout.commands.options import (
    ClusterOption,
    ContextOption,
    LocalOption,
    NameArgument,
    NamespaceOption,
    parse_duration,
    select_target,
)
from tandem_cli.rollout.watch import watch_run
from tandem_rollout.api.fields import seconds

_MIN_INTERVAL_SECONDS: Final = 0.1


def watch_rollout(
    context: typer.Context,
    name: NameArgument,
    timeout: Annotated[
        str,
        typer.Option("--timeout", callback=parse_duration, metavar="DURATION", help="How long to watch at most."),
    ] = "24h",
    every: Annotated[
        str, typer.Option("--every", callback=parse_duration, metavar="DURATION", help="Time between two updates.")
    ] = "2s",
    namespace: NamespaceOption = "",
    kube_context: ContextOption = "",
    local: LocalOption = False,
    cluster: ClusterOption = False,
) -> None:
    """Show a run until it ends. Without a terminal, print a line for each change.

    Exit codes: 0 promoted or completed, 1 failure, 2 the command line is invalid, 3 aborted or rolled back, 4 timed
    out, 5 timed out while paused or waiting for approval.
    """
    command, target = select_target(
        context, name, local=local, cluster=cluster, namespace=namespace, kube_context=kube_context
    )
    interval = max(seconds(every), _MIN_INTERVAL_SECONDS)
    raise typer.Exit(watch_run(target, name, command, Console(), timeout=seconds(timeout), every=interval))
