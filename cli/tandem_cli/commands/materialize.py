"""``tandem materialize``: write feature tables to an online store."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from tandem import DefinitionError
from tandem.durations import parse_duration
from tandem.features import FeatureView
from tandem.package import ModelPackage
from tandem.sources import Source, read_sources
from tandem_cli.features import materialize_tables, views_of
from tandem_cli.output import Console

MIN_TTL_S: Final = 1.0
"""Least time to live of rows."""
_TIMES = ["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


def materialize_package(
    path: Annotated[Path, typer.Argument(metavar="PATH", exists=True, file_okay=False, help="A model package.")],
    store: Annotated[str, typer.Option(metavar="URL", help="Online store, such as redis://localhost:6379/0.")],
    view: Annotated[str | None, typer.Option(help="Only this feature view; by default all views of the model.")] = None,
    source: Annotated[
        Path | None,
        typer.Option(metavar="FILE", exists=True, help="Parquet file; by default the one in \\[tool.tandem.features]."),
    ] = None,
    start: Annotated[
        datetime | None, typer.Option(formats=_TIMES, help="First event time, in UTC unless it has a zone.")
    ] = None,
    end: Annotated[
        datetime | None, typer.Option(formats=_TIMES, help="Event time at which the range ends, itself not in it.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Read all rows, not only what is new since the last run.")
    ] = False,
    lateness: Annotated[
        str, typer.Option(metavar="DURATION", help="How long after others a row may arrive, such as 12h or 2d.")
    ] = "1d",
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Also replace values of the store that have a later event time; reads all."),
    ] = False,
    ttl: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Let rows expire this long after they are written, such as 30d."),
    ] = None,
) -> None:
    """Write the newest features of every entity to the online store, where it has no newer ones.

    Reads what is new since the last run. With --source, --start or --end it reads these rows, and the next run
    starts where it would have without.

    Exit codes: 0 all tables are written, 1 a table or the store failed, 2 the command line is
    invalid. Running it again is safe.
    """
    # Arrow takes a second to import
    from tandem.incremental import Selection

    if store.startswith("memory:"):
        raise typer.BadParameter(
            "memory:// ends with this command; name the store that transformers read", param_hint="--store"
        )
    try:
        selection = Selection(_in_utc(start), _in_utc(end), full or overwrite, lateness, partial=source is not None)
    except DefinitionError as error:
        raise typer.BadParameter(str(error)) from None
    package = ModelPackage.read(path)
    views = _choose(views_of(package.load()), view)
    if source is not None and len(views) != 1:
        raise typer.BadParameter(
            f"the file is for one view; choose it with --view: {', '.join(views)}", param_hint="--source"
        )
    sources = read_sources(package)
    if source is not None:
        # the columns are called as in the package's own table
        sources = {name: replace(sources.get(name, Source(source)), table=source, format=None) for name in views}
    ttl_s = None if ttl is None else _seconds(ttl)
    materialize_tables(views, sources, store, Console(), selection, overwrite=overwrite, ttl_s=ttl_s)


def _choose(views: dict[str, FeatureView], name: str | None) -> dict[str, FeatureView]:
    if name is None:
        return views
    if name not in views:
        raise typer.BadParameter(f"the model has no view {name!r}; it has {', '.join(views)}", param_hint="--view")
    return {name: views[name]}


def _seconds(ttl: str) -> float:
    try:
        seconds = float(parse_duration(ttl) / np.timedelta64(1, "s"))
    except DefinitionError as error:
        raise typer.BadParameter(str(error), param_hint="--ttl") from None
    if seconds < MIN_TTL_S:
        raise typer.BadParameter(f"rows would expire at once; give at least {MIN_TTL_S:g}s", param_hint="--ttl")
    return seconds


def _in_utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
