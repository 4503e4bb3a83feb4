"""``tandem predict``: predictions of a table of requests, written ahead to the online store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from tandem import EmbeddedModel
from tandem.stores import open_store
from tandem_cli.features import row_progress
from tandem_cli.output import Console
from tandem_cli.registry import BundleArgument


def predict_table(
    path: BundleArgument,
    table: Annotated[
        Path, typer.Option(metavar="FILE", exists=True, help="Parquet file with a column for each field of a request.")
    ],
    write: Annotated[
        str,
        typer.Option(metavar="URL", help="Online store with the features, to which the predictions are written too."),
    ],
) -> None:
    """Predict the rows of a table, and write the predictions to the online store.

    The transformer of this bundle answers equal requests with them, as long as the model's precomputed= says. Rows
    whose stored features are lacking are left out. Running it again is safe.

    Exit codes: 0 all rows are read, 1 the bundle, the table or the store failed, 2 the command line is invalid.
    """
    if write.startswith("memory:"):
        raise typer.BadParameter(
            "memory:// ends with this command; name the store that transformers read", param_hint="--write"
        )
    # imported late: Arrow takes a second, and commands without tables need not wait
    from tandem.arrow_tables import count_rows
    from tandem.precompute import Summary, precompute

    console = Console()
    model = EmbeddedModel.open(path)

    async def run() -> Summary:
        store = open_store(write)
        try:
            with row_progress(console) as progress:
                task = progress.add_task(model.bundle.name, total=count_rows(table))
                return await precompute(
                    model, table, store, progress=lambda done: progress.update(task, completed=done.rows_read)
                )
        finally:
            await store.close()

    summary = asyncio.run(run())
    degraded = f"; {summary.rows_degraded:,} left out, without all features" if summary.rows_degraded else ""
    newer = f"; {summary.rows_newer:,} left, newer in the store" if summary.rows_newer else ""
    written = f"{summary.rows_written:,} of {summary.rows_read:,} rows{degraded}{newer}"
    console.print(f"predicted with {model.bundle.wire_name}: {written}", highlight=False, soft_wrap=True)
