"""The verifications of a rollout's revisions, and their retries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tandem_rollout.controller.interface import Cluster, VerificationFailure
from tandem_rollout.controller.observation import Verification
from tandem_rollout.controller.resources import Pod
from tandem_rollout.render.revision import Revision

_RETRY_S: Final = 5.0
_FINAL_RETRY_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class _FailedVerification:
    failure: VerificationFailure
    pods: frozenset[str]
    again_at: float


class Verifications:
    """Requests verifications, and remembers the results.

    Args:
        cluster: The cluster.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._verifications: dict[str, Verification] = {}
        self._failed: dict[str, _FailedVerification] = {}

    @property
    def due(self) -> float:
        """Time of the next retry, in seconds since the epoch; infinite if there is none."""
        return min((failed.again_at for failed in self._failed.values()), default=float("inf"))

    def get(self, name: str) -> Verification | None:
        """The verification of an InferenceService; None before it has succeeded."""
        return self._verifications.get(name)

    def keep(self, names: Iterable[str]) -> None:
        """Forget all other InferenceServices."""
        current = set(names)
        self._verifications = {name: entry for name, entry in self._verifications.items() if name in current}
        self._failed = {name: entry for name, entry in self._failed.items() if name in current}

    def stop(self, name: str) -> None:
        """Stop the retries for an InferenceService that does not run."""
        self._failed.pop(name, None)

    async def ask(self, revision: Revision, pods: Iterable[Pod], digest: str = "") -> VerificationFailure | None:
        """Verify a revision, unless it is verified or the last attempt with the same pods was recent.

        Args:
            revision: The revision.
            pods: Its ready pods.
            digest: The digest to which the pods are pinned; empty if they are not pinned.

        Returns:
            The failure; None if the revision is verified.
        """
        if revision.name in self._verifications:
            return None
        containers, earlier = incarnations(pods), self._failed.get(revision.name)
        # other containers may have another bundle, so that they are verified at once
        if earlier and earlier.pods == containers and self._cluster.now() < earlier.again_at:
            return earlier.failure
        answer = await self._cluster.verify(revision)
        digest = digest or revision.variant.bundle.digest
        # a tag can be pushed again, and a directory in a claim can change
        if isinstance(answer, Verification) and digest and answer.digest != digest:
            message = f"its bundle has the digest {answer.digest[:8]}, but it is pinned to {digest[:8]}"
            answer = VerificationFailure("DigestMismatch", message, True)
        if isinstance(answer, VerificationFailure):
            again_at = self._cluster.now() + (_FINAL_RETRY_S if answer.final else _RETRY_S)
            self._failed[revision.name] = _FailedVerification(answer, containers, again_at)
            return answer
        self._failed.pop(revision.name, None)
        self._verifications[revision.name] = answer
        return None


def incarnations(pods: Iterable[Pod]) -> frozenset[str]:
    """Identities of pods, which change when a container restarts."""
    return frozenset(f"{pod.metadata.uid or pod.metadata.name}/{_restarts(pod)}" for pod in pods)


def _restarts(pod: Pod) -> int:
    return sum(container.restart_count for container in pod.status.container_statuses)
