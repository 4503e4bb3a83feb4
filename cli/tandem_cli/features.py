"""Feature tables of a model package, and writing them to an online store with progress on a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tandem import DefinitionError, FeatureView, Model
from tandem.package import ModelPackage
from tandem.stores import open_store
from tandem_cli.output import Console

if TYPE_CHECKING:
    from tandem.materialize import Summary


def views_of(model: Model) -> dict[str, FeatureView]:
    """The feature views of a model by name, each once however often it is used."""
    return {use.view.name: use.view for use in model.views}


def tables_of(package: ModelPackage) -> dict[str, Path]:
    """The table of each feature view, as ``[tool.tandem.features]`` names it.

    Raises:
        DefinitionError: if that is not a table of paths.
    """
    tables = package.settings.get("features", {})
    if not isinstance(tables, Mapping) or not all(isinstance(file, str) for file in tables.values()):
        raise DefinitionError(f'{package.path}: [tool.tandem.features] must give a file to each view: view = "file"')
    return {view: package.path / file for view, file in tables.items()}


def materialize_tables(
    views: Mapping[str, FeatureView],
    tables: Mapping[str, Path],
    store_url: str,
    console: Console,
    *,
    overwrite: bool = False,
) -> dict[str, Summary]:
    """Write tables to an online store, with a progress bar for each on a terminal.

    Args:
        views: Feature views by name.
        tables: The table of each of them.
        store_url: The store.
        console: The console that shows progress and results.
        overwrite: Replace newer values of the store too.

    Raises:
        DefinitionError: if a view has no table, the table does not exist, or it does not match the view.
        StoreError: if the store cannot be written.
    """
    for view in views:
        if view not in tables:
            raise DefinitionError(f"feature view {view!r} has no table; name one in [tool.tandem.features]")
        if not tables[view].exists():
            raise DefinitionError(
                f"feature view {view!r}: {tables[view]} does not exist; write the package's data first"
            )
    with row_progress(console) as progress:
        summaries = asyncio.run(_materialize(views, tables, store_url, progress, overwrite))
    for view, summary in summaries.items():
        written = f"{summary.entities_written:,} entities of {summary.rows_read:,} rows, newest {summary.newest}"
        newer = f"; {summary.entities_newer:,} left, newer in the store" if summary.entities_newer else ""
        console.print(f"materialized {view}: {written}{newer}", highlight=False, soft_wrap=True)
    return summaries


async def _materialize(
    views: Mapping[str, FeatureView], tables: Mapping[str, Path], store_url: str, progress: Progress, overwrite: bool
) -> dict[str, Summary]:
    # imported late: Arrow takes a second, and commands without tables need not wait
    from tandem.arrow_tables import count_rows
    from tandem.materialize import materialize

    store = open_store(store_url)
    summaries = {}
    try:
        for name, view in views.items():
            task = progress.add_task(name, total=count_rows(tables[name]))
            summaries[name] = await materialize(
                view,
                tables[name],
                store,
                overwrite=overwrite,
                progress=lambda done, task=task: progress.update(task, completed=done.rows_read),  # type: ignore[misc]
            )
    finally:
        await store.close()
    return summaries


def row_progress(console: Console) -> Progress:
    """A progress bar that counts rows; shown on terminals only."""
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("rows")]
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal)
