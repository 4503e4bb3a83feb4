"""Verifies revisions over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Final

import msgspec

from tandem.contract import Contract
from tandem_rollout.api.cause import VariantReason
from tandem_rollout.api.text import one_line
from tandem_rollout.controller.interface import VerificationFailure
from tandem_rollout.controller.observation import Verification
from tandem_rollout.render.revision import Revision
from tandem_rollout.sources.fetch import Fetched, FetchError, fetch, open_client

_TIMEOUT_S: Final = 15.0
_CONNECT_S: Final = 2.0
_CONNECTIONS: Final = 256
"""More than the concurrent requests of all workers, for each variant of a rollout."""

_MAX_LENGTH: Final = 256 << 10
"""Maximum bytes of a response. A contract has a few KiB."""

_FINAL_REASONS: Final[Mapping[str, VariantReason]] = {
    "proof_failed": "VerificationFailed",
    "predictor_mismatch": "PredictorMismatch",
    "predictor_refused": "PredictorRejected",
}
"""Reasons of final failures by error code. Other errors are retried."""


class _VerificationResponse(msgspec.Struct):
    name: str
    version: str
    digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    rows: int
    contract: Contract


class _VerificationError(msgspec.Struct):
    error: str
    code: str = ""


def service_address(revision: Revision) -> str:
    """Address of the Service of a revision's transformer."""
    return f"http://{revision.transformer}.{revision.rollout.namespace}.svc"


class HttpVerifier:
    """Requests verifications from transformers through their Services.

    Args:
        address: Returns the address of the transformer of a revision.
        timeout: Maximum seconds until the last byte of a response.
    """

    def __init__(self, address: Callable[[Revision], str] = service_address, *, timeout: float = _TIMEOUT_S) -> None:
        self._address = address
        self._timeout = timeout
        self._client = open_client(seconds=timeout, connect=_CONNECT_S, connections=_CONNECTIONS)

    async def verify(self, revision: Revision) -> Verification | VerificationFailure:
        """Have a revision replay its golden rows, from the transformer's Service through a predictor."""
        gpu = revision.rollout.spec.predictor.gpu
        # a bundle has a tolerance for each execution provider
        provider = "CUDAExecutionProvider" if gpu else "CPUExecutionProvider"
        address = f"{self._address(revision)}/tandem/verification"
        try:
            # a transformer runs the code of its bundle, so that its answers are limited in bytes and time
            fetched = await fetch(
                self._client, address, seconds=self._timeout, most=_MAX_LENGTH, params={"provider": provider}
            )
        except FetchError as error:
            return VerificationFailure("VerificationUnavailable", f"cannot request the verification: {error}", False)
        if fetched.status != 200:
            return _failure(fetched)
        return _verification(revision, fetched.body)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _verification(revision: Revision, content: bytes) -> Verification | VerificationFailure:
    try:
        answer = msgspec.json.decode(content, type=_VerificationResponse)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return VerificationFailure(
            "VerificationUnreadable", f"the response to the verification is invalid: {error}", True
        )
    version = revision.variant.bundle.version
    if version and answer.version != version:
        message = f"its bundle has version {answer.version!r}, the spec has {version!r}"
        return VerificationFailure("VersionMismatch", message, True)
    return Verification(version=answer.version, digest=answer.digest, contract=answer.contract)


def _failure(fetched: Fetched) -> VerificationFailure:
    try:
        body = msgspec.json.decode(fetched.body, type=_VerificationError)
    except (msgspec.DecodeError, UnicodeDecodeError):
        message = f"the transformer returned status {fetched.status} for the verification"
        return VerificationFailure("VerificationUnavailable", message, False)
    # text from a pod must not control the terminal of whoever reads the status
    return VerificationFailure(
        _FINAL_REASONS.get(body.code, "VerificationUnavailable"), one_line(body.error), body.code in _FINAL_REASONS
    )
