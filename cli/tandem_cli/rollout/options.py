"""Options that the commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer
from rich.console import RenderableType

from tandem_cli.output import Console, print_json
from tandem_cli.render import dump
from tandem_cli.rollout import screen
from tandem_cli.rollout.choose import Where
from tandem_cli.rollout.setting import Setting
from tandem_cli.rollout.target import Target
from tandem_rollout.api.fields import Duration


class Format(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"

    @property
    def for_programs(self) -> bool:
        """Whether it is a document and no table."""
        return self in (Format.JSON, Format.YAML)


def document(form: Any, output: Format) -> None:
    """Print a document."""
    if output is Format.JSON:
        print_json(form)
    else:
        typer.echo(dump([msgspec.to_builtins(form)]), nl=False)


def show(form: object, shown: RenderableType, output: Format) -> None:
    """Print what a command has found, as a table or as a document."""
    if output.for_programs:
        document(form, output)
        return
    console = Console(highlight=False)
    if output is Format.WIDE:
        console = Console(highlight=False, width=max(console.width, screen.WIDE))
    elif not console.is_terminal:
        console = Console(highlight=False, width=screen.WIDTH)
    console.print(shown)


def a_duration(text: str) -> str:
    """What is written like ``1m30s``, and nothing else."""
    try:
        return msgspec.convert(text, Duration)
    except msgspec.ValidationError:
        raise typer.BadParameter(f"{text!r} is no duration like 10s, 1m30s or 500ms") from None


def target_of(setting: Setting, name: str, local: bool, cluster: bool, namespace: str, context: str) -> Target:
    """The target that the options mean."""
    if local and (cluster or namespace or context):
        raise typer.BadParameter("a stack on this machine is in no cluster", param_hint="--local")
    return setting.targets.choose(Where(local=local, cluster=cluster, namespace=namespace, context=context), name)


def check_version(target: Target, bundle: str, version: str) -> None:
    """An image belongs to a cluster, a version to this machine."""
    if bundle and not target.takes_images:
        raise typer.BadParameter("a stack on this machine starts versions: use --version", param_hint="--bundle")
    if version and target.takes_images:
        raise typer.BadParameter("a cluster starts bundles: use --bundle IMAGE", param_hint="--version")


NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the rollout.")]
NamespaceOption = Annotated[
    str, typer.Option("--namespace", "-n", help="Namespace of the cluster; by default the context's.")
]
ContextOption = Annotated[str, typer.Option("--context", help="Context of the kubeconfig.")]
LocalOption = Annotated[bool, typer.Option("--local", help="A stack that `tandem up` runs on this machine.")]
ClusterOption = Annotated[
    bool, typer.Option("--cluster", help="The cluster, even if a stack of that name runs on this machine.")
]
OutputOption = Annotated[Format, typer.Option("--output", "-o", help="How to print the result.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is kept with who and when.")]
TimeoutOption = Annotated[
    str,
    typer.Option("--timeout", callback=a_duration, metavar="DURATION", help="How long to wait until it is heard."),
]
WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Whether to wait until it is heard.")]
