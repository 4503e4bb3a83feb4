"""Observations of the revisions of a rollout."""

from __future__ import annotations

from dataclasses import dataclass

from tandem.contract import Contract
from tandem_rollout.api.cause import Cause
from tandem_rollout.api.status import Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """A successful verification: the transformer has replayed its golden rows through its predictor.

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
    """The observed state of one revision.

    Attributes:
        variant: Name of its variant.
        name: Name of its InferenceService.
        transformers: Number of ready transformer pods.
        predictors: Number of ready predictor pods.
        weight: Weight in the route.
        reached: Whether requests that choose its variant reach it.
        verification: Its verification; None before.
        problem: Why it is not ready: a problem of a container, of the scheduler or of the verification; None without
            one.
        fatal: Whether the problem does not resolve itself: a failed verification, a container that fails repeatedly.
        retired_at: Time at which it was retired, in seconds since the epoch; None if it is not.
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
        """Whether both components have a ready pod."""
        return self.transformers > 0 and self.predictors > 0

    @property
    def usable(self) -> bool:
        """Whether it may have weight.

        A revision with weight keeps it until its verification fails: after a restart the controller repeats the
        verifications, and must not change the weights meanwhile.
        """
        return self.running and not self.fatal and (self.verification is not None or self.weight > 0)

    @property
    def phase(self) -> Phase:
        """The phase of the revision."""
        if self.retired_at is not None:
            return "Retired"
        if self.usable:
            return "Ready"
        return "Rejected" if self.fatal else "Pending"
