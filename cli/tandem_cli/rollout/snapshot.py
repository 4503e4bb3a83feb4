"""A rollout as it was read at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tandem_cli.errors import AdvisedError
from tandem_cli.rollout.output import words
from tandem_cli.rollout.targets.target import Manifest, Target
from tandem_rollout.analysis.judge import judge
from tandem_rollout.analysis.record import Record
from tandem_rollout.analysis.result import MetricResult
from tandem_rollout.analysis.verdict import MetricsDecision
from tandem_rollout.api.analysis import Analysis, Metric
from tandem_rollout.api.fields import InvalidSpecError
from tandem_rollout.api.manifest import parse
from tandem_rollout.api.spec import RolloutSpec
from tandem_rollout.api.status import PastRun, RolloutStatus, RunStatus
from tandem_rollout.engine.schedule import Schedule, build_schedule

_RUNS_WITH_EVIDENCE: Final = 3
"""Number of runs that are searched for evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutSnapshot:
    """A rollout at one moment.

    Attributes:
        name: Its name.
        namespace: Its namespace; empty on this machine.
        generation: Generation of its spec; 0 on this machine.
        spec: Its spec; None if this program does not understand it.
        spec_error: Why this program does not understand the spec; empty if it does.
        status: Its status.
        manifest: The manifest from which it was read.
    """

    name: str
    namespace: str = ""
    generation: int = 0
    spec: RolloutSpec | None = None
    spec_error: str = ""
    status: RolloutStatus
    manifest: Manifest

    @property
    def run(self) -> RunStatus | None:
        """The current run, or the last one; None before the first."""
        return self.status.run

    @property
    def is_observed(self) -> bool:
        """Whether the status is about the latest spec."""
        return self.status.observed_generation >= self.generation

    @property
    def serving(self) -> str:
        """The revision that serves, or that served before the current run; empty if there is none."""
        run = self.run
        if run is not None and run.state != "Completed":
            return run.canary if run.state == "Promoted" else run.stable
        heaviest = max(self.status.variants, key=lambda variant: variant.weight, default=None)
        return heaviest.inference_service if heaviest is not None and heaviest.weight else ""

    @property
    def schedule(self) -> Schedule | None:
        """The schedule; None if the strategy has no steps, or the spec is not understood."""
        return build_schedule(self.spec) if self.spec else None

    @property
    def analysis(self) -> Analysis:
        """The analysis of the spec, or the default one."""
        return (self.spec.analysis if self.spec else None) or Analysis()

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics of the analysis."""
        return self.analysis.all_metrics

    def version(self, service: str) -> str:
        """Version of an InferenceService; empty if it is no longer known."""
        current = (variant.version for variant in self.status.variants if variant.inference_service == service)
        past = (run.version for run in self.status.history if run.canary == service)
        return next((version for version in (*current, *past) if version), "")

    def runs(self) -> list[PastRun]:
        """All known runs, the latest first; a run that has not ended has no ``ended``."""
        past, run = list(self.status.history), self.run
        if run is None or any(entry.number == run.number for entry in past):
            return past
        present = PastRun(
            number=run.number,
            outcome=run.state,
            stable=run.stable,
            canary=run.canary,
            version=self.version(run.canary),
            started=run.started,
            reason=run.reason,
            message=run.message,
            by=run.by,
            started_by=run.started_by,
            start_comment=run.start_comment,
        )
        return [present, *past]

    def judge(self, record: Record | None) -> tuple[list[MetricResult], MetricsDecision] | None:
        """Judge the evidence of a run by the metrics of the spec.

        Returns:
            The result of each metric, and the decision. None without evidence or spec, and if the evidence was
            gathered for other margins than those of the current spec.
        """
        if record is None or self.spec is None:
            return None
        try:
            return judge(self.metrics, record)
        except ValueError:
            return None


def read_snapshot(manifest: Manifest) -> RolloutSnapshot:
    """Read a rollout from its manifest.

    Raises:
        AdvisedError: if the status is that of another version of this program.
    """
    metadata = manifest.get("metadata") or {}
    spec, spec_error = None, ""
    try:
        spec = parse(manifest).spec
    except InvalidSpecError as error:
        spec_error = str(error)
    try:
        status = msgspec.convert(_plain(manifest.get("status") or {}), RolloutStatus)
    except msgspec.ValidationError as error:
        raise AdvisedError(
            f"the status of {metadata.get('name')} is not valid: {error}",
            advice="use the tandem command of the controller's version",
        ) from None
    return RolloutSnapshot(
        name=metadata.get("name", ""),
        namespace=metadata.get("namespace", ""),
        generation=metadata.get("generation", 0),
        spec=spec,
        spec_error=spec_error,
        status=status,
        manifest=manifest,
    )


def find_record(target: Target, snapshot: RolloutSnapshot) -> Record | None:
    """Find the evidence of the latest run that has samples; None if there is none.

    Args:
        target: The target.
        snapshot: The rollout.

    Raises:
        TargetError: if it cannot be read.
    """
    runs = snapshot.runs()[:_RUNS_WITH_EVIDENCE]
    records = (target.record(snapshot.name, run.number) for run in runs)
    return next((record for record in records if record is not None and record.samples), None)


def _plain(value: Any) -> Any:
    """A value whose strings have no control characters."""
    if isinstance(value, str):
        return words.plain(value)
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    return [_plain(entry) for entry in value] if isinstance(value, list) else value
