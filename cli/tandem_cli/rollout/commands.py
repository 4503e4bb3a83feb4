"""``tandem rollout``: the commands."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from tandem_cli.errors import TellingGroup
from tandem_cli.output import Console
from tandem_cli.render import dump
from tandem_cli.rollout import screen
from tandem_cli.rollout.course import Traffic
from tandem_cli.rollout.current import Current, current, last_record
from tandem_cli.rollout.explaining import Commands, explanation
from tandem_cli.rollout.forms import Status, StatusList
from tandem_cli.rollout.options import (
    ClusterOption,
    ContextOption,
    Format,
    LocalOption,
    NameArgument,
    NamespaceOption,
    OutputOption,
    a_duration,
    check_version,
    show,
    target_of,
)
from tandem_cli.rollout.planning import expected_of, planned
from tandem_cli.rollout.report.form import Report
from tandem_cli.rollout.report.form import report as report_of
from tandem_cli.rollout.report.markdown import markdown
from tandem_cli.rollout.report.page import page
from tandem_cli.rollout.report.tracks import tracks, weights
from tandem_cli.rollout.setting import Setting
from tandem_cli.rollout.simulate import simulate
from tandem_cli.rollout.standing import history as history_of
from tandem_cli.rollout.standing import standing
from tandem_cli.rollout.target import Target
from tandem_cli.rollout.training import expected_of_bundles
from tandem_cli.rollout.verbs import add_verbs
from tandem_cli.rollout.watching import Goal, wait
from tandem_cli.rollout.watching import watch as watch_until_it_ends
from tandem_rollout.analysis.record import Record
from tandem_rollout.api.fields import seconds
from tandem_rollout.api.text import printable


class ReportFormat(StrEnum):
    """How a report is written."""

    MD = "md"
    HTML = "html"
    JSON = "json"
    YAML = "yaml"


commands = typer.Typer(
    cls=TellingGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="New versions on their way to clients: what they do, why, and your word in it.\n\n"
    "A stack of that name that runs on this machine is meant; else the cluster of the kubeconfig.\n\n"
    "Exit codes of all commands: 0 done or promoted, 1 failure, 2 the command line is invalid, 3 taken back, "
    "4 not decided or not heard in time, 5 waits for a person.",
)


commands.command("simulate")(simulate)


@commands.command("status")
def status(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the rollout; all without it.")] = "",
    wait_for: Annotated[Goal | None, typer.Option("--wait-for", help="Wait for this state first.")] = None,
    timeout: Annotated[
        str, typer.Option("--timeout", callback=a_duration, metavar="DURATION", help="How long to wait for it.")
    ] = "10m",
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit by the state of the run.")] = False,
    namespace: NamespaceOption = "",
    kube_context: ContextOption = "",
    local: LocalOption = False,
    cluster: ClusterOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show where a run stands, and what each metric says.

    Exit codes: 0 shown; with --wait-for 0 reached, 1 ended otherwise, 3 taken back, 4 not in time, 5 waits for a
    person; with --exit-code by the state: 0 promoted, concluded or no run, 3 taken back, 4 on its way, 5 waits for a
    person. Taken back is aborted, or rolled back after the promotion.
    """
    setting = context.ensure_object(Setting)
    target = target_of(setting, name, local, cluster, namespace, kube_context)
    if not name:
        if wait_for or exit_code:
            raise typer.BadParameter("needs a NAME", param_hint="--wait-for" if wait_for else "--exit-code")
        _show_all(target, setting, output)
        return
    if wait_for:
        found, code = wait(target, name, wait_for, setting, timeout=seconds(timeout))
    else:
        found, code = current(target.get(name)), 0
    form = standing(found, target.record(name, found.run.number) if found.run else None)
    show(form, screen.status(form, now=setting.now(), wide=output is Format.WIDE), output)
    raise typer.Exit(form.exit_code if exit_code and not wait_for else code)


@commands.command("watch")
def watch(
    context: typer.Context,
    name: NameArgument,
    timeout: Annotated[
        str, typer.Option("--timeout", callback=a_duration, metavar="DURATION", help="How long to watch at most.")
    ] = "24h",
    every: Annotated[
        str, typer.Option("--every", callback=a_duration, metavar="DURATION", help="Time between two looks.")
    ] = "2s",
    namespace: NamespaceOption = "",
    kube_context: ContextOption = "",
    local: LocalOption = False,
    cluster: ClusterOption = False,
) -> None:
    """Show a run until it ends. Without a terminal, each change is a line.

    Exit codes: 0 promoted or concluded, 1 failure, 2 the command line is invalid, 3 aborted or rolled back, 4 not
    decided in time, 5 waits for a person when the time is over.
    """
    setting = context.ensure_object(Setting)
    target = target_of(setting, name, local, cluster, namespace, kube_context)
    pause = max(seconds(every), 0.1)
    raise typer.Exit(watch_until_it_ends(target, name, setting, Console(), timeout=seconds(timeout), every=pause))


@commands.command("history")
def history(
    context: typer.Context,
    name: NameArgument,
    namespace: NamespaceOption = "",
    kube_context: ContextOption = "",
    local: LocalOption = False,
    cluster: ClusterOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show the runs of a rollout: how they ended, who wanted it, and why.

    Exit codes: 0 shown, 1 failure, 2 the command line is invalid.
    """
    setting = context.ensure_object(Setting)
    target = target_of(setting, name, local, cluster, namespace, kube_context)
    form = history_of(current(target.get(name)))
    wide = output is Format.WIDE
    show(form, screen.history(form, now=setting.now(), wide=wide), output)


@commands.command("plan")
def plan(
    context: typer.Context,
    name: NameArgument,
    bundle: Annotated[str, typer.Option("--bundle", metavar="IMAGE", help="Cluster: image of another bundle.")] = "",
    version: Annotated[str, typer.Option("--version", help="This machine: another version.")] = "",
    rps: Annotated[
        float | None, typer.Option("--rps", min=0.0, help="Requests per second; by default as in the last run.")
    ] = None,
    error_rate: Annotated[
        float | None,
        typer.Option(
            "--error-rate", min=0.0, max=0.999, help="Share of errors of what serves; by default as in the last run."
        ),
    ] = None,
    from_bundle: Annotated[
        Path | None,
        typer.Option("--from-bundle", exists=True, file_okay=False, help="Directory of the bundle that serves."),
    ] = None,
    to_bundle: Annotated[
        Path | None,
        typer.Option("--to-bundle", exists=True, file_okay=False, help="Directory of the bundle that follows."),
    ] = None,
    namespace: NamespaceOption = "",
    kube_context: ContextOption = "",
    local: LocalOption = False,
    cluster: ClusterOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what another version would go through: steps, requests and minutes that each metric needs. Writes nothing.

    How far apart predictions will be it takes from the histograms of both bundles' training predictions: of a stack on
    this machine by itself, of a cluster from the directories of both bundles.

    Exit codes: 0 shown, 1 nothing is decided there, 2 the command line is invalid.
    """
    setting = context.ensure_object(Setting)
    target = target_of(setting, name, local, cluster, namespace, kube_context)
    check_version(target, bundle, version)
    if (from_bundle is None) != (to_bundle is None):
        raise typer.BadParameter("distances are between two bundles: give both", param_hint="--from-bundle/--to-bundle")
    manifest = target.get(name)
    found = current(manifest)
    if bundle or version:
        target.revision(manifest, bundle or version)
    expected = (
        expected_of_bundles(from_bundle, to_bundle)
        if from_bundle is not None and to_bundle is not None
        else expected_of(found, target.predictions(name), version)
    )
    record = last_record(target, found)
    traffic = Traffic(requests_per_second=rps, error_rate=error_rate, record=record, expected=expected)
    form = planned(found, traffic, image=bundle or version)
    show(form, screen.plan(form), output)


@commands.command("explain")
def explain(
    context: typer.Context,
    name: NameArgument,
    namespace: NamespaceOption = "",
    kube_context: ContextOption = "",
    local: LocalOption = False,
    cluster: ClusterOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Say why a rollout is where it is, what it waits for, by which rule, and what to type next.

    Exit codes: 0 said, 1 failure, 2 the command line is invalid.
    """
    setting = context.ensure_object(Setting)
    target = target_of(setting, name, local, cluster, namespace, kube_context)
    manifest = target.get(name)
    found = current(manifest)
    record = target.record(name, found.run.number) if found.run else None
    wanted = target.revision(manifest) if found.spec is not None else ""
    commands = Commands(options=target.options, heard=target.alive(name), wanted=wanted)
    form = explanation(found, record, setting.now(), commands)
    show(form, screen.explanation(form), output)


@commands.command("report")
def report(
    context: typer.Context,
    name: NameArgument,
    run: Annotated[
        int | None, typer.Argument(metavar="RUN", min=1, help="Number of the run; by default the last one.")
    ] = None,
    kind: Annotated[
        ReportFormat | None,
        typer.Option("--format", help="How to write it; by default as the name of the file ends, else md."),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", dir_okay=False, help="Where to write it.")
    ] = None,
    namespace: NamespaceOption = "",
    kube_context: ContextOption = "",
    local: LocalOption = False,
    cluster: ClusterOption = False,
) -> None:
    """Write down the evidence of a run: questions, samples, decisions, verdicts. HTML is one file, with plots.

    Exit codes: 0 written, 1 there is no such run, 2 the command line is invalid.
    """
    if file is not None and str(file) in list(ReportFormat):
        raise typer.BadParameter(f"is a file here: use --format {file}", param_hint="--output")
    setting = context.ensure_object(Setting)
    target = target_of(setting, name, local, cluster, namespace, kube_context)
    found = current(target.get(name))
    number = run if run is not None else next((each.number for each in found.runs()), None)
    record = target.record(name, number) if number is not None else None
    written = _written(kind or _format_of(file), found, report_of(found, number, record, setting.now()), record)
    if file is None:
        typer.echo(printable(written), nl=False)
        return
    try:
        file.write_text(written, encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="--output") from None
    typer.echo(f"written: {file}")


add_verbs(commands)


def main() -> None:
    """Run them as a plugin of kubectl."""
    commands(prog_name="kubectl tandem-rollout")


def _format_of(file: Path | None) -> ReportFormat:
    """By the end of the file's name."""
    ending = file.suffix.lower().lstrip(".") if file else ""
    names = {"htm": "html", "yml": "yaml"}
    ending = names.get(ending, ending)
    return ReportFormat(ending) if ending in list(ReportFormat) else ReportFormat.MD


def _written(kind: ReportFormat, found: Current, form: Report, record: Record | None) -> str:
    if kind is ReportFormat.JSON:
        return msgspec.json.format(msgspec.json.encode(form), indent=2).decode() + "\n"
    if kind is ReportFormat.YAML:
        return dump([msgspec.to_builtins(form)])
    write = page if kind is ReportFormat.HTML else markdown
    series = tracks(found.metrics, record) if record else []
    return write(form, weights(record) if record else None, series)


def _show_all(target: Target, setting: Setting, output: Format) -> None:
    forms = [_standing(target, name) for name in target.names()]
    if not forms and not output.for_programs:
        typer.echo(f"there is no rollout: {target.place}")
        return
    show(StatusList(items=forms), screen.statuses(forms, now=setting.now()), output)


def _standing(target: Target, name: str) -> Status:
    return standing(current(target.get(name)), None)
