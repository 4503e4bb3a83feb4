"""Asking a transformer for its proof."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from tandem.contract import Contract
from tandem_rollout.api.cause import VariantReason
from tandem_rollout.api.text import one_line
from tandem_rollout.controller.interface import Refutation
from tandem_rollout.controller.observation import Proof
from tandem_rollout.render.revision import Revision
from tandem_rollout.sources.fetch import Fetched, FetchError, fetch, open_client

_TIMEOUT_S: Final = 15.0
_CONNECT_S: Final = 2.0
_CONNECTIONS: Final = 256
"""More than all workers can ask at once, for each variant of a rollout."""

_LONGEST: Final = 256 << 10
"""Bytes of an answer: a contract has a few KiB."""

_REFUTED: Final[Mapping[str, VariantReason]] = {
    "proof_failed": "ProofFailed",
    "predictor_mismatch": "PredictorMismatch",
    "predictor_refused": "PredictorRejected",
}
"""Codes of an answer that says that this pair will never be right; others say that it is not yet."""


class _Answer(msgspec.Struct):
    name: str
    version: str
    digest: str
    rows: int
    contract: Contract


class _Error(msgspec.Struct):
    error: str
    code: str = ""


def service_address(revision: Revision) -> str:
    """Address of the Service of a revision's transformer."""
    return f"http://{revision.transformer}.{revision.rollout.namespace}.svc"


class Prober:
    """Asks transformers through their Services.

    Args:
        address: Where the transformer of a revision is.
        timeout: Longest time until the last byte of an answer, in seconds.
    """

    def __init__(self, address: Callable[[Revision], str] = service_address, *, timeout: float = _TIMEOUT_S) -> None:
        self._address = address
        self._timeout = timeout
        self._client = open_client(seconds=timeout, connect=_CONNECT_S, connections=_CONNECTIONS)

    async def prove(self, revision: Revision) -> Proof | Refutation:
        """Have a pair replay its golden rows, from the transformer's Service through a predictor."""
        gpu = revision.rollout.spec.predictor.gpu
        provider = "CUDAExecutionProvider" if gpu else "CPUExecutionProvider"
        address = f"{self._address(revision)}/tandem/verification"
        try:
            fetched = await fetch(
                self._client, address, seconds=self._timeout, most=_LONGEST, params={"provider": provider}
            )
        except FetchError as error:
            return Refutation("ProofUnavailable", f"the transformer cannot be asked for its proof: {error}", False)
        if fetched.status != 200:
            return _refutation(fetched)
        return _proof(revision, fetched.body)

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()


def _proof(revision: Revision, content: bytes) -> Proof | Refutation:
    try:
        answer = msgspec.json.decode(content, type=_Answer)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return Refutation("ProofUnreadable", f"the transformer's proof cannot be read: {error}", True)
    version = revision.variant.bundle.version
    if version and answer.version != version:
        message = f"its bundle is version {answer.version!r}, the spec says {version!r}"
        return Refutation("VersionMismatch", message, True)
    return Proof(version=answer.version, digest=answer.digest, contract=answer.contract)


def _refutation(fetched: Fetched) -> Refutation:
    try:
        body = msgspec.json.decode(fetched.body, type=_Error)
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = f"the transformer answers {fetched.status} when asked for its proof"
        return Refutation("ProofUnavailable", message, False)
    return Refutation(_REFUTED.get(body.code, "ProofUnavailable"), one_line(body.error), body.code in _REFUTED)
