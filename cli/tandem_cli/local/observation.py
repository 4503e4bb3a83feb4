"""What a rollout observes of the pairs of a stack: how many pods are ready, and whether each pair is verified."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final
from urllib.error import HTTPError

from tandem_cli.local.http import get_json
from tandem_cli.local.pair import Pair
from tandem_cli.local.processes import LOOPBACK
from tandem_cli.local.stack import LocalStack
from tandem_rollout.api.cause import Cause
from tandem_rollout.engine.inputs import RevisionState
from tandem_rollout.engine.run import Pods

_FAILURE_THRESHOLD: Final = 3
"""A pair whose processes run is not ready after so many failed probes in a row, as on a cluster."""


class PairObserver:
    """Observes the pairs of a stack.

    Args:
        stack: The stack, which runs.
    """

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._verified: set[str] = set()
        self._rejections: dict[str, Cause] = {}
        self._pods: dict[str, Pods] = {}
        self._failed_probes: Counter[str] = Counter()
        self._observed: dict[str, Pair] = {}

    def observe(self, variant: str) -> RevisionState:
        """Probe the pair of a variant, and verify it once it is ready.

        Args:
            variant: Name of the variant.
        """
        pair = self._stack.pairs.get(variant)
        if pair is None:
            return RevisionState(rejected=Cause("PairMissing", f"the stack has no pair of {variant}"))
        if self._observed.get(variant) is not pair:
            self._forget(variant)
            self._observed[variant] = pair
        pods = pair.count_ready()
        self._failed_probes[variant] = 0 if min(pods) else self._failed_probes[variant] + 1
        # a canary without ready pods is rolled back at once, which one slow probe must not cause
        if pair.runs and not min(pods) and self._failed_probes[variant] < _FAILURE_THRESHOLD:
            pods = self._pods.get(variant, pods)
        self._pods[variant] = pods
        if min(pods) and variant not in self._verified:
            self._verify(variant)
        return RevisionState(
            pods=pods,
            most=(len(pair.transformers), 1),
            fit=variant in self._verified,
            rejected=self._rejections.get(variant),
            problem=self._ended_process(variant),
        )

    def is_verified(self, variant: str) -> bool:
        """Whether the pair of a variant has replayed its golden rows with success."""
        return variant in self._verified

    def problem(self, variant: str) -> Cause | None:
        """Why a variant cannot serve; None if it can."""
        return self._rejections.get(variant) or self._ended_process(variant)

    def _forget(self, variant: str) -> None:
        """Forget what was observed of an earlier pair of a variant."""
        self._verified.discard(variant)
        del self._failed_probes[variant]
        for memory in (self._rejections, self._pods):
            memory.pop(variant, None)

    def _ended_process(self, variant: str) -> Cause | None:
        pair = self._stack.pairs.get(variant)
        # a variant that is being removed has none
        if pair is None or pair.runs:
            return None
        return Cause("ProcessEnded", f"a process of {variant} has ended")

    def _verify(self, variant: str) -> None:
        """Have each transformer of a pair replay the golden rows."""
        digest = next(entry.bundle.digest for entry in self._stack.variants if entry.name == variant)
        for port in self._stack.pairs[variant].http_ports:
            try:
                proof = get_json(f"http://{LOOPBACK}:{port}/tandem/verification")
            except HTTPError as error:
                body = _error_body(error)
                if body.get("code") == "proof_failed":
                    message = f"{variant} does not prove itself: {body.get('error', '')}"
                    self._rejections[variant] = Cause("VerificationFailed", message)
                return
            # asked again at the next observation
            except OSError:
                return
            if proof.get("digest") != digest:
                message = f"{variant} is bundle {str(proof.get('digest'))[:8]}, not {digest[:8]}"
                self._rejections[variant] = Cause("DigestMismatch", message)
                return
        self._verified.add(variant)


def _error_body(error: HTTPError) -> dict[str, Any]:
    """The JSON object of an error's response; empty if it has none."""
    try:
        body = json.loads(error.read())
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}
