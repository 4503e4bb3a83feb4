"""What a controller sees of a rollout's variants."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.contract import Contract
from tandem_rollout.api.cause import Cause
from tandem_rollout.api.status import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What a transformer answers after it has replayed its golden rows through its predictor.

    Attributes:
        version: Version of the bundle.
        digest: Digest of the bundle.
        contract: Contract of the bundle.
    """

    version: str
    digest: str
    contract: Contract


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """One revision as it is in the cluster.

    Attributes:
        variant: Name of its variant.
        name: Name of its InferenceService.
        transformers: Transformer pods that are ready.
        predictors: Predictor pods that are ready.
        weight: Weight that the route gives it.
        reached: Whether those reach it who ask for its variant.
        verification: Its proof; None before it has been given.
        problem: Why it is not ready: what a container, the scheduler or the replay says; None where nothing is wrong.
        fatal: Whether it will not serve as it is: a proof that failed, a container that ends again and again.
        retired_at: When it lost its place in the spec and its weight, in seconds since the epoch; None if it has not.
    """

    variant: str
    name: str
    transformers: int = 0
    predictors: int = 0
    weight: int = 0
    reached: bool = False
    verification: Verification | None = None
    problem: Cause | None = None
    fatal: bool = False
    retired_at: float | None = None

    @property
    def running(self) -> bool:
        """Whether both components have a pod that takes calls."""
        return self.transformers > 0 and self.predictors > 0

    @property
    def usable(self) -> bool:
        """Whether it may have weight.

        What has weight already keeps it until its proof fails: a controller that was started again asks for the proofs
        anew, and must not take the traffic away meanwhile.
        """
        return self.running and not self.fatal and (self.verification is not None or self.weight > 0)

    @property
    def phase(self) -> Phase:
        """How far it is."""
        if self.retired_at is not None:
            return "Retired"
        if self.usable:
            return "Ready"
        return "Rejected" if self.fatal else "Pending"
