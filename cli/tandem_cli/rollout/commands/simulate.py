"""``tandem rollout simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from tandem_cli.output import Console, Format, OutputOption, print_document
from tandem_cli.rollout.output.screen.simulation import WIDTH, render_simulation
from tandem_cli.rollout.simulation import SimulatedTraffic, prepare_simulation, run_simulation

FileArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="FILE", dir_okay=False, help="Manifest with a canary, - for stdin; by default the default analysis."
    ),
]
RpsOption = Annotated[float, typer.Option("--rps", min=0.001, help="Requests per second to both versions together.")]
ErrorRateOption = Annotated[float, typer.Option("--error-rate", min=0.0, max=0.9, help="Share of errors of stable.")]
DegradedRateOption = Annotated[
    float, typer.Option("--degraded-rate", min=0.0, max=0.9, help="Share of degraded answers of stable.")
]
SlowRateOption = Annotated[
    float | None,
    typer.Option(
        "--slow-rate", min=0.0, max=0.9, help="Share of slow requests of stable; by default that of the quantile."
    ),
]
RateOption = Annotated[
    list[str] | None, typer.Option("--rate", metavar="METRIC=RATE", help="Rate of stable for one metric.")
]
WorseOption = Annotated[
    str,
    typer.Option("--worse", metavar="METRIC", help="Metric by which bad versions are worse; by default the first."),
]
WeightOption = Annotated[
    int, typer.Option("--weight", min=1, max=99, help="Without a manifest, the weight of the one step.")
]
PodsOption = Annotated[
    int, typer.Option("--pods", min=1, help="Pods of stable; with 2 or more, bursts are measured on them.")
]
RolloutsOption = Annotated[int, typer.Option("--rollouts", min=1, max=100_000, help="Rollouts of each kind.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same numbers.")]


def simulate_rollouts(
    file: FileArgument = None,
    rps: RpsOption = 20,
    error_rate: ErrorRateOption = 0.001,
    degraded_rate: DegradedRateOption = 0.001,
    slow_rate: SlowRateOption = None,
    rate: RateOption = None,
    worse: WorseOption = "",
    weight: WeightOption = 10,
    pods: PodsOption = 1,
    rollouts: RolloutsOption = 1000,
    seed: SeedOption = 1,
    output: OutputOption = Format.TABLE,
) -> None:
    """Simulate rollouts with your traffic: how good and bad versions end, and what that takes. Changes nothing.

    In the simulation pods are always ready, and steps that wait for approval proceed at once.

    Exit codes: 0 shown, 1 the manifest is invalid or has no canary, 2 the command line is invalid.
    """
    traffic = SimulatedTraffic(
        rps=rps,
        rates=rate or [],
        error_rate=error_rate,
        degraded_rate=degraded_rate,
        slow_rate=slow_rate,
        pods=pods,
    )
    rollout = prepare_simulation(file, weight, worse, traffic)
    messages = Console(stderr=True)
    with Progress(console=messages, transient=True, disable=not messages.is_terminal) as progress:
        task = progress.add_task("rollouts", total=rollouts * rollout.kinds)
        simulation = run_simulation(
            rollout, rps=rps, rollouts=rollouts, seed=seed, progress=lambda done: progress.advance(task, done)
        )
    if output.is_document:
        print_document(simulation, output)
        return
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    console.print(render_simulation(simulation))
