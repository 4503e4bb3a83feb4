"""Train a model, serve it, and ship another version of it as a canary that metrics judge, all under load.

    make demo
    make demo BAD=errors        (or latency, or drift: a faulty version, which has to be caught)

Version v1 has all the traffic first, then v2 gets a tenth of it. There every vector that the transformers made online
must equal the vector made offline from the tables, bit for bit, and every prediction must be scikit-learn's within the
bundle's tolerance. Then v2 gets half, and all once the metrics say that it may. Exit code 1 if anything is otherwise,
or if a faulty version is promoted; 130 if it is interrupted before all is done.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from tandem import TandemError
from tandem.package import ModelPackage
from tandem.sources import read_sources
from tandem_cli.commands.up import introduce
from tandem_cli.features import materialize_tables, views_of
from tandem_cli.local import LocalStack, LocalVariant
from tandem_cli.local.live import watch
from tandem_cli.local.runner import RolloutRunner
from tandem_cli.local.signals import until_interrupted

import faults
from checks import REQUESTS
from ship import ROLLOUT, Shipment
from simulate import HERE
from train import Data, Trained, estimators, train_version

STABLE = "v1"
SEED = 11
INTERRUPTED = 130
"""As a shell says that Ctrl-C has ended a command."""


def main() -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bad", choices=faults.KINDS, help="ship a faulty version")
    parser.add_argument("--no-wait", action="store_true", help="end when all is done, on a terminal too")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="how many answers to check (%(default)s)")
    options = parser.parse_args()
    console = Console(highlight=False)
    results: list[str] = []
    try:
        with until_interrupted(), TemporaryDirectory() as scratch:
            wait = console.is_terminal and not options.no_wait
            run(console, Path(scratch), results, bad=options.bad, requests=options.requests, wait=wait)
    except TandemError as error:
        console.print("[bold red]failed:[/]", end=" ")
        console.print(str(error), markup=False, soft_wrap=True)
        return 1
    if not results:
        console.print("[bold]interrupted[/]: what was started is stopped")
        return INTERRUPTED
    return 0


def run(
    console: Console, scratch: Path, results: list[str], *, bad: faults.Kind | None, requests: int, wait: bool
) -> None:
    """The demo from beginning to end.

    Args:
        console: The console that shows it.
        scratch: Where the bundle of a faulty version goes.
        results: Receives a sentence about the result, if all checks passed.
        bad: The fault of the version that is shipped; None for a good one.
        requests: How many answers to check.
        wait: Whether to keep the stack up until Ctrl-C.

    Raises:
        TandemError: if a check fails.
    """
    console.rule("Train", align="left")
    data, canary = Data.make(), f"v2-{bad}" if bad else "v2"
    trained = train(console, data, [STABLE, canary])
    bundles = {version: result.bundle for version, result in trained.items()}
    if bad:
        bundles[canary] = faults.build(bad, scratch, data=data)
        console.print(f"{canary}: has a fault, {bundles[canary].wire_name}")
    console.rule("Start", align="left")
    started = time.monotonic()
    package = ModelPackage.read(HERE)
    views, tables = views_of(package.load()), read_sources(package)
    fill = lambda url: materialize_tables(views, tables, url, console)  # noqa: E731 - a callback
    variants = [LocalVariant(name, bundle, 100 if name == STABLE else 0) for name, bundle in bundles.items()]
    with LocalStack(variants, fill=fill) as stack, RolloutRunner(stack, planned(package)) as runner:
        console.print(f"ready after {time.monotonic() - started:.1f} s")
        introduce(stack, console)
        console.rule(f"All requests to {STABLE}", align="left")
        races = data.races.sample(frac=1, random_state=SEED, ignore_index=True)
        shipment = Shipment(stack, runner, races, console)
        results.append(asyncio.run(shipment.ship(canary, trained, faulty=bool(bad), requests=requests)))
        console.print(f"[bold green]{results[-1]}[/]", soft_wrap=True)
        if wait:
            console.print("Ctrl-C stops the stack")
            watch(stack, console, runner)


def train(console: Console, data: Data, versions: list[str]) -> dict[str, Trained]:
    """Train those of some versions that are not faulty, and print their error."""
    trained = {
        version: train_version(data, version, estimator)
        for version, estimator in estimators().items()
        if version in versions
    }
    for version, result in trained.items():
        console.print(f"{version}: mean absolute error {result.mean_absolute_error:.0f} s, {result.bundle.wire_name}")
    return trained


def planned(package: ModelPackage) -> dict[str, Any]:
    """The package's settings, with the plan of the demo and the package's own metrics."""
    stated = package.settings["rollout"]
    return {**package.settings, "rollout": {**ROLLOUT, "analysis": {**stated["analysis"], **ROLLOUT["analysis"]}}}


if __name__ == "__main__":
    sys.exit(main())
