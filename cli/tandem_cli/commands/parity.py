"""``tandem parity``: the same rows in every mode, compared."""

from __future__ import annotations

from typing import Annotated

import typer

from tandem import Bundle
from tandem_cli.commands.batch import BundleArgument
from tandem_cli.errors import FAILED
from tandem_cli.local.signals import until_interrupted
from tandem_cli.output import Console, Format, OutputOption, print_document
from tandem_cli.registry import bundle_path


def compare_modes(
    bundle: BundleArgument,
    rows: Annotated[int, typer.Option(min=0, help="Random rows.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the random rows: the same seed gives the same rows.")] = 0,
    mode: Annotated[
        list[str] | None, typer.Option(metavar="MODE", help="Only this mode; repeatable. By default all.")
    ] = None,
    output: OutputOption = Format.TABLE,
) -> None:
    """Predict golden and random rows in every mode that this installation can run, and compare the results.

    Vectors must be equal bit for bit, predictions within the tolerance of the bundle, the rest equal. Of a mode that
    differs, the first row that does is printed.

    Exit codes: 0 no mode differs, 1 one does, or the bundle is invalid, 2 the command line is invalid.
    """
    # imported late: the transformer takes a while to import
    from tandem_cli.parity.modes import MODES
    from tandem_cli.parity.report import describe_report, print_report
    from tandem_cli.parity.running import run_parity

    names = [entry.name for entry in MODES]
    if strange := set(mode or ()) - set(names):
        raise typer.BadParameter(f"{sorted(strange)[0]!r}; there are {', '.join(names)}", param_hint="--mode")
    modes = [entry for entry in MODES if not mode or entry.name in mode]
    version = Bundle.open(bundle_path(bundle))
    messages, is_equal = Console(stderr=True), False
    # a pair is stopped however this ends
    with until_interrupted(), messages.status("") as status:
        report = run_parity(version, modes, rows=rows, seed=seed, progress=status.update)
        status.stop()
        if output.is_document:
            print_document(describe_report(report), output)
        else:
            print_report(Console(), report)
        is_equal = report.is_equal and not (mode and report.skipped)
    if not is_equal:
        raise typer.Exit(FAILED)
