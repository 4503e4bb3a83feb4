"""``tandem leaks``: what a training set would have of the future, if rows counted that were not known yet."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from tandem.package import ModelPackage
from tandem_cli.errors import AdvisedError
from tandem_cli.output import Console, Format, OutputOption, print_document

if TYPE_CHECKING:
    from tandem_offline import Leaks


def report_leaks(
    path: Annotated[Path, typer.Argument(metavar="PATH", exists=True, file_okay=False, help="A model package.")],
    spine: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            exists=True,
            help="Parquet file, or a directory of them, with the keys and times of the rows.",
        ),
    ],
    timezone: Annotated[
        str | None, typer.Option(metavar="ZONE", help="Zone of times of the spine that have none, such as UTC.")
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="Values to show one by one, at most.")] = 10,
    output: OutputOption = Format.TABLE,
) -> None:
    """Report rows and values of a training set that change if feature rows count that became known later.

    A view takes part if its table has a column `created`, or the one that the package names for it.

    Exit codes: 0 reported, 1 a table cannot be read, 2 the command line is invalid.
    """
    # DuckDB and Arrow take a second to import, and are an extra
    try:
        from tandem_offline import OfflineStore
    except ModuleNotFoundError as error:
        raise AdvisedError(f"{error.name} is not installed", advice="install tandem-cli[offline]") from None

    package = ModelPackage.read(path)
    leaks = OfflineStore.of(package).leaks(package.load(), spine, timezone=timezone, examples=examples)
    if output.is_document:
        print_document(leaks, output)
        return
    console = Console()
    console.print(_views(leaks))
    if leaks.examples:
        console.print(_examples(leaks))
    console.print(
        f"{leaks.changed_rows:,} of {leaks.rows:,} rows would have values that were not known yet",
        highlight=False,
        soft_wrap=True,
    )


def _views(leaks: Leaks) -> Table:
    table = Table("view", "feature")
    for name in ("values", "rows"):
        table.add_column(name, justify="right")
    for view in leaks.views:
        if not view.bitemporal:
            table.add_row(view.view, "its table does not tell since when a row is known", "", "")
            continue
        for index, (feature, count) in enumerate(view.values.items()):
            first = index == 0
            table.add_row(view.view if first else "", feature, f"{count:,}", f"{view.rows:,}" if first else "")
    return table


def _examples(leaks: Leaks) -> Table:
    table = Table("row", "keys", "time", "feature", "known then", "known later", "since")
    for value in leaks.examples:
        keys = ", ".join(f"{name}={key}" for name, key in value.keys.items())
        values = ("null" if part is None else str(part) for part in (value.known, value.leaked))
        table.add_row(f"{value.row:,}", keys, _text(value.time), value.feature, *values, _text(value.created))
    return table


def _text(moment: object) -> str:
    return str(moment).removesuffix("+00:00")
