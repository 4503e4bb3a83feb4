"""A cluster as what a run happens on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from tandem_rollout.analyst import Judgement
from tandem_rollout.controller import guide, observe
from tandem_rollout.controller.interface import Cluster
from tandem_rollout.engine.desired import Desired
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import Schedule
from tandem_rollout.engine.seen import Seen
from tandem_rollout.engine.written import COMMAND, command, write
from tandem_rollout.observation import Observed
from tandem_rollout.plan import Verdicts
from tandem_rollout.revision import Revision
from tandem_rollout.sources import Arms
from tandem_rollout.spec import Rollout
from tandem_rollout.status import RunStatus


class ClusterBackend:
    """One pass over one rollout, as :class:`tandem_rollout.driver.Backend` wants it.

    What the world must look like is only noted here: the pass makes it together with everything else.

    Args:
        cluster: The cluster.
        manifest: The rollout, as the API server has it.
        rollout: The same, parsed.
        asked: The revisions that its spec asks for.
        observed: All revisions that there are.
        route: The HTTPRoute with the weights.
        schedule: What is planned.
        verdicts: What contracts say.
        say: Writes down the status of a run.

    Attributes:
        desired: What the world must look like; None where no run says so.
    """

    def __init__(
        self,
        cluster: Cluster,
        manifest: Mapping[str, Any],
        rollout: Rollout,
        asked: Sequence[Revision],
        observed: Sequence[Observed],
        route: Mapping[str, Any] | None,
        schedule: Schedule,
        verdicts: Verdicts,
        say: Callable[[RunStatus], Awaitable[None]],
    ) -> None:
        self._cluster = cluster
        self._manifest = manifest
        self._rollout = rollout
        self._asked = asked
        self._observed = observed
        self._schedule = schedule
        self._verdicts = verdicts
        self._say = say
        self._route = route
        self.desired: Desired | None = None

    def seen(self, run: Run | None) -> Seen:
        """What is there."""
        metadata = self._manifest["metadata"]
        return guide.see(
            self._rollout,
            self._schedule,
            self._asked,
            self._observed,
            run,
            self._verdicts,
            route=self._route,
            command=command((metadata.get("annotations") or {}).get(COMMAND)),
            deleted=bool(metadata.get("deletionTimestamp")),
        )

    async def arms(self, run: Run) -> Arms:
        """Where the two revisions of a run are counted."""
        analysis = self._rollout.spec.analysis
        gateway: tuple[tuple[str, str], ...] = ()
        if analysis is not None and analysis.source == "pods":
            gateway = await self._cluster.proxies(self._rollout.spec.route.gateway)
        namespace = self._rollout.namespace
        weights = observe.route_weights(self._route)
        return guide.arms(
            self._rollout, self._schedule, run, lambda name: self._cluster.pods(namespace, name), weights, gateway
        )

    async def write(self, run: Run, judgement: Judgement) -> None:
        """Write a run down, and have nobody delete the rollout without stable having its weight back."""
        if not run.ended and not self._schedule.observes:
            await self._cluster.finalize(self._manifest, present=True)
        verdict = judgement.decision.verdict.value if judgement.decision else ""
        steps = len(self._schedule.steps)
        await self._say(write(run, steps=steps, measured=judgement.measured, verdict=verdict))

    async def make(self, run: Run, wanted: Desired) -> None:
        """Note what the world must look like."""
        self.desired = wanted
