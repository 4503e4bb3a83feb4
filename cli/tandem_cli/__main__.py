"""Entry point of the ``tandem`` command."""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Annotated

import typer

from tandem_cli.commands import bundle, features, imports, log, registry, stream
from tandem_cli.commands.batch import batch_bundle
from tandem_cli.commands.check import check_package
from tandem_cli.commands.init import init_package
from tandem_cli.commands.leaks import report_leaks
from tandem_cli.commands.materialize import materialize_package
from tandem_cli.commands.parity import compare_modes
from tandem_cli.commands.predict import predict_table
from tandem_cli.commands.render import print_crd, render_rollouts
from tandem_cli.commands.snapshot import write_features
from tandem_cli.commands.up import serve_model
from tandem_cli.errors import ErrorPrintingGroup
from tandem_cli.rollout.commands.group import commands as rollout


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"tandem {version_of('tandem-cli')}")
        raise typer.Exit


app = typer.Typer(
    cls=ErrorPrintingGroup,
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


app.command("init")(init_package)
app.command("check")(check_package)
app.command("materialize")(materialize_package)
app.command("parity")(compare_modes)
app.command("snapshot")(write_features)
app.command("register")(registry.register)
app.command("leaks")(report_leaks)
app.command("predict")(predict_table)
app.command("batch")(batch_bundle)
app.command("up")(serve_model)
app.command("render")(render_rollouts)
app.command("crd")(print_crd)
app.add_typer(bundle.commands, name="bundle")
app.add_typer(log.commands, name="log")
app.add_typer(imports.commands, name="import")
app.add_typer(features.commands, name="features")
app.add_typer(registry.commands, name="registry")
app.add_typer(stream.commands, name="stream")
app.add_typer(rollout, name="rollout")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
