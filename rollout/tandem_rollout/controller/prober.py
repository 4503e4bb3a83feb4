"""Asking a transformer for its proof."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import httpx2
import msgspec

from tandem.contract import Contract
from tandem_rollout.controller.interface import Refutation
from tandem_rollout.observation import Proof
from tandem_rollout.one_line import one_line
from tandem_rollout.revision import Revision

_TIMEOUT: Final = httpx2.Timeout(15.0, connect=2.0)
_REFUTED: Final = {"proof_failed", "predictor_mismatch", "predictor_refused"}
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
    """

    def __init__(self, address: Callable[[Revision], str] = service_address) -> None:
        self._address = address
        self._client = httpx2.AsyncClient(timeout=_TIMEOUT, trust_env=False)

    async def prove(self, revision: Revision) -> Proof | Refutation:
        """Have a pair replay its golden rows, from the transformer's Service through a predictor."""
        gpu = revision.rollout.spec.predictor.gpu
        provider = "CUDAExecutionProvider" if gpu else "CPUExecutionProvider"
        try:
            response = await self._client.get(f"{self._address(revision)}/tandem/proof", params={"provider": provider})
        except httpx2.HTTPError as error:
            why = one_line(str(error)) or type(error).__name__
            return Refutation(f"the transformer cannot be asked for its proof: {why}", False)
        if response.status_code != 200:
            return _refutation(response)
        return _proof(revision, response.content)

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()


def _proof(revision: Revision, content: bytes) -> Proof | Refutation:
    try:
        answer = msgspec.json.decode(content, type=_Answer)
    except msgspec.DecodeError as error:
        return Refutation(f"the transformer's proof cannot be read: {error}", True)
    wanted = revision.variant.bundle.version
    if wanted and answer.version != wanted:
        return Refutation(f"its bundle is version {answer.version!r}, the spec says {wanted!r}", True)
    return Proof(version=answer.version, digest=answer.digest, contract=answer.contract)


def _refutation(response: httpx2.Response) -> Refutation:
    try:
        body = msgspec.json.decode(response.content, type=_Error)
    except msgspec.DecodeError:
        return Refutation(f"the transformer answers {response.status_code} when asked for its proof", False)
    return Refutation(one_line(body.error), body.code in _REFUTED)
