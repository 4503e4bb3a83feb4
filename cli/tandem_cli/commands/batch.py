"""``tandem batch``: predictions for many rows, appended to a table."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tandem import EmbeddedModel
from tandem_cli.batch import (
    describe_plan,
    describe_summary,
    print_plan,
    print_summary,
    read_request,
    read_selection,
    read_tables,
)
from tandem_cli.errors import AdvisedError
from tandem_cli.features import TableOption, row_progress
from tandem_cli.output import Console, Format, OutputOption, print_document
from tandem_cli.registry import bundle_path

if TYPE_CHECKING:
    from tandem_offline import FeatureTable
    from tandem_offline.batch import BatchPlan, BatchSummary, Output

BundleArgument = Annotated[
    str, typer.Argument(metavar="BUNDLE", help="Directory of a bundle, or models:/NAME/3 or models:/NAME@ALIAS.")
]
ToOption = Annotated[
    str, typer.Option("--to", metavar="PATH", help="Directory of Parquet files, or Delta table, that is appended to.")
]
RangeOption = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--range",
        metavar="START END",
        help="Rows with event times in a range, END not in it; in UTC without a zone. Also yesterday and today.",
    ),
]
LatestOption = Annotated[bool, typer.Option("--latest", help="The newest row of each entity.")]
SpineOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", exists=True, help="Rows of a Parquet file, or of a directory of them."),
]
AsOfOption = Annotated[
    str | None, typer.Option(metavar="TIME", help="The time of --latest, such as today; by default now.")
]
PackageOption = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        exists=True,
        file_okay=False,
        help="Model package whose \\[tool.tandem.features] names the tables; by default the current directory.",
    ),
]
RequestOption = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=VALUE", help="A field of the contract, the same for all rows; repeatable."),
]
RootOption = Annotated[str | None, typer.Option(metavar="VIEW", help="View whose rows are predicted for.")]
TimezoneOption = Annotated[
    str | None, typer.Option(metavar="ZONE", help="Zone of times of the spine that have none, such as UTC.")
]
DuplicatesOption = Annotated[bool, typer.Option("--duplicates", help="Allow rows of the spine that ask the same.")]
KeepOption = Annotated[
    list[str] | None, typer.Option(metavar="COLUMN", help="A further column to be written; repeatable.")
]
FormatOption = Annotated[
    Literal["parquet", "delta"] | None, typer.Option("--format", help="By default what is there, else parquet.")
]
RunOption = Annotated[
    str | None, typer.Option(metavar="NAME", help="Name of the run; by default made of version and arguments.")
]
PartOption = Annotated[int, typer.Option(min=1, help="Rows of a file, or of a commit.")]
MemoryOption = Annotated[str, typer.Option(metavar="SIZE", help="Memory of the join; it writes the rest to disk.")]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, help="Threads; by default one for each processor for the join, else one.")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print the plan, and write nothing.")]


def batch_bundle(
    bundle: BundleArgument,
    to: ToOption,
    range_: RangeOption = None,
    latest: LatestOption = False,
    spine: SpineOption = None,
    as_of: AsOfOption = None,
    package: PackageOption = None,
    table: TableOption = None,
    request: RequestOption = None,
    root: RootOption = None,
    timezone: TimezoneOption = None,
    duplicates: DuplicatesOption = False,
    keep: KeepOption = None,
    format_: FormatOption = None,
    run_id: RunOption = None,
    rows_per_part: PartOption = 1_000_000,
    memory: MemoryOption = "512MB",
    threads: ThreadsOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Predict for many rows with their features as of the time of each, and append the predictions to a table.

    Every row is written: without a prediction it has an error. Running it again continues an interrupted run, and
    changes nothing after a complete one.

    Exit codes: 0 all rows are written, 1 the bundle, a table or the output failed, 2 the command line is invalid.
    """
    selection = read_selection(range_, latest=latest, as_of=as_of, spine=spine, is_named=run_id is not None)
    _check_extra()
    from tandem_offline import OfflineStore
    from tandem_offline.batch import name_run, open_output, plan_batch
    from tandem_offline.engine import Limits

    model = EmbeddedModel.open(bundle_path(bundle), threads=threads or 1)
    values = read_request(model.bundle, request or [])
    query = selection.query() | {"root": root, "timezone": timezone, "duplicates": duplicates, "request": values}
    tables = read_tables(model.bundle, package, table or [])
    store = OfflineStore(tables, limits=Limits(memory, threads))
    features = store.batch_data(model.bundle.model, **query)
    arguments = query | {"tables": {view: source.name for view, source in tables.items()}, "keep": keep or []}
    name = run_id or name_run(model.bundle, arguments)
    plan = plan_batch(model.bundle, features, run_id=name, keep=keep or [], rows_per_part=rows_per_part)
    job = _Job(model, features, plan, open_output(to, format_), to)
    if dry_run:
        job.preview(output)
    else:
        job.write(output)


@dataclass(frozen=True)
class _Job:
    """A run, and the table that it appends to."""

    model: EmbeddedModel
    features: FeatureTable
    plan: BatchPlan
    table: Output
    to: str

    def preview(self, output: Format) -> None:
        from tandem_offline.batch import estimate

        self.table.check(self.plan.layout.schema)
        progress = self.table.progress(self.plan.run_id)
        rows_before = 0 if progress is None else self.plan.rows_before(progress.written)
        expected = estimate(self.model, self.features, self.plan)
        document = describe_plan(self.plan, self.model.bundle, self.to, expected, rows_before)
        if output.is_document:
            print_document(document, output)
        else:
            print_plan(Console(), document)

    def write(self, output: Format) -> None:
        from tandem_offline.batch import write_batch

        started = time.perf_counter()
        # a document has the standard output for itself
        with row_progress(Console(stderr=output.is_document)) as progress:
            task = progress.add_task(self.model.bundle.name, total=self.plan.rows)

            def show(summary: BatchSummary) -> None:
                progress.update(task, completed=summary.rows_before + summary.rows_written)

            summary = write_batch(self.model, self.features, self.plan, self.table, progress=show)
        seconds = time.perf_counter() - started
        document = describe_summary(summary, self.model.bundle, self.to, seconds)
        if output.is_document:
            print_document(document, output)
        else:
            print_summary(Console(), document)


def _check_extra() -> None:
    # DuckDB and Arrow take a second to import, and are an extra
    try:
        import tandem_offline.batch  # noqa: F401 (only whether it is there)
    except ModuleNotFoundError as error:
        raise AdvisedError(f"{error.name} is not installed", advice="install tandem-cli[offline]") from None
