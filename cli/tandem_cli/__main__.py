"""Entry point of the ``tandem`` command."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Annotated

import typer

from tandem_cli import bundle
from tandem_cli.check import check_package
from tandem_cli.errors import TellingGroup
from tandem_cli.init import init
from tandem_cli.materialize import materialize_package
from tandem_cli.render import print_crd, render_rollouts
from tandem_cli.rollout.commands import commands as rollout
from tandem_cli.up import up


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tandem {version_of('tandem-cli')}")
        raise typer.Exit


app = typer.Typer(
    cls=TellingGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Models served as pairs of transformer and predictor.\n\n"
    "Exit codes of all commands: 0 success, 1 failure, 2 the command line is invalid.",
)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


app.command("init")(init)
app.command("check")(check_package)
app.command("materialize")(materialize_package)
app.command("up")(up)
app.command("render")(render_rollouts)
app.command("crd")(print_crd)
app.add_typer(bundle.commands, name="bundle")
app.add_typer(rollout, name="rollout")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
