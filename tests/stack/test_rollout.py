"""Canaries on real processes, under real load: good versions get through, faulty ones do not."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from faults import KINDS, Kind
from races import read_races
from rich.console import Console
from traffic import Traffic

from tandem.bundle_directory import find
from tandem.package import ModelPackage
from tandem.sources import read_sources
from tandem_cli.features import materialize_tables, views_of
from tandem_cli.local import LocalStack, LocalVariant
from tandem_cli.local.runner import RolloutRunner
from tandem_cli.rollout.targets.stack_files import StackFiles, list_stacks
from tandem_cli.variants import choose_variants
from tandem_rollout.analysis.latency import MIN_REQUESTS
from tandem_rollout.api.status import RolloutStatus

LONGEST = 60.0
STEPS = [{"weight": 20, "minDuration": "1s"}, {"weight": 50, "minDuration": "1s"}]
CANARY = {"steps": STEPS, "bake": "1s", "progressDeadline": "30s"}


@pytest.fixture(scope="module")
def served(package: Path, bundles: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack with a pair of each version, good and faulty, and the features in its store."""
    directory = tmp_path_factory.mktemp("faulty")
    subprocess.run([sys.executable, package / "faults.py", directory, *KINDS], check=True, capture_output=True)
    good = choose_variants(ModelPackage.read(package), weights={}, stable="v1", bundles=bundles)
    faulty = [LocalVariant(bundle.version, bundle, 0) for bundle in find(directory)]
    with filled(package, [*good, *faulty]) as stack:
        yield stack


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Directory for the files of stacks."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def settings(package: Path) -> dict[str, Any]:
    """Settings of the package, with a plan for people in a hurry."""
    stated = ModelPackage.read(package).settings
    analysis = {**stated["rollout"]["analysis"], "interval": "1s", "warmup": "1s"}
    return {**stated, "rollout": {"strategy": {"canary": CANARY}, "analysis": analysis}}


@pytest.fixture
def stack(served: LocalStack) -> LocalStack:
    """The stack, where v1 has all the traffic."""
    served.set_weights({"v1": 100})
    return served


def filled(package: Path, variants: list[LocalVariant]) -> LocalStack:
    read = ModelPackage.read(package)
    views, tables = views_of(read.load()), read_sources(read)
    return LocalStack(variants, fill=lambda url: materialize_tables(views, tables, url, Console(quiet=True)))


@asynccontextmanager
async def traffic(stack: LocalStack) -> AsyncIterator[Traffic]:
    """Requests to stable, enough to know what a slow one is; they go on meanwhile."""
    async with Traffic(stack, read_races().sample(frac=1, random_state=5, ignore_index=True)).running() as running:
        await until(lambda: len(running.answers) > MIN_REQUESTS)
        yield running
        running.check()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONGEST):
        while not holds():  # noqa: ASYNC110 - other processes are waited for
            await asyncio.sleep(0.02)


async def ended(runner: RolloutRunner) -> RolloutStatus:
    """The status at the end of a run."""
    await until(lambda: bool(runner.now.status.history))
    return written(runner.name)


def written(name: str) -> RolloutStatus:
    rollout = StackFiles(name).rollout()
    assert rollout is not None
    return msgspec.convert(rollout["status"], RolloutStatus)


def state_of(runner: RolloutRunner) -> str:
    runner.check()
    return runner.now.run.state if runner.now.run else ""


async def test_a_good_version_is_promoted_once_every_metric_passes(stack: LocalStack, settings: dict[str, Any]) -> None:
    with RolloutRunner(stack, settings) as runner:
        weights = []
        async with traffic(stack) as running:
            runner.send("start", version="v2", comment="faster")
            await until(lambda: weights.append(stack.weights["v2"]) or stack.weights["v2"] == 100)
            status = await ended(runner)
    assert weights == sorted(weights)
    assert set(weights) == {0, 20, 50, 95, 100}
    assert status.run is not None and status.run.state == "Promoted"
    assert status.run.reason == "MetricsPassed"
    assert status.run.message == "passed by errors, errors-in-pods, latency, degraded, drift"
    assert status.weights == "v2=100"
    assert [(past.outcome, past.version) for past in status.history] == [("Promoted", "v2")]
    assert {answer.status for answer in running.answers} == {200}
    record = StackFiles(runner.name).record(1)
    assert record is not None
    assert [note.state for note in record.notes] == [
        *("Preparing", "Analyzing", "Scaling", "Analyzing", "Scaling", "Baking", "Promoted")
    ]
    # what no pod has counted is not evidence: some rows are degraded, and no answer was an error
    counted = {name: gathered.ratio for name, gathered in record.metrics.items() if gathered.ratio is not None}
    assert counted["degraded"].canary_events > 0
    assert counted["errors-in-pods"].canary_events == counted["errors"].canary_events == 0
    assert counted["errors-in-pods"].canary_requests > 2_000


@pytest.mark.parametrize("kind", KINDS)
async def test_a_faulty_version_is_caught_and_rolled_back(
    stack: LocalStack, settings: dict[str, Any], kind: Kind
) -> None:
    with RolloutRunner(stack, settings) as runner:
        async with traffic(stack) as running:
            runner.send("start", version=f"v2-{kind}")
            status = await ended(runner)
    assert status.run is not None and status.run.state == "Aborted"
    assert status.run.reason == "MetricsFailed" and kind in status.run.message
    assert [metric.verdict for metric in status.metrics if metric.name == kind] == ["fail"]
    assert status.weights == "v1=100"
    assert stack.weights == {"v1": 100, "v2": 0, **{f"v2-{kind}": 0 for kind in KINDS}}
    failed = {answer.variant for answer in running.answers if answer.status != 200}
    assert failed == ({"v2-errors"} if kind == "errors" else set())


async def test_a_person_is_obeyed(stack: LocalStack, settings: dict[str, Any]) -> None:
    with RolloutRunner(stack, settings) as runner:
        runner.send("start", version="v2", comment="faster")
        await until(lambda: stack.weights["v2"] == 20)
        runner.send("pause", comment="lunch")
        await until(lambda: state_of(runner) == "Paused")
        runner.send("start", version="v1")  # stable: that is no abort
        await until(lambda: written(runner.name).run.last_command.reason == "InvalidState")
        assert written(runner.name).run.last_command.message == "cannot start while Paused"
        assert stack.weights["v2"] == 20
        runner.send("promote", comment="it is good")
        await until(lambda: state_of(runner) == "Promoted")
        assert stack.weights["v2"] == 100
        runner.send("rollback", comment="it was not")
        await until(lambda: state_of(runner) == "RolledBack")
        assert stack.weights["v1"] == 100
        status = written(runner.name)
    assert status.run is not None and status.run.message.endswith("it was not") and status.run.by
    assert status.run.start_comment == status.history[0].start_comment == "faster"
    assert status.run.started_by and status.history[0].outcome == "RolledBack"


async def test_a_version_that_has_no_pair_is_not_waited_for(stack: LocalStack, settings: dict[str, Any]) -> None:
    with RolloutRunner(stack, settings) as runner:
        runner.send("start", version="v9")
        await until(lambda: runner.now.status.reason == "UnknownVersion")
        assert runner.now.run is None
        runner.send("start", version="v2")
        await until(lambda: runner.now.run is not None)
        assert written(runner.name).reason == ""


def test_a_second_stack_of_a_model_has_a_name_of_its_own(stack: LocalStack, settings: dict[str, Any]) -> None:
    with RolloutRunner(stack, settings) as first, RolloutRunner(stack, settings) as second:
        assert first.name == "time-estimator"
        assert second.name != first.name
        assert list_stacks() == sorted([first.name, second.name])
    assert list_stacks() == []


async def test_a_canary_whose_predictor_dies_is_let_go_and_the_stack_goes_on(
    package: Path, bundles: Path, settings: dict[str, Any]
) -> None:
    variants = choose_variants(ModelPackage.read(package), weights={}, canary="v2", bundles=bundles)
    assert {variant.name: variant.weight for variant in variants} == {"v1": 100, "v2": 0}
    with LocalStack(variants) as stack, RolloutRunner(stack, settings, canary="v2") as runner:
        await until(lambda: stack.weights["v2"] == 20)
        os.kill(stack.pairs["v2"].predictor.pid, signal.SIGKILL)
        await until(lambda: state_of(runner) == "Aborted")
        status = written(runner.name)
        assert status.weights == "v1=100"
        assert status.run is not None and status.run.reason == "CanaryNotRunning"
        assert list(stack.check()) == ["v2"]
        async with Traffic(stack, read_races().head(50)).running() as running:
            await until(lambda: len(running.answers) > 50)
        assert {(answer.variant, answer.status) for answer in running.answers} == {("v1", 200)}
