"""The proofs of a rollout's revisions, and when to ask for them again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tandem_rollout.controller.interface import Cluster, Refutation
from tandem_rollout.controller.observation import Proof
from tandem_rollout.controller.resources import Pod
from tandem_rollout.render.revision import Revision

_AGAIN_S: Final = 5.0
_FINAL_AGAIN_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class _Refuted:
    refutation: Refutation
    pods: frozenset[str]
    again_at: float


class Proofs:
    """Asks for proofs, and remembers the answers.

    Args:
        cluster: The cluster.
    """

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._proofs: dict[str, Proof] = {}
        self._refuted: dict[str, _Refuted] = {}

    @property
    def due(self) -> float:
        """When to ask again, in seconds since the epoch; infinite where nothing is to be asked."""
        return min((refuted.again_at for refuted in self._refuted.values()), default=float("inf"))

    def get(self, name: str) -> Proof | None:
        """The proof of an InferenceService, None before it has been given."""
        return self._proofs.get(name)

    def keep(self, names: Iterable[str]) -> None:
        """Forget all InferenceServices but these."""
        current = set(names)
        self._proofs = {name: entry for name, entry in self._proofs.items() if name in current}
        self._refuted = {name: entry for name, entry in self._refuted.items() if name in current}

    def stop(self, name: str) -> None:
        """Nothing is to be asked of an InferenceService now: it does not run."""
        self._refuted.pop(name, None)

    async def ask(self, revision: Revision, pods: Iterable[Pod], digest: str = "") -> Refutation | None:
        """Have a revision prove itself, unless it has or the same pods were asked not long ago; None if it has.

        Args:
            revision: The revision.
            pods: Its ready pods.
            digest: The digest to which they are pinned; empty where they are not.
        """
        if revision.name in self._proofs:
            return None
        containers, earlier = incarnations(pods), self._refuted.get(revision.name)
        if earlier and earlier.pods == containers and self._cluster.now() < earlier.again_at:
            return earlier.refutation
        answer = await self._cluster.prove(revision)
        digest = digest or revision.variant.bundle.digest
        if isinstance(answer, Proof) and digest and answer.digest != digest:
            message = f"its bundle is {answer.digest[:8]}, not {digest[:8]}, to which it is pinned"
            answer = Refutation("DigestMismatch", message, True)
        if isinstance(answer, Refutation):
            again_at = self._cluster.now() + (_FINAL_AGAIN_S if answer.final else _AGAIN_S)
            self._refuted[revision.name] = _Refuted(answer, containers, again_at)
            return answer
        self._refuted.pop(revision.name, None)
        self._proofs[revision.name] = answer
        return None


def incarnations(pods: Iterable[Pod]) -> frozenset[str]:
    """Pods, told apart from what they were before their containers started again."""
    return frozenset(f"{pod.metadata.uid or pod.metadata.name}/{_restarts(pod)}" for pod in pods)


def _restarts(pod: Pod) -> int:
    return sum(container.restart_count for container in pod.status.container_statuses)
