"""A rollout as it is now: its manifest, read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from tandem_cli.errors import AdvisedError
from tandem_cli.rollout import words
from tandem_cli.rollout.target import Target
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

_RUNS_TO_ASK: Final = 3
"""How many runs are looked through for evidence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """A rollout as it is now.

    Attributes:
        name: Its name.
        namespace: Its namespace; empty on this machine.
        generation: Generation of its spec; 0 on this machine.
        spec: Its spec; None where this program does not understand it.
        trouble: Why not.
        status: Its status.
    """

    name: str
    namespace: str = ""
    generation: int = 0
    spec: RolloutSpec | None = None
    trouble: str = ""
    status: RolloutStatus

    @property
    def run(self) -> RunStatus | None:
        """The present run, or the last one."""
        return self.status.run

    @property
    def seen(self) -> bool:
        """Whether the status is about the spec as it is now."""
        return self.status.observed_generation >= self.generation

    @property
    def serving(self) -> str:
        """The revision that clients meet, or met before a run that is on its way; empty where there is none."""
        run = self.run
        if run is not None and run.state != "Completed":
            return run.canary if run.state == "Promoted" else run.stable
        served = max(self.status.variants, key=lambda each: each.weight, default=None)
        return served.inference_service if served is not None and served.weight else ""

    @property
    def schedule(self) -> Schedule | None:
        """What is planned; None where nothing is decided, or the spec is not understood."""
        return build_schedule(self.spec) if self.spec else None

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that decide or are reported."""
        return ((self.spec.analysis if self.spec else None) or Analysis()).all_metrics

    def version(self, service: str) -> str:
        """Version of an InferenceService; empty where it is not known any more."""
        found = (each.version for each in self.status.variants if each.inference_service == service)
        past = (each.version for each in self.status.history if each.canary == service)
        return next((version for version in (*found, *past) if version), "")

    def runs(self) -> list[PastRun]:
        """All runs that are known, the latest first; one that has not ended has no ``ended``."""
        past, run = list(self.status.history), self.run
        if run is None or any(each.number == run.number for each in past):
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

    def judged(self, record: Record | None) -> tuple[list[MetricResult], MetricsDecision] | None:
        """What the evidence of a run says, by the metrics of the spec.

        None without either, or where it was gathered for other margins than those of the spec as it is now.
        """
        if record is None or self.spec is None:
            return None
        try:
            return judge(self.metrics, record)
        except ValueError:
            return None


def current(manifest: Mapping[str, Any]) -> Current:
    """A rollout out of its manifest.

    Raises:
        AdvisedError: The status is one of another version of this program.
    """
    metadata = manifest.get("metadata") or {}
    spec, trouble = None, ""
    try:
        spec = parse(manifest).spec
    except InvalidSpecError as error:
        trouble = str(error)
    try:
        status = msgspec.convert(_plain(manifest.get("status") or {}), RolloutStatus)
    except msgspec.ValidationError as error:
        raise AdvisedError(
            f"the status of {metadata.get('name')} makes no sense: {error}",
            advice="use the tandem command of the controller's version",
        ) from None
    return Current(
        name=metadata.get("name", ""),
        namespace=metadata.get("namespace", ""),
        generation=metadata.get("generation", 0),
        spec=spec,
        trouble=trouble,
        status=status,
    )


def last_record(target: Target, found: Current) -> Record | None:
    """Evidence of the latest run that has some.

    Args:
        target: Where the rollout is.
        found: The rollout.

    Raises:
        TargetError: It cannot be read.
    """
    records = (target.record(found.name, run.number) for run in found.runs()[:_RUNS_TO_ASK])
    return next((record for record in records if record is not None and record.samples), None)


def _plain(value: Any) -> Any:
    """All texts of a status as they may be shown."""
    if isinstance(value, str):
        return words.plain(value)
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
