"""``tandem log``: show a prediction log, export it, join it with feedback, and compute its predictions again."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from tandem import Bundle, EmbeddedModel
from tandem.errors import LogError
from tandem.prediction_log.comparing import Replay, replay_against
from tandem.prediction_log.fields import documents, feedback_documents
from tandem.prediction_log.following import follow
from tandem.prediction_log.gathering import chunks
from tandem.prediction_log.records import Records
from tandem.prediction_log.skew import Skew, measure_skew
from tandem.prediction_log.spool import read_log
from tandem_cli.errors import FAILED
from tandem_cli.output import Console, Format, OutputOption, print_document

commands = typer.Typer(
    no_args_is_help=True,
    help="Show a prediction log, export it, join it with feedback, and compute its predictions again.",
)

LogArgument = Annotated[
    Path, typer.Argument(metavar="LOG", exists=True, file_okay=False, help="Directory of a prediction log.")
]
BundleArgument = Annotated[
    Path, typer.Argument(metavar="BUNDLE", exists=True, file_okay=False, help="Directory of a bundle.")
]
TargetOption = Annotated[Path, typer.Option("--to", metavar="DIR", file_okay=False, help="Directory of the files.")]
_PER_SECOND = 4


@commands.command()
def tail(
    path: LogArgument,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Print so many of the newest records.")] = 10,
    follow_log: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written from now on.")] = False,
    feedback: Annotated[bool, typer.Option("--feedback", help="Print feedback, not predictions.")] = False,
) -> None:
    """Print records as JSON, one in a line, in the order in which they were written.

    Exit codes: 0 printed, 1 the log cannot be read, 2 the command line is invalid.
    """
    kind = "feedback" if feedback else "predictions"
    write = feedback_documents if feedback else documents
    updates = follow(path)
    newest: deque[dict[str, Any]] = deque(maxlen=lines)
    for records in (records for of, records in next(updates) if of == kind):
        newest.extend(write(records))
    _print_lines(iter(newest))
    while follow_log:
        time.sleep(1 / _PER_SECOND)
        _print_lines(chain.from_iterable(write(records) for of, records in next(updates) if of == kind))


@commands.command()
def export(
    path: LogArgument,
    to: TargetOption,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the segments that are exported.")] = False,
) -> None:
    """Write completed segments as Parquet, each once, however often this is run.

    Exit codes: 0 exported, 1 the log cannot be read or a file not be written, 2 the command line is invalid.
    """
    # Arrow takes a tenth of a second to import
    from tandem.prediction_log.joining import export_log

    try:
        predictions, feedback = export_log(path, to, remove=remove)
    except OSError as error:
        raise LogError(f"{path} cannot be exported to {to}: {error}") from error
    typer.echo(f"exported {predictions} predictions and {feedback} records of feedback to {to}")


@commands.command()
def join(path: LogArgument, to: TargetOption, output: OutputOption = Format.TABLE) -> None:
    """Write the predictions that have feedback as Parquet, with what turned out to be true.

    Exit codes: 0 joined, 1 the log cannot be read or a file not be written, 2 the command line is invalid.
    """
    from tandem.prediction_log.joining import join_feedback

    try:
        joined = join_feedback(path, to)
    except OSError as error:
        raise LogError(f"{path} cannot be joined to {to}: {error}") from error
    _print_result(joined, output)


@commands.command()
def check(bundle: BundleArgument, path: LogArgument, output: OutputOption = Format.TABLE) -> None:
    """Compute the vectors of a version's logged predictions again, and count the bits in which they differ.

    Exit codes: 0 not a bit differs, 1 some do, or there is nothing to compare, 2 the command line is invalid.
    """
    skew = measure_skew(Bundle.open(bundle), _predictions(path))
    _print_result(skew, output)
    if skew.bits or not skew.rows:
        raise typer.Exit(FAILED)


@commands.command()
def replay(
    path: LogArgument,
    against: Annotated[
        Path,
        typer.Option(metavar="BUNDLE", exists=True, file_okay=False, help="Bundle of the version that predicts again."),
    ],
    output: OutputOption = Format.TABLE,
) -> None:
    """Predict with another version from the logged requests and features, and compare with what was answered.

    Exit codes: 0 compared, 1 the version cannot predict from this log, 2 the command line is invalid.
    """
    result = replay_against(EmbeddedModel.open(against), _predictions(path))
    _print_result(_facts(result), output)
    if not result.rows:
        raise typer.Exit(FAILED)


def _predictions(path: Path) -> Iterator[Records]:
    return (records for _, records in chunks(read_log(path, "predictions")))


def _facts(replay: Replay) -> dict[str, Any]:
    return {
        "rows": replay.rows,
        "differing": replay.differing,
        "skipped": replay.skipped,
        "mean_logged": replay.mean_logged,
        "mean_replayed": replay.mean_replayed,
        "median_difference": replay.quantile(0.5),
        "p99_difference": replay.quantile(0.99),
        "largest_difference": replay.largest,
    }


def _print_result(result: Skew | Any, output: Format) -> None:
    values: dict[str, Any] = msgspec.to_builtins(result)
    if output.is_document:
        print_document(values, output)
        return
    table = Table.grid(padding=(0, 2))
    for name, value in values.items():
        table.add_row(name.replace("_", " "), f"{value:g}" if isinstance(value, float) else str(value))
    Console(highlight=False).print(table)


def _print_lines(lines: Iterator[dict[str, Any]]) -> None:
    for line in lines:
        typer.echo(msgspec.json.encode(line))
