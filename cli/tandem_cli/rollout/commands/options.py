"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from tandem_cli.rollout.context import CommandContext
from tandem_cli.rollout.targets.selection import TargetSelection
from tandem_cli.rollout.targets.target import Target
from tandem_rollout.api.fields import Duration


def parse_duration(text: str) -> str:
    """Check that a text is a duration such as ``1m30s``.

    Raises:
        typer.BadParameter: if it is not.
    """
    try:
        return msgspec.convert(text, Duration)
    except msgspec.ValidationError:
        raise typer.BadParameter(f"{text!r} is not a duration such as 10s, 1m30s or 500ms") from None


NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the rollout.")]
NamespaceOption = Annotated[
    str, typer.Option("--namespace", "-n", help="Namespace in the cluster; by default that of the context.")
]
ContextOption = Annotated[str, typer.Option("--context", help="Context of the kubeconfig; by default the current one.")]
LocalOption = Annotated[bool, typer.Option("--local", help="Use a stack that `tandem up` runs on this machine.")]
ClusterOption = Annotated[
    bool, typer.Option("--cluster", help="Use the cluster, even if a stack of that name runs on this machine.")
]
BundleOption = Annotated[str, typer.Option("--bundle", metavar="IMAGE", help="Image of another bundle, on a cluster.")]
VersionOption = Annotated[str, typer.Option("--version", help="Another version, on this machine.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the history with the user and the time.")]
TimeoutOption = Annotated[
    str,
    typer.Option(
        "--timeout",
        callback=parse_duration,
        metavar="DURATION",
        help="How long to wait until the rollout accepts the command.",
    ),
]
WaitOption = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Whether to wait until the rollout accepts the command.")
]


def select_target(
    context: typer.Context, name: str, *, local: bool, cluster: bool, namespace: str, kube_context: str
) -> tuple[CommandContext, Target]:
    """The context of a command, and the target that its options select.

    Args:
        context: The context of typer.
        name: Name of the rollout; empty for any.
        local: Whether ``--local`` was given.
        cluster: Whether ``--cluster`` was given.
        namespace: The value of ``--namespace``.
        kube_context: The value of ``--context``.

    Raises:
        typer.BadParameter: if the options contradict each other.
        TargetError: if there is no such target.
    """
    if local and (cluster or namespace or kube_context):
        raise typer.BadParameter("cannot be combined with --cluster, --namespace or --context", param_hint="--local")
    command_context = context.ensure_object(CommandContext)
    selection = TargetSelection(local=local, cluster=cluster, namespace=namespace, context=kube_context)
    return command_context, command_context.targets.choose(selection, name)


def check_version(target: Target, bundle: str, version: str) -> str:
    """Check that an image is given only for a cluster, and a version only for this machine.

    Returns:
        The one that is given; empty if neither is.

    Raises:
        typer.BadParameter: if the target does not take it.
    """
    if bundle and not target.takes_images:
        raise typer.BadParameter("a stack on this machine takes versions: use --version", param_hint="--bundle")
    if version and target.takes_images:
        raise typer.BadParameter("a cluster takes images: use --bundle IMAGE", param_hint="--version")
    return bundle or version
