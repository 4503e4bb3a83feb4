"""The proof of the pair: golden vectors through the predictor come to what the training framework made of them."""

from __future__ import annotations

from tandem.bundle import Bundle
from tandem.comparison import check_outputs
from tandem.errors import BundleError, Internal
from tandem_transformer.backends import Backends


async def replay_pair(bundle: Bundle, backends: Backends, provider: str) -> int:
    """Prove the pair by the golden rows of its bundle.

    Args:
        bundle: The version that is served.
        backends: Has the predictor.
        provider: The execution provider of the predictor, whose tolerance the bundle has.

    Returns:
        The number of golden rows.

    Raises:
        Internal: ``proof_failed``, naming the output and row that differ.
        RequestError: as a request would see it, where the predictor cannot be asked.
    """
    golden = bundle.golden()
    # never from a cache: this is about the predictor that is there now
    outputs = await backends.ask_predictor(dict(golden.vectors))
    try:
        check_outputs(outputs, dict(golden.outputs), bundle.tolerance(provider))
    except BundleError as error:
        raise Internal(str(error), code="proof_failed") from error
    return len(next(iter(golden.vectors.values())))
