"""``tandem materialize``: write feature tables to an online store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from tandem import DefinitionError
from tandem.features import parse_duration
from tandem.package import ModelPackage
from tandem_cli.features import materialize_tables, tables_of, views_of
from tandem_cli.output import Console

MIN_TTL_S: Final = 1.0
"""Least time to live of rows."""


def materialize_package(
    path: Annotated[Path, typer.Argument(metavar="PATH", exists=True, file_okay=False, help="A model package.")],
    store: Annotated[str, typer.Option(metavar="URL", help="Online store, such as redis://localhost:6379/0.")],
    view: Annotated[str | None, typer.Option(help="Only this feature view; by default all views of the model.")] = None,
    source: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, help="Parquet file; by default the one in \\[tool.tandem.features]."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Also replace values of the store that have a later event time.")
    ] = False,
    ttl: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Let rows expire this long after they are written, such as 30d."),
    ] = None,
) -> None:
    """Write the newest features of every entity to the online store, where it has no newer ones.

    Exit codes: 0 all tables are written, 1 a table or the store failed, 2 the command line is
    invalid. Running it again is safe.
    """
    if store.startswith("memory:"):
        raise typer.BadParameter(
            "memory:// ends with this command; name the store that transformers read", param_hint="--store"
        )
    package = ModelPackage.read(path)
    views = views_of(package.load())
    if view is not None and view not in views:
        raise typer.BadParameter(f"the model has no view {view!r}; it has {', '.join(views)}", param_hint="--view")
    if view is not None:
        views = {view: views[view]}
    if source is not None and len(views) != 1:
        raise typer.BadParameter(
            f"the file is for one view; choose it with --view: {', '.join(views)}", param_hint="--source"
        )
    tables = dict.fromkeys(views, source) if source is not None else tables_of(package)
    materialize_tables(
        views, tables, store, Console(), overwrite=overwrite, ttl_s=None if ttl is None else _seconds(ttl)
    )


def _seconds(ttl: str) -> float:
    try:
        seconds = float(parse_duration(ttl) / np.timedelta64(1, "s"))
    except DefinitionError as error:
        raise typer.BadParameter(str(error), param_hint="--ttl") from None
    if seconds < MIN_TTL_S:
        raise typer.BadParameter(f"rows would expire at once; give at least {MIN_TTL_S:g}s", param_hint="--ttl")
    return seconds
