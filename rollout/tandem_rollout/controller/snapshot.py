"""The snapshot of a rollout: its spec, and the observed state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tandem_rollout.api.analysis import Analysis
from tandem_rollout.api.spec import Rollout
from tandem_rollout.api.status import RolloutStatus
from tandem_rollout.controller import run_inputs
from tandem_rollout.controller.contracts import ContractVerdicts
from tandem_rollout.controller.host_claims import Hosts
from tandem_rollout.controller.observation import Observed, Verification
from tandem_rollout.controller.resources import HTTPRoute
from tandem_rollout.engine.inputs import RunInputs
from tandem_rollout.engine.run import Command, Run
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.engine.serialization import COMMAND, parse_command
from tandem_rollout.render.revision import VARIANT_LABEL, Revision
from tandem_rollout.runner.driver import Sampled


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The snapshot of a rollout in one pass.

    Attributes:
        manifest: The rollout, as the API server has it.
        rollout: The parsed rollout.
        now: Time at which the pass began, in seconds since the epoch.
        previous: The previous status.
        schedule: The schedule of the spec; None for a rollout without runs.
        run: The recorded run; None before the first, and for a rollout without runs.
        specified: The revisions of the spec.
        services: Its InferenceServices, by name, as the API server has them.
        route: The HTTPRoute with the weights; None if there is none.
        hosts: Its hostnames.
        observed: All revisions that exist.
        verifications: Verifications of the revisions, by name.
        verdicts: Verdicts about contracts, for a rollout with runs.
        sampled: The inputs of the run's decision; None for a rollout without runs.
    """

    manifest: Mapping[str, Any]
    rollout: Rollout
    now: float
    previous: RolloutStatus
    schedule: Schedule | None
    run: Run | None
    specified: Sequence[Revision]
    services: Mapping[str, dict[str, Any]]
    route: HTTPRoute | None
    hosts: Hosts
    observed: Sequence[Observed] = ()
    verifications: Mapping[str, Verification] = field(default_factory=dict)
    verdicts: ContractVerdicts = field(default_factory=lambda: ContractVerdicts({}, {}))
    sampled: Sampled | None = None

    @property
    def whole_now(self) -> float:
        """Time at which the pass began, in whole seconds, as in a status."""
        # a run that is read from a status must be decided like the run in memory
        return float(int(self.now))

    @property
    def analysis(self) -> Analysis:
        """The analysis of the spec; by default one with the default metrics."""
        return self.rollout.spec.analysis or Analysis()

    @property
    def deleted(self) -> bool:
        """Whether the rollout is being deleted."""
        return bool(self.manifest["metadata"].get("deletionTimestamp"))

    @property
    def command(self) -> Command | None:
        """The last command: of the alias, as long as no run has answered it, or else of a user."""
        registry, run = self.previous.registry, self.run
        if registry is not None and registry.command and run is not None and not run.knows(registry.command):
            return Command(id=registry.command, verb="start", by=f"models:/{registry.model}@{registry.alias}")
        return self.user_command

    @property
    def user_command(self) -> Command | None:
        """The last command of a user."""
        return parse_command((self.manifest["metadata"].get("annotations") or {}).get(COMMAND))

    @property
    def current(self) -> Run | None:
        """The run; without one, a placeholder for the last run of the history."""
        return self.run or run_inputs.counted(self.previous.history, self.user_command)

    def revisions(self, run: Run | None) -> list[Revision]:
        """The revisions that must exist in the state of a run."""
        ruling = run if run_inputs.rules(self.schedule, run) else None
        return run_inputs.effective(self.specified, ruling, self._earlier)

    def version(self, revision: Revision) -> str:
        """Version of a revision's bundle; empty if it is not known."""
        verification = self.verifications.get(revision.name)
        return (
            verification.version
            if verification
            else self.previous.version_of(revision.name) or revision.variant.bundle.version
        )

    def inputs(self, run: Run | None) -> RunInputs:
        """The inputs of a run's decision, without metrics.

        Raises:
            ValueError: The rollout has no schedule.
        """
        if self.schedule is None:
            raise ValueError("the rollout has no schedule")
        return run_inputs.build_inputs(
            self.rollout,
            self.schedule,
            self.specified,
            self.observed,
            run,
            self.verdicts,
            route=self.route,
            command=self.command,
            deleted=self.deleted,
        )

    def _earlier(self, name: str) -> Revision | None:
        service = self.services.get(name)
        return earlier_revision(self.rollout, name, variant_of(service)) if service else None


def revision_of(rollout: Rollout, revisions: Sequence[Revision], name: str, variant: str) -> Revision:
    """The revision of an InferenceService, of this spec or an earlier one.

    Args:
        rollout: The rollout.
        revisions: The revisions that must exist.
        name: The InferenceService.
        variant: Its variant.
    """
    own = (revision for revision in revisions if revision.name == name)
    return next(own, None) or earlier_revision(rollout, name, variant)


def earlier_revision(rollout: Rollout, name: str, variant: str) -> Revision:
    """A revision of an earlier spec, which is identified by its name."""
    variants = rollout.spec.all_variants
    base = next((own for own in variants if own.name == variant), variants[0])
    # the name does not tell which bundle the earlier spec had
    bundle = msgspec.structs.replace(base.bundle, version="", digest="")
    return Revision(rollout, msgspec.structs.replace(base, name=variant, bundle=bundle), name.rpartition("-")[2])


def variant_of(service: Mapping[str, Any]) -> str:
    """The variant of an InferenceService."""
    return str((service["metadata"].get("labels") or {}).get(VARIANT_LABEL, ""))
