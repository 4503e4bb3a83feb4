"""``tandem rollout explain``."""

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
from tandem_cli.rollout.explanation import build_explanation
from tandem_cli.rollout.next_commands import TargetFacts
from tandem_cli.rollout.output.screen.explanation import render_explanation
from tandem_cli.rollout.output.screen.layout import print_result
from tandem_cli.rollout.snapshot import read_snapshot


def explain_rollout(
    context: typer.Context,
    name: NameArgument,
    namespace: NamespaceOption = "",
    kube_context: ContextOption = "",
    local: LocalOption = False,
    cluster: ClusterOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Explain the state of a rollout: its reasons, what it waits for, its rule, and the commands that it accepts.

    Exit codes: 0 shown, 1 failure, 2 the command line is invalid.
    """
    command, target = select_target(
        context, name, local=local, cluster=cluster, namespace=namespace, kube_context=kube_context
    )
    snapshot = read_snapshot(target.get(name))
    record = target.record(name, snapshot.run.number) if snapshot.run else None
    desired = target.revision(snapshot.manifest) if snapshot.spec is not None else ""
    facts = TargetFacts(options=target.options, is_alive=target.alive(name), desired=desired)
    explanation = build_explanation(snapshot, record, command.now(), facts)
    print_result(explanation, render_explanation(explanation), output)
