"""Train two versions, serve both behind Envoy, ask for thousands of predictions, and check every one of them.

    make demo

Every vector that the transformers made online must equal the vector made offline from the tables, bit for bit, and
every prediction must be scikit-learn's within the bundle's tolerance. Exit code 1 if anything is otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import aiohttp
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from tandem import Pipeline, TandemError
from tandem.golden import first_difference
from tandem.package import ModelPackage
from tandem_cli.features import materialize_tables, tables_of, views_of
from tandem_cli.local import LocalStack, Variant
from tandem_cli.local.envoy import VARIANT_HEADER
from tandem_cli.local.live import watch
from tandem_cli.local.scrape import STAGES, split
from tandem_cli.local.signals import until_interrupted
from tandem_cli.requests import rows_of
from tandem_cli.up import introduce
from tandem_cli.variants import choose

from races import inputs_of, read_races
from simulate import HERE
from train import Trained, train

REQUESTS = 3_000
CONCURRENCY = 32
SPLIT_TOLERANCE = 0.03
SEED = 11


class DemoError(TandemError):
    """Something is not as it must be."""


@dataclass(frozen=True)
class Answer:
    """What one request got.

    Attributes:
        variant: Which variant answered.
        prediction: The prediction of its one row.
        stages: Milliseconds by stage, as the header ``Server-Timing`` tells.
        milliseconds: From the client's view.
    """

    variant: str
    prediction: dict[str, Any] = field(repr=False)
    stages: dict[str, float]
    milliseconds: float


def main() -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-wait", action="store_true", help="end when all is checked, on a terminal too")
    parser.add_argument("--requests", type=int, default=REQUESTS, help="how many to send (%(default)s)")
    options = parser.parse_args()
    console = Console(highlight=False)
    checked: list[str] = []
    try:
        with until_interrupted():
            run(console, checked, requests=options.requests, wait=console.is_terminal and not options.no_wait)
    except TandemError as error:
        console.print("[bold red]failed:[/]", end=" ")
        console.print(str(error), markup=False, soft_wrap=True)
    return 0 if checked else 1


def run(console: Console, checked: list[str], *, requests: int, wait: bool) -> None:
    """The demo from beginning to end.

    Args:
        console: Where to tell.
        checked: Receives what was checked, once all is well.
        requests: How many to send.
        wait: Whether to keep the stack up until Ctrl-C.

    Raises:
        TandemError: if something is not as it must be.
    """
    console.rule("Train", align="left")
    trained = train()
    for version, result in trained.items():
        console.print(f"{version}: mean absolute error {result.mean_absolute_error:.0f} s, {result.bundle.hop_name}")
    package = ModelPackage.read(HERE)
    views, tables = views_of(package.load()), tables_of(package)
    console.rule("Start", align="left")
    started = time.monotonic()
    fill = lambda url: materialize_tables(views, tables, url, console)  # noqa: E731 - a callback
    with LocalStack(choose(package, weights={}), fill=fill) as stack:
        console.print(f"ready after {time.monotonic() - started:.1f} s")
        introduce(stack, console)
        races = read_races().sample(requests, random_state=SEED, ignore_index=True)
        console.rule("Ask", align="left")
        started = time.monotonic()
        answers = asyncio.run(ask(stack, races))
        console.print(f"{len(answers):,} requests of real finishers in {time.monotonic() - started:.1f} s")
        console.print(examples(races, answers))
        console.print(
            "(decode to post: milliseconds in each stage of the transformer, of the batch that the row was in)"
        )
        console.print(latencies(answers))
        console.rule("Check", align="left")
        results = [check_split(stack.variants, answers), *check_answers(trained, races, answers)]
        checked += results
        for result in results:
            console.print(result, soft_wrap=True)
        console.print("[bold green]everything is as it must be[/]")
        if wait:
            console.print("Ctrl-C stops the stack")
            watch(stack, console)


async def ask(stack: LocalStack, races: pd.DataFrame) -> list[Answer]:
    """Ask for each race, through Envoy, many at a time.

    Raises:
        DemoError: if a request is not answered with 200.
    """
    contract = stack.variants[0].bundle.contract
    rows = rows_of(contract, inputs_of(stack.variants[0].bundle.model, races).request)
    url = f"{stack.url}/v1/models/{stack.model}:predict"
    headers = {"x-explain": "vector", "x-server-timing": "1"}
    gate = asyncio.Semaphore(CONCURRENCY)
    connector = aiohttp.TCPConnector(limit=CONCURRENCY)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def ask_one(row: dict[str, Any]) -> Answer:
            async with gate:
                started = time.perf_counter()
                async with session.post(url, json={"instances": [row]}) as response:
                    if response.status != 200:
                        raise DemoError(f"status {response.status} for {row}: {await response.text()}")
                    (prediction,) = (await response.json())["predictions"]
                    spent = (time.perf_counter() - started) * 1000
                    variant, stages = response.headers[VARIANT_HEADER], _stages(response.headers["server-timing"])
                    return Answer(variant, prediction, stages, spent)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ask_one(row)) for row in rows]
    return [task.result() for task in tasks]


def check_split(variants: tuple[Variant, ...], answers: list[Answer]) -> str:
    """Compare the measured split with the weights.

    Raises:
        DemoError: if they are three points apart or more; further for less than 3,000 requests, by chance alone.
    """
    tolerance = SPLIT_TOLERANCE * max(1.0, REQUESTS / len(answers)) ** 0.5
    wanted = split({variant.name: variant.weight for variant in variants})
    counts = Counter(answer.variant for answer in answers)
    had = split({name: counts[name] for name in wanted})
    text = ", ".join(f"{name} {share:.1%} set, {had[name]:.1%} measured" for name, share in wanted.items())
    if any(abs(had[name] - share) > tolerance for name, share in wanted.items()):
        raise DemoError(f"the split is not as set: {text}")
    return f"split: {text}"


def check_answers(trained: dict[str, Trained], races: pd.DataFrame, answers: list[Answer]) -> list[str]:
    """Compare every answer with what the tables and scikit-learn say.

    Returns:
        A line for each version.

    Raises:
        DemoError: naming the first athlete whose vector, prediction or reason differs.
    """
    lines = []
    for version, result in trained.items():
        mine = [index for index, answer in enumerate(answers) if answer.variant == version]
        own = races.iloc[mine].reset_index(drop=True)
        predictions = [answers[index].prediction for index in mine]
        lines.append(f"{version}: {_check_version(result, own, predictions)}")
    return lines


def _check_version(trained: Trained, races: pd.DataFrame, predictions: list[dict[str, Any]]) -> str:
    bundle, pipeline = trained.bundle, trained.bundle.pipeline()
    inputs = inputs_of(bundle.model, races)
    (offline,) = pipeline.vectors(inputs).values()
    online = _vectors(pipeline, predictions)
    if difference := first_difference(online, offline):
        row, column = difference
        raise DemoError(
            f"{races['athlete_id'][row]}: {bundle.signature.columns[column]} is {online[row, column]!r} online, "
            f"{offline[row, column]!r} offline"
        )
    tolerance = bundle.tolerance("CPUExecutionProvider")
    expected = trained.estimator.predict(offline)
    found = np.array([prediction["predicted_time_s"] for prediction in predictions])
    apart = np.abs(found - expected)
    allowed = tolerance.atol + tolerance.rtol * np.abs(expected)
    if (apart > allowed).any():
        row = int(np.argmax(apart - allowed))
        raise DemoError(f"{races['athlete_id'][row]}: {found[row]} s online, {expected[row]} s by scikit-learn")
    degraded = pipeline.features(inputs).degraded
    for row, prediction in enumerate(predictions):
        if prediction.get("degraded", {}) != degraded.get(row, {}):
            raise DemoError(
                f"{races['athlete_id'][row]}: degraded is {prediction.get('degraded')}, not {degraded.get(row)}"
            )
    return (
        f"{len(found):,} vectors equal offline bit for bit, predictions at most {(apart / allowed).max():.0%} of the "
        f"tolerance from scikit-learn's, {len(degraded)} degraded rows as expected"
    )


def _vectors(pipeline: Pipeline, predictions: list[dict[str, Any]]) -> NDArray[np.float32]:
    """Online vectors in the order of the signature; shape ``(rows, columns)``."""
    columns = pipeline.signature.columns
    rows = [[prediction["vector"][name] for name in columns] for prediction in predictions]
    # null stands for NaN in JSON
    return np.array(rows, dtype=np.float64).astype(np.float32)


def examples(races: pd.DataFrame, answers: list[Answer], count: int = 5) -> Table:
    """Some predictions with the real times and milliseconds by stage, of each variant, and a degraded one."""
    table = Table("athlete", "by", "predicted", "real", "degraded", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for stage in STAGES:
        table.add_column(stage, justify="right")
    wanted = list(range(count - 2))
    wanted += [i for i, answer in enumerate(answers) if answer.variant != answers[0].variant][:1]
    wanted += [i for i, answer in enumerate(answers) if "degraded" in answer.prediction][:1]
    for index in dict.fromkeys(wanted):
        answer, race = answers[index], races.iloc[index]
        degraded = ", ".join(answer.prediction.get("degraded", {}).values())
        real = str(timedelta(seconds=race["net_time_s"]))
        stages = (f"{answer.stages[stage]:.2f}" for stage in STAGES)
        predicted = answer.prediction["finish_time"]
        table.add_row(race["athlete_id"], answer.variant, predicted, real, degraded, *stages)
    return table


def latencies(answers: list[Answer]) -> str:
    """Quantiles of what the client saw."""
    quantiles = np.quantile([answer.milliseconds for answer in answers], [0.5, 0.95, 0.99])
    p50, p95, p99 = (f"{value:.1f}" for value in quantiles)
    return f"seen by the client, {CONCURRENCY} at a time: p50 {p50} ms, p95 {p95} ms, p99 {p99} ms"


def _stages(server_timing: str) -> dict[str, float]:
    parts = (part.strip().partition(";dur=") for part in server_timing.split(","))
    return {name: float(duration) for name, _, duration in parts}


if __name__ == "__main__":
    sys.exit(main())
