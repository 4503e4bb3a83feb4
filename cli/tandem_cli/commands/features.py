"""``tandem features``: how fresh feature views are in the online store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.table import Table
from rich.text import Text

from tandem import FeatureView
from tandem.package import ModelPackage
from tandem.sources import Source, check_sources, read_sources
from tandem.stores import open_store
from tandem_cli.errors import FAILED
from tandem_cli.features import views_of
from tandem_cli.output import Console, Format, OutputOption, print_document

if TYPE_CHECKING:
    from tandem.freshness import Freshness

commands = typer.Typer(no_args_is_help=True, help="Feature views: online store and tables compared.")

_STYLES = {"fresh": "green", "behind": "yellow", "interrupted": "yellow", "never": "bold red"}


@commands.callback()
def _group() -> None:
    pass


@commands.command()
def status(
    path: Annotated[Path, typer.Argument(metavar="PATH", exists=True, file_okay=False, help="A model package.")],
    store: Annotated[str, typer.Option(metavar="URL", help="Online store, such as redis://localhost:6379/0.")],
    output: OutputOption = Format.TABLE,
) -> None:
    """Compare the online store with the tables of the feature views, by event time.

    Of each view it reads keys and event times, and looks up the entities of the 1,000 newest rows.

    Exit codes: 0 the store has the newest rows of all views, 1 it has not, or a table or the store failed, 2 the
    command line is invalid.
    """
    package = ModelPackage.read(path)
    views, sources = views_of(package.load()), read_sources(package)
    check_sources(views, sources)
    results = asyncio.run(_compare(views, sources, store))
    if output.is_document:
        print_document([_document(result) for result in results], output)
    else:
        Console().print(_table(results))
    if any(result.status != "fresh" for result in results):
        raise typer.Exit(FAILED)


async def _compare(views: Mapping[str, FeatureView], sources: Mapping[str, Source], url: str) -> list[Freshness]:
    # Arrow takes a second to import
    from tandem.freshness import compare_freshness

    store = open_store(url)
    try:
        return [await compare_freshness(view, sources[name], store) for name, view in views.items()]
    finally:
        await store.close()


def _table(results: list[Freshness]) -> Table:
    table = Table("view", "status", "newest in the table", "newest online", "last run")
    for name in ("rows", "new rows", "missing", "older"):
        table.add_column(name, justify="right")
    for result in results:
        table.add_row(
            result.view,
            Text(result.status, _STYLES[result.status]),
            _text(result.newest_offline),
            _text(result.newest_online),
            _text(result.materialized_at),
            f"{result.rows:,}",
            f"{result.new_rows:,}",
            f"{result.missing:,}",
            f"{result.older:,}",
        )
    sampled = ", ".join(f"{result.sampled:,}" for result in results)
    table.caption = f"missing and older: of {sampled} entities that were looked up"
    table.caption_justify = "left"
    return table


def _document(result: Freshness) -> dict[str, object]:
    return {
        "view": result.view,
        "status": result.status,
        "rows": result.rows,
        "newestOffline": _instant(result.newest_offline),
        "newestOnline": _instant(result.newest_online),
        "materializedAt": _instant(result.materialized_at),
        "newRows": result.new_rows,
        "sampled": result.sampled,
        "missing": result.missing,
        "older": result.older,
    }


def _text(moment: np.datetime64) -> str:
    return "-" if np.isnat(moment) else str(moment.astype("datetime64[s]"))


def _instant(moment: np.datetime64) -> str | None:
    return None if np.isnat(moment) else f"{moment}Z"
