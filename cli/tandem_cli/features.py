"""Feature tables of a model package, and writing them to an online store with progress on a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from tandem import FeatureView, Model
from tandem.sources import Source, check_sources
from tandem.stores import open_store
from tandem_cli.output import Console

if TYPE_CHECKING:
    from tandem.incremental import RunSummary, Selection
    from tandem.materialize import Summary


def views_of(model: Model) -> dict[str, FeatureView]:
    """The feature views of a model by name, each once however often it is used."""
    return {use.view.name: use.view for use in model.views}


def materialize_tables(
    views: Mapping[str, FeatureView], sources: Mapping[str, Source], store_url: str, console: Console
) -> dict[str, Summary]:
    """Write whole tables to an online store, with a progress bar for each on a terminal.

    Args:
        views: Feature views by name.
        sources: The table of each of them.
        store_url: The store.
        console: The console that shows progress and results.

    Raises:
        DefinitionError: if a view has no table, the table does not exist, or it does not match the view.
        StoreError: if the store cannot be written.
    """
    check_sources(views, sources)
    with _progress(console) as progress:
        summaries = asyncio.run(_materialize(views, sources, store_url, progress))
    for view, summary in summaries.items():
        written = f"{summary.entities_written:,} entities of {summary.rows_read:,} rows, newest {summary.newest}"
        newer = f"; {summary.entities_newer:,} left, newer in the store" if summary.entities_newer else ""
        console.print(f"materialized {view}: {written}{newer}", highlight=False, soft_wrap=True)
    return summaries


def materialize_new_rows(
    views: Mapping[str, FeatureView],
    sources: Mapping[str, Source],
    store_url: str,
    console: Console,
    selection: Selection,
    *,
    overwrite: bool = False,
) -> dict[str, RunSummary]:
    """Write what is new in tables to an online store, with a progress bar for each on a terminal.

    Args:
        views: Feature views by name.
        sources: The table of each of them.
        store_url: The store.
        console: The console that shows progress and results.
        selection: Which rows are read.
        overwrite: Replace newer values of the store too.

    Raises:
        DefinitionError: as :func:`materialize_tables`.
        StoreError: if the store cannot be written.
    """
    check_sources(views, sources)
    with _progress(console) as progress:
        summaries = asyncio.run(_materialize_new(views, sources, store_url, progress, selection, overwrite))
    for view, summary in summaries.items():
        console.print(f"materialized {view}: {_describe(summary)}", highlight=False, soft_wrap=True)
    return summaries


def _describe(summary: RunSummary) -> str:
    since = "" if summary.since is None else f" since {summary.since}"
    text = f"{summary.rows_written:,} rows written of {summary.rows_read:,} read{since}"
    if summary.rows_older:
        text += f"; {summary.rows_older:,} left, newer in the store"
    if summary.resumed:
        text += "; continued an interrupted run"
    return text if np.isnat(summary.newest) else f"{text}; newest {summary.newest}"


async def _materialize(
    views: Mapping[str, FeatureView], sources: Mapping[str, Source], store_url: str, progress: Progress
) -> dict[str, Summary]:
    # imported late: Arrow takes a second, and commands without tables need not wait
    from tandem.arrow_tables import count_rows
    from tandem.materialize import materialize

    store = open_store(store_url)
    summaries = {}
    try:
        for name, view in views.items():
            source = sources[name]
            table = source.open() if source.is_delta else source.table
            task = progress.add_task(name, total=count_rows(table))
            summaries[name] = await materialize(
                view,
                table,
                store,
                event_time=source.event_time,
                progress=lambda done, task=task: progress.update(task, completed=done.rows_read),  # type: ignore[misc]
            )
    finally:
        await store.close()
    return summaries


async def _materialize_new(
    views: Mapping[str, FeatureView],
    sources: Mapping[str, Source],
    store_url: str,
    progress: Progress,
    selection: Selection,
    overwrite: bool,
) -> dict[str, RunSummary]:
    from tandem.incremental import materialize_new

    store = open_store(store_url)
    summaries = {}
    try:
        for name, view in views.items():
            task = progress.add_task(name, total=None)

            def show(done: RunSummary, task: TaskID = task) -> None:
                progress.update(task, completed=done.rows_read, total=done.rows)

            summaries[name] = await materialize_new(
                view,
                sources[name],
                store,
                now=datetime.now(UTC),
                selection=selection,
                overwrite=overwrite,
                progress=show,
            )
    finally:
        await store.close()
    return summaries


class _Rate(ProgressColumn):
    """Rows per second."""

    def render(self, task: Task) -> Text:
        """The rate of a task; nothing before there is one."""
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else f"{rate:,.0f} rows/s")


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
