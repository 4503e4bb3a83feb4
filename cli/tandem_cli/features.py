"""Feature tables of a model package, and writing them to an online store with progress on a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
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

TableOption = Annotated[
    list[str] | None, typer.Option(metavar="VIEW=PATH", help="Table of a feature view; repeatable.")
]


def views_of(model: Model) -> dict[str, FeatureView]:
    """The feature views of a model by name, each once however often it is used."""
    return {use.view.name: use.view for use in model.views}


def materialize_tables(
    views: Mapping[str, FeatureView],
    sources: Mapping[str, Source],
    store_url: str,
    console: Console,
    selection: Selection | None = None,
    *,
    overwrite: bool = False,
    ttl_s: float | None = None,
) -> None:
    """Write tables to an online store, with a progress bar for each on a terminal.

    Args:
        views: Feature views by name.
        sources: The table of each of them.
        store_url: The store.
        console: The console that shows progress and results.
        selection: Which rows are read; None for those that are new to the store.
        overwrite: Replace newer values of the store too.
        ttl_s: Seconds after which the rows that are written expire; None for never.

    Raises:
        DefinitionError: if a view has no table, the table does not exist, or it does not match the view.
        StoreError: if the store cannot be written.
    """
    check_sources(views, sources)
    with row_progress(console) as progress:
        summaries = asyncio.run(_materialize(views, sources, store_url, progress, selection, overwrite, ttl_s))
    for view, summary in summaries.items():
        console.print(f"materialized {view}: {_describe(summary)}", highlight=False, soft_wrap=True)


def _describe(summary: RunSummary) -> str:
    since = "" if summary.since is None else f" since {summary.since}"
    text = f"{summary.rows_written:,} rows written of {summary.rows_read:,} read{since}"
    text += f"; {summary.rows_older:,} left, newer in the store" if summary.rows_older else ""
    text += "; continued an interrupted run" if summary.resumed else ""
    return text if np.isnat(summary.newest) else f"{text}; newest {summary.newest}"


async def _materialize(
    views: Mapping[str, FeatureView],
    sources: Mapping[str, Source],
    store_url: str,
    progress: Progress,
    selection: Selection | None,
    overwrite: bool,
    ttl_s: float | None,
) -> dict[str, RunSummary]:
    # imported late: Arrow takes a second, and commands without tables need not wait
    from tandem.incremental import materialize_new

    store = open_store(store_url)
    now = datetime.now(UTC)
    options: dict[str, Any] = {"now": now, "selection": selection, "overwrite": overwrite, "ttl_s": ttl_s}
    summaries = {}
    try:
        for name, view in views.items():
            show = partial(_show, progress, progress.add_task(name, total=None))
            summaries[name] = await materialize_new(view, sources[name], store, progress=show, **options)
    finally:
        await store.close()
    return summaries


def _show(progress: Progress, task: TaskID, summary: RunSummary) -> None:
    progress.update(task, completed=summary.rows_read, total=summary.rows)


class _Rate(ProgressColumn):
    """Rows per second, or what else is counted."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        """The rate of a task; nothing before there is one."""
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else f"{rate:,.0f} {self._unit}/s")


def row_progress(console: Console, unit: str = "rows") -> Progress:
    """A progress bar that counts rows, or what else the unit says; shown on terminals only."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        _Rate(unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
