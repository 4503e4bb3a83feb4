"""Options that the commands share."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import msgspec
import typer

from tandem_cli.output import print_json
from tandem_cli.render import dump
from tandem_rollout.fields import Duration, seconds


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


def duration(text: str) -> float:
    """Seconds of what is written like ``1m30s``."""
    try:
        return seconds(msgspec.convert(text, Duration))
    except msgspec.ValidationError:
        raise typer.BadParameter(f"{text!r} is no duration like 10s, 1m30s or 500ms") from None


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
    float,
    typer.Option("--timeout", parser=duration, metavar="DURATION", help="How long to wait until it is heard."),
]
WaitOption = Annotated[bool, typer.Option("--wait/--no-wait", help="Whether to wait until it is heard.")]
