"""``tandem rollout plan``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tandem_cli.output import Format, OutputOption
from tandem_cli.rollout.commands.options import (
    BundleOption,
    ClusterOption,
    ContextOption,
    LocalOption,
    NameArgument,
    NamespaceOption,
    VersionOption,
    check_version,
    select_target,
)
from tandem_cli.rollout.estimate import TrafficAssumptions
from tandem_cli.rollout.output.screen.layout import print_result
from tandem_cli.rollout.output.screen.plan import render_plan
from tandem_cli.rollout.plan import build_plan, expect_distance
from tandem_cli.rollout.snapshot import find_record, read_snapshot
from tandem_cli.rollout.training_predictions import compare_bundles


def show_plan(
    context: typer.Context,
    name: NameArgument,
    bundle: BundleOption = "",
    version: VersionOption = "",
    rps: Annotated[
        float | None, typer.Option("--rps", min=0.0, help="Requests per second; by default as in the last run.")
    ] = None,
    error_rate: Annotated[
        float | None,
        typer.Option(
            "--error-rate", min=0.0, max=0.999, help="Share of errors of stable; by default as in the last run."
        ),
    ] = None,
    from_bundle: Annotated[
        Path | None,
        typer.Option("--from-bundle", exists=True, file_okay=False, help="Directory of the bundle that serves."),
    ] = None,
    to_bundle: Annotated[
        Path | None,
        typer.Option("--to-bundle", exists=True, file_okay=False, help="Directory of the bundle that replaces it."),
    ] = None,
    namespace: NamespaceOption = "",
    kube_context: ContextOption = "",
    local: LocalOption = False,
    cluster: ClusterOption = False,
    output: OutputOption = Format.TABLE,
) -> None:
    """Show what a run of another version would take: steps, requests and minutes per metric. Changes nothing.

    The expected distance of the predictions comes from the training predictions of both bundles. For a stack on this
    machine they are known. For a cluster, use --from-bundle and --to-bundle.

    Exit codes: 0 shown, 1 the rollout has no runs, 2 the command line is invalid.
    """
    _, target = select_target(
        context, name, local=local, cluster=cluster, namespace=namespace, kube_context=kube_context
    )
    image = check_version(target, bundle, version)
    if (from_bundle is None) != (to_bundle is None):
        raise typer.BadParameter("both bundles are required", param_hint="--from-bundle/--to-bundle")
    snapshot = read_snapshot(target.get(name))
    if image:
        # checks that there is such a version
        target.revision(snapshot.manifest, image)
    distance = (
        compare_bundles(from_bundle, to_bundle)
        if from_bundle is not None and to_bundle is not None
        else expect_distance(snapshot, target.predictions(name), version)
    )
    record = find_record(target, snapshot)
    traffic = TrafficAssumptions(requests_per_second=rps, error_rate=error_rate, record=record, distance=distance)
    plan = build_plan(snapshot, traffic, image=image)
    print_result(plan, render_plan(plan), output)
