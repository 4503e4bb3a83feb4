"""``tandem rollout report``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tandem_cli.output import dump_yaml
from tandem_cli.rollout.commands.options import (
    ClusterOption,
    ContextOption,
    LocalOption,
    NameArgument,
    NamespaceOption,
    select_target,
)
from tandem_cli.rollout.output.documents.report import ReportDocument
from tandem_cli.rollout.output.report.markdown import render_markdown
from tandem_cli.rollout.output.report.page import render_page
from tandem_cli.rollout.output.report.series import build_metric_series, build_weight_series
from tandem_cli.rollout.report import build_report
from tandem_cli.rollout.snapshot import RolloutSnapshot, read_snapshot
from tandem_rollout.analysis.record import Record
from tandem_rollout.api.text import printable


class ReportFormat(StrEnum):
    """How a report is written."""

    MD = "md"
    HTML = "html"
    JSON = "json"
    YAML = "yaml"


def write_report(
    context: typer.Context,
    name: NameArgument,
    run: Annotated[
        int | None, typer.Argument(metavar="RUN", min=1, help="Number of the run; by default the last one.")
    ] = None,
    report_format: Annotated[
        ReportFormat | None,
        typer.Option("--format", help="Format; by default that of the file's extension, else md."),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="File to write; by default stdout."),
    ] = None,
    namespace: NamespaceOption = "",
    kube_context: ContextOption = "",
    local: LocalOption = False,
    cluster: ClusterOption = False,
) -> None:
    """Write the evidence of a run: questions, samples, decisions, verdicts. HTML is one file with plots.

    Exit codes: 0 written, 1 there is no such run, 2 the command line is invalid.
    """
    if file is not None and str(file) in list(ReportFormat):
        raise typer.BadParameter(f"must be a file; for the format use --format {file}", param_hint="--output")
    command, target = select_target(
        context, name, local=local, cluster=cluster, namespace=namespace, kube_context=kube_context
    )
    snapshot = read_snapshot(target.get(name))
    number = run if run is not None else next((entry.number for entry in snapshot.runs()), None)
    record = target.record(name, number) if number is not None else None
    report = build_report(snapshot, number, record, command.now())
    text = _render(report_format or _format_of(file), snapshot, report, record)
    if file is None:
        typer.echo(printable(text), nl=False)
        return
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="--output") from None
    typer.echo(f"written: {file}")


def _format_of(file: Path | None) -> ReportFormat:
    """The format of a file, by its extension."""
    extension = file.suffix.lower().lstrip(".") if file else ""
    aliases = {"htm": "html", "yml": "yaml"}
    extension = aliases.get(extension, extension)
    return ReportFormat(extension) if extension in list(ReportFormat) else ReportFormat.MD


def _render(
    report_format: ReportFormat, snapshot: RolloutSnapshot, report: ReportDocument, record: Record | None
) -> str:
    if report_format is ReportFormat.JSON:
        return msgspec.json.format(msgspec.json.encode(report), indent=2).decode() + "\n"
    if report_format is ReportFormat.YAML:
        return dump_yaml([msgspec.to_builtins(report)])
    render = render_page if report_format is ReportFormat.HTML else render_markdown
    weights = build_weight_series(record) if record else None
    metrics = build_metric_series(snapshot.metrics, record) if record else []
    return render(report, weights, metrics)
