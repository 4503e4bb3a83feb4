"""What a pass is about, as one value: what the spec asks for and what there is."""

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
    """What one pass is about.

    Attributes:
        manifest: The rollout, as the API server has it.
        rollout: The same, parsed.
        now: When the pass began, in seconds since the epoch.
        previous: Its status until now.
        schedule: What is planned; None where nothing is decided.
        run: The run, as it was written down; None before the first, and where nothing is decided.
        specified: The revisions that its spec asks for.
        services: Its InferenceServices, by name, as the API server has them.
        route: The HTTPRoute with the weights; None where there is none.
        hosts: Its hosts, and what is to be said about them.
        observed: All revisions that there are.
        verifications: What revisions have proved, by name.
        verdicts: What contracts say against revisions, where something is decided.
        sampled: What the run is decided by; None where nothing is decided.
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
        """When the pass began, in whole seconds: what a status can hold."""
        return float(int(self.now))

    @property
    def analysis(self) -> Analysis:
        """What is looked at."""
        return self.rollout.spec.analysis or Analysis()

    @property
    def deleted(self) -> bool:
        """Whether the rollout is being deleted."""
        return bool(self.manifest["metadata"].get("deletionTimestamp"))

    @property
    def command(self) -> Command | None:
        """What a person asks for."""
        return parse_command((self.manifest["metadata"].get("annotations") or {}).get(COMMAND))

    @property
    def current(self) -> Run | None:
        """The run, or where there is none what says which number comes next."""
        return self.run or run_inputs.counted(self.previous.history, self.command)

    def revisions(self, run: Run | None) -> list[Revision]:
        """The revisions that must be there while a run stands as it does."""
        ruling = run if run_inputs.rules(self.schedule, run) else None
        return run_inputs.effective(self.specified, ruling, self._earlier)

    def version(self, revision: Revision) -> str:
        """Version of a revision's bundle, as far as it is known."""
        verification = self.verifications.get(revision.name)
        return (
            verification.version
            if verification
            else self.previous.version_of(revision.name) or revision.variant.bundle.version
        )

    def inputs(self, run: Run | None) -> RunInputs:
        """What there is, as far as it matters to a run; of the metrics it says nothing.

        Raises:
            ValueError: if nothing is decided.
        """
        if self.schedule is None:
            raise ValueError("nothing is decided")
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
    """The revision of an InferenceService, of the present or of an earlier spec.

    Args:
        rollout: The rollout.
        revisions: The revisions that must be there.
        name: The InferenceService.
        variant: Its variant.
    """
    own = (revision for revision in revisions if revision.name == name)
    return next(own, None) or earlier_revision(rollout, name, variant)


def earlier_revision(rollout: Rollout, name: str, variant: str) -> Revision:
    """A revision of an earlier spec: only its name matters, which says what it was."""
    variants = rollout.spec.all_variants
    base = next((own for own in variants if own.name == variant), variants[0])
    bundle = msgspec.structs.replace(base.bundle, version="", digest="")
    return Revision(rollout, msgspec.structs.replace(base, name=variant, bundle=bundle), name.rpartition("-")[2])


def variant_of(service: Mapping[str, Any]) -> str:
    """The variant of an InferenceService."""
    return str((service["metadata"].get("labels") or {}).get(VARIANT_LABEL, ""))
