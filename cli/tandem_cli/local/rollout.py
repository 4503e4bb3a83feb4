"""The local stack as the backend of a rollout: its pairs, Envoy's weights, and the files of its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tandem_cli.local.envoy import ADMIN_URL
from tandem_cli.local.envoy_config import cluster_name
from tandem_cli.local.manifest import NAMESPACE, with_version
from tandem_cli.local.observation import PairObserver
from tandem_cli.local.stack import LocalStack
from tandem_cli.local.status import VariantState, build_status
from tandem_cli.rollout.targets.stack_files import StackCommand, StackFiles
from tandem_rollout.analysis.record import Record
from tandem_rollout.api.analysis import Analysis
from tandem_rollout.api.cause import Cause
from tandem_rollout.api.manifest import parse
from tandem_rollout.api.spec import Rollout
from tandem_rollout.api.status import RegistryStatus, RolloutStatus
from tandem_rollout.engine.desired import WHOLE, Desired
from tandem_rollout.engine.inputs import RunInputs
from tandem_rollout.engine.run import Command, Run
from tandem_rollout.engine.schedule import Schedule, build_schedule, plan_hash
from tandem_rollout.runner.analyst import Judgement
from tandem_rollout.sources import ArmLocation, Arms


class StateKeeper:
    """Keeps evidence among the files of a stack.

    Args:
        files: The files.
    """

    def __init__(self, files: StackFiles) -> None:
        self._files = files

    async def load(self, run: int) -> Record | None:
        """The record of a run."""
        return self._files.record(run)

    async def keep(self, record: Record) -> None:
        """Keep a record in the place of the one of the same run."""
        self._files.write_record(record)


class LocalBackend:
    """A stack on which a rollout runs. A revision has the name of its variant.

    Args:
        stack: The stack, which runs.
        files: Where its state is written.
        manifest: Manifest of its rollout.
        status: The status from which it goes on.

    Attributes:
        written: The run as it was written last.
        status: The status as it was written last.
        registry: The alias that the stack follows; None if it follows none. Whoever follows it sets this.
    """

    def __init__(
        self, stack: LocalStack, files: StackFiles, manifest: Mapping[str, Any], status: RolloutStatus
    ) -> None:
        self._stack, self._files = stack, files
        self._url = stack.url
        self._observer = PairObserver(stack)
        self._unknown_version: Cause | None = None
        self._judgement = Judgement()
        self._judged = 0
        self.written: Run | None = None
        self.status = status
        self.registry: RegistryStatus | None = status.registry
        self._use(manifest)

    @property
    def analysis(self) -> Analysis:
        """The analysis of the spec."""
        return self._rollout.spec.analysis or Analysis()

    @property
    def schedule(self) -> Schedule:
        """The schedule of the spec."""
        return self._schedule

    def inputs(self, run: Run | None) -> RunInputs:
        """The observed state of the stack, without metrics.

        A version that a user starts, or that the alias names, becomes the desired version of the rollout.
        """
        if self.registry is not None and str(self.registry.version) != self._desired_version:
            self._use(with_version(self._manifest, str(self.registry.version)))
        request = self._files.command()
        # the file of a command stays: a run knows the commands that it has answered
        if request is not None and (run is None or not run.knows(request.id)):
            request = self._accept(request, run)
        weights = self._stack.weights
        serving = max(weights.items(), key=lambda item: item[1])[0]
        version = self._desired_version
        stable, canary = (run.stable, run.canary) if run is not None and not run.ended else (serving, version)
        if run is not None and run.state == "Promoted" and (request is not None and request.verb == "rollback"):
            stable, canary = run.stable, run.canary
        return RunInputs(
            specified=version,
            plan=plan_hash(self._rollout.spec, version),
            serving=serving,
            stable=self._observer.observe(stable),
            canary=self._observer.observe(canary),
            routed=round(WHOLE * weights.get(canary, 0) / sum(weights.values())),
            command=self._start_command(run) or (request.command if request is not None else None),
        )

    async def arms(self, run: Run) -> Arms:
        """Where the requests of the two versions of a run are counted."""
        return Arms(
            namespace=NAMESPACE,
            stable=self._place(run.stable),
            canary=self._place(run.canary),
            gateway=(("envoy", f"{ADMIN_URL}/stats/prometheus"),),
        )

    async def write(self, run: Run, judgement: Judgement) -> None:
        """Write a run, before the stack is changed."""
        # first: if the stack cannot be changed, the next pass continues from the written run
        self.written = run
        self.write_status(run, judgement, run.since)

    async def make(self, run: Run, desired: Desired) -> None:
        """Set the weights if they differ; the pairs run already."""
        # the stack does not need the other pairs
        needed = run.canary if run.state == "Promoted" else run.stable
        self._stack.spare({variant.name for variant in self._stack.variants} - {needed})
        if {name: weight for name, weight in self._stack.weights.items() if weight} != desired.weights:
            self._stack.set_weights(desired.weights)

    def write_status(self, run: Run | None, judgement: Judgement, now: float, problem: Cause | None = None) -> None:
        """Write the status of the rollout if it has changed.

        Args:
            run: The run; None before the first.
            judgement: What the metrics say.
            now: Seconds since the epoch.
            problem: What does not work; None if all works.
        """
        if run is not None and run.number != self._judged:
            self._judgement, self._judged = Judgement(), run.number
        if judgement.results:
            self._judgement = judgement
        status = self._status(run, now, problem)
        if status != self.status:
            self.status = status
            self._files.write_rollout({**self._manifest, "status": msgspec.to_builtins(status)})

    @property
    def judgement(self) -> Judgement:
        """What the metrics of the current run, or else of the last one, said at the last sample."""
        return self._judgement

    def _use(self, manifest: Mapping[str, Any]) -> None:
        self._manifest = dict(manifest)
        self._rollout: Rollout = parse(manifest)
        steps = build_schedule(self._rollout.spec)
        if steps is None:
            raise ValueError("the strategy of a local stack must have steps")
        self._schedule = steps

    @property
    def _desired_version(self) -> str:
        bundle = self._rollout.spec.bundle
        return bundle.image if bundle is not None else ""

    def _accept(self, request: StackCommand, run: Run | None) -> StackCommand | None:
        """Make the version of a request the desired one; None if there is no such version.

        A request to start stable does not abort a run: the run rejects it.
        """
        self._unknown_version = None
        if request.verb != "start" or not request.version:
            return request
        versions = [variant.name for variant in self._stack.variants]
        message = ""
        if request.version not in versions:
            message = f"{request.version} is not here: this stack has {', '.join(versions)}"
        elif self.registry is not None and request.version != self._desired_version:
            alias = f"models:/{self.registry.model}@{self.registry.alias}"
            message = f"this stack follows {alias}: move the alias to start {request.version}"
        if message:
            self._unknown_version = Cause("UnknownVersion", message)
            return None
        if run is not None and not run.ended and request.version == run.stable:
            return request
        self._use(with_version(self._manifest, request.version))
        return request

    def _start_command(self, run: Run | None) -> Command | None:
        """The start command for the version that the alias names; None if there is none, or a run has answered it."""
        registry = self.registry
        if registry is None or not registry.command or run is None or run.knows(registry.command):
            return None
        return Command(id=registry.command, verb="start", by=f"models:/{registry.model}@{registry.alias}")

    def _place(self, name: str) -> ArmLocation:
        pair = self._stack.pairs[name]
        urls = self._stack.metrics_urls[name]
        return ArmLocation(
            service=name,
            clusters=(cluster_name(name, grpc=False), cluster_name(name, grpc=True)),
            pods=tuple((child.name, url) for child, url in zip(pair.transformers, urls, strict=True)),
        )

    def _status(self, run: Run | None, now: float, problem: Cause | None) -> RolloutStatus:
        weights = self._stack.weights
        variants = [
            VariantState(
                name=variant.name,
                version=variant.bundle.version,
                digest=variant.bundle.digest,
                weight=weights.get(variant.name, 0),
                verified=self._observer.is_verified(variant.name),
                problem=self._observer.problem(variant.name),
            )
            for variant in self._stack.variants
        ]
        return build_status(
            self.status,
            run,
            self._judgement,
            variants,
            rollout=self._rollout,
            schedule=self._schedule,
            url=self._url,
            problem=problem or self._unknown_version,
            now=now,
            registry=self.registry,
        )
