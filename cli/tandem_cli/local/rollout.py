"""The local stack as what a rollout happens on: its pairs, Envoy's weights, and the files of its state."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final
from urllib.error import HTTPError

import msgspec

from tandem_cli.local.envoy import ADMIN_URL, cluster_name
from tandem_cli.local.http import get_json
from tandem_cli.local.manifest import NAMESPACE, with_version
from tandem_cli.local.processes import LOOPBACK
from tandem_cli.local.stack import LocalStack
from tandem_cli.rollout.state import Asked, StackFiles
from tandem_rollout import progress
from tandem_rollout.analysis.record import Record
from tandem_rollout.analyst import Judgement
from tandem_rollout.cause import Cause
from tandem_rollout.conditions import condition
from tandem_rollout.engine import written
from tandem_rollout.engine.desired import WHOLE, Desired
from tandem_rollout.engine.run import Pods, Run
from tandem_rollout.engine.schedule import Schedule, plan_hash, schedule
from tandem_rollout.engine.seen import Arm, Seen
from tandem_rollout.gates import Analysis
from tandem_rollout.manifest import parse
from tandem_rollout.sources import Arms, Place
from tandem_rollout.spec import Rollout
from tandem_rollout.status import Phase, RolloutStatus, VariantStatus
from tandem_rollout.times import stamp

_MOST_MISSED: Final = 3
"""A pair whose processes run has so many probes in a row to miss before it counts as not ready, as on a cluster."""


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
    """A stack under a rollout. Revisions are called as variants are.

    Args:
        stack: The stack, which runs.
        files: Where its state is written.
        manifest: Its rollout.

    Attributes:
        written: The run as it was written down last.
        status: The status as it was written down last.
    """

    def __init__(self, stack: LocalStack, files: StackFiles, manifest: Mapping[str, Any]) -> None:
        self._stack, self._files = stack, files
        self._url = stack.url
        self._versions = {variant.name: variant.bundle.version for variant in stack.variants}
        self._proven: set[str] = set()
        self._refused: dict[str, Cause] = {}
        self._pods: dict[str, Pods] = {}
        self._missed: Counter[str] = Counter()
        self._strange: Cause | None = None
        self._judgement = Judgement()
        self._judged = 0
        self.written: Run | None = None
        self.status = RolloutStatus()
        self._take(manifest)

    @property
    def analysis(self) -> Analysis:
        """What is looked at."""
        return self._rollout.spec.analysis or Analysis()

    @property
    def schedule(self) -> Schedule:
        """What is planned."""
        return self._schedule

    def seen(self, run: Run | None) -> Seen:
        """What is there; of the metrics it says nothing.

        A version that a person asks for becomes the one that the rollout wants.
        """
        asked = self._files.asked()
        if asked is not None and (run is None or not run.knows(asked.id)):
            asked = self._heed(asked, run)
        serving = max(self._stack.weights.items(), key=lambda item: item[1])[0]
        underway = run if run is not None and not run.ended else None
        wanted = self._wanted
        stable, canary = (underway.stable, underway.canary) if underway else (serving, wanted)
        if run is not None and run.state == "Promoted" and (asked is not None and asked.verb == "rollback"):
            stable, canary = run.stable, run.canary
        weights = self._stack.weights
        return Seen(
            wanted=wanted,
            plan=plan_hash(self._rollout.spec, wanted),
            serving=serving,
            stable=self._arm(stable),
            canary=self._arm(canary),
            routed=round(WHOLE * weights.get(canary, 0) / sum(weights.values())),
            command=asked.command if asked is not None else None,
        )

    async def arms(self, run: Run) -> Arms:
        """Where the two versions of a run are counted."""
        return Arms(
            namespace=NAMESPACE,
            stable=self._place(run.stable),
            canary=self._place(run.canary),
            gateway=(("envoy", f"{ADMIN_URL}/stats/prometheus"),),
        )

    async def write(self, run: Run, judgement: Judgement) -> None:
        """Write a run down, before anything is done about it."""
        self.written = run
        self.tell(run, judgement, run.since)

    async def make(self, run: Run, wanted: Desired) -> None:
        """Set the weights, where they are others; the pairs are there."""
        # without the other pairs the stack can go on
        needed = run.canary if run.state == "Promoted" else run.stable
        self._stack.spare({variant.name for variant in self._stack.variants} - {needed})
        if {name: weight for name, weight in self._stack.weights.items() if weight} != wanted.weights:
            self._stack.set_weights(wanted.weights)

    def tell(self, run: Run | None, judgement: Judgement, now: float, trouble: Cause | None = None) -> None:
        """Write down how the rollout stands, where that is news.

        Args:
            run: The run, if there has been one.
            judgement: What the metrics say.
            now: Seconds since the epoch.
            trouble: What does not work; None where all does.
        """
        if run is not None and run.number != self._judged:
            self._judgement, self._judged = Judgement(), run.number
        if judgement.lines:
            self._judgement = judgement
        status = self._status(run, now, trouble)
        if status != self.status:
            self.status = status
            self._files.write_rollout({**self._manifest, "status": msgspec.to_builtins(status)})

    @property
    def judgement(self) -> Judgement:
        """What the metrics said of the present run, or the last one, when they were looked at last."""
        return self._judgement

    def _take(self, manifest: Mapping[str, Any]) -> None:
        self._manifest = dict(manifest)
        self._rollout: Rollout = parse(manifest)
        planned = schedule(self._rollout.spec)
        if planned is None:
            raise ValueError("a rollout of a local stack has a strategy that decides")
        self._schedule = planned

    @property
    def _wanted(self) -> str:
        bundle = self._rollout.spec.bundle
        return bundle.image if bundle is not None else ""

    def _heed(self, asked: Asked, run: Run | None) -> Asked | None:
        """Want the version that is asked for; None where there is no such version.

        To start stable is no way to abort a run: then the run answers that it cannot be.
        """
        self._strange = None
        if asked.verb != "start" or not asked.version:
            return asked
        if asked.version not in self._versions:
            message = f"{asked.version} is not here: this stack has {', '.join(self._versions)}"
            self._strange = Cause("UnknownVersion", message)
            return None
        if run is not None and not run.ended and asked.version == run.stable:
            return asked
        self._take(with_version(self._manifest, asked.version))
        return asked

    def _arm(self, name: str) -> Arm:
        pair = self._stack.pairs.get(name)
        if pair is None:
            return Arm(refused=Cause("PairMissing", f"there is no pair of {name}"))
        pods = pair.count_ready()
        runs = all(child.runs for child in pair.children)
        self._missed[name] = 0 if min(pods) else self._missed[name] + 1
        if runs and not min(pods) and self._missed[name] < _MOST_MISSED:
            pods = self._pods.get(name, pods)
        self._pods[name] = pods
        if min(pods) and name not in self._proven:
            self._prove(name)
        most = (len(pair.transformers), 1)
        problem = None if runs else _ended(name)
        return Arm(pods=pods, most=most, fit=name in self._proven, refused=self._refused.get(name), problem=problem)

    def _prove(self, name: str) -> None:
        """Have a pair replay its golden rows."""
        digest = next(variant.bundle.digest for variant in self._stack.variants if variant.name == name)
        for port in self._stack.pairs[name].http_ports:
            try:
                proof = get_json(f"http://{LOOPBACK}:{port}/tandem/proof")
            except HTTPError as error:
                told = _told(error)
                if told.get("code") == "proof_failed":
                    message = f"{name} does not prove itself: {told.get('error', '')}"
                    self._refused[name] = Cause("ProofFailed", message)
                return
            except OSError:
                return
            if proof.get("digest") != digest:
                message = f"{name} is bundle {str(proof.get('digest'))[:8]}, not {digest[:8]}"
                self._refused[name] = Cause("DigestMismatch", message)
                return
        self._proven.add(name)

    def _place(self, name: str) -> Place:
        pair = self._stack.pairs[name]
        urls = self._stack.metrics_urls[name]
        return Place(
            service=name,
            clusters=(cluster_name(name, grpc=False), cluster_name(name, grpc=True)),
            pods=tuple((child.name, url) for child, url in zip(pair.transformers, urls, strict=True)),
        )

    def _status(self, run: Run | None, now: float, trouble: Cause | None) -> RolloutStatus:
        before, weights = self.status, self._stack.weights
        variants = [self._variant(name, weights.get(name, 0), before, now) for name in self._versions]
        ready = sum(each.phase == "Ready" for each in variants)
        cause = trouble or self._strange
        refused = next((each for each in variants if each.phase == "Refused"), None)
        reason, message = (cause.reason, cause.message) if cause is not None else ("", "")
        if cause is None and refused is not None:
            reason, message = refused.reason, refused.message
        complete, generation = ready == len(variants), self._rollout.generation
        decision = self._judgement.decision
        return RolloutStatus(
            observed_generation=self._rollout.generation,
            ready=f"{ready}/{len(variants)}",
            weights=" ".join(f"{name}={weight}" for name, weight in weights.items() if weight),
            url=self._url,
            reason=reason,
            message=message,
            variants=variants,
            progress=progress.progress(run, self._schedule),
            run=written.write(
                run,
                steps=len(self._schedule.steps),
                measured=self._judgement.measured,
                verdict=decision.verdict.value if decision else "",
            )
            if run is not None
            else None,
            metrics=[progress.metric_status(line) for line in self._judgement.lines],
            history=progress.history(
                before.history,
                run,
                self._versions.get(run.canary, "") if run else "",
                limit=self._rollout.spec.history_limit,
            ),
            conditions=[
                condition(
                    before,
                    "Ready",
                    complete,
                    reason="Complete" if complete else "Refused",
                    message=message if reason else "all variants serve",
                    generation=generation,
                    now=now,
                ),
                condition(
                    before, "Valid", True, reason="Valid", message="the spec is valid", generation=generation, now=now
                ),
            ],
        )

    def _variant(self, name: str, weight: int, before: RolloutStatus, now: float) -> VariantStatus:
        runs = all(child.runs for child in self._stack.pairs[name].children)
        refused = self._refused.get(name) or (None if runs else _ended(name))
        phase: Phase = "Refused" if refused is not None else "Ready"
        cause = refused or Cause("Proven" if name in self._proven else "AwaitingProof", "")
        old = next((each for each in before.variants if each.name == name), None)
        return VariantStatus(
            name=name,
            inference_service=name,
            phase=phase,
            weight=weight,
            version=self._versions[name],
            digest=next(each.bundle.digest for each in self._stack.variants if each.name == name),
            reason=cause.reason,
            message=cause.message,
            since=old.since if old and old.phase == phase else stamp(now),
        )


def _ended(name: str) -> Cause:
    return Cause("ProcessEnded", f"a process of {name} has ended")


def _told(error: HTTPError) -> dict[str, Any]:
    try:
        told = json.loads(error.read())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}
