"""``tandem import``: feature views that are declared elsewhere already."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tandem_cli.errors import AdvisedError

commands = typer.Typer(no_args_is_help=True, help="Write feature views that are declared elsewhere as Python source.")


@commands.callback()
def _group() -> None:
    """Without it a group of one command would be that command."""


@commands.command("feast")
def import_feast(
    repository: Annotated[
        Path, typer.Argument(metavar="REPO", exists=True, file_okay=False, help="Directory with feature_store.yaml.")
    ],
    views: Annotated[list[str], typer.Argument(metavar="VIEW...", help="Feature views of the repository.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="Write to this file.")
    ] = None,
) -> None:
    """Write feature views of a Feast repository as Python source for a model package.

    Exit codes: 0 written, 1 a view cannot be declared, 2 the command line is invalid.
    """
    try:
        from tandem.feast.views import write_views
    except ModuleNotFoundError as error:
        raise AdvisedError(
            f"Feast repositories need {error.name}", advice="install tandem-core[feast] in an environment of its own"
        ) from None
    source = write_views(repository, views)
    if output is None:
        typer.echo(source, nl=False)
    else:
        output.write_text(source)
