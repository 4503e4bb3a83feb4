"""How a transformer reaches its predictor: over REST, over gRPC, or in the same process."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Protocol

from tandem.bundle import Bundle
from tandem.inputs import Tensors
from tandem_transformer.config import TransformerConfig

if TYPE_CHECKING:
    from tandem_transformer.predictors.resolution import Resolution
    from tandem_transformer.predictors.retry_budget import RetryCounts


class PredictorClient(Protocol):
    """What turns a batch of vectors into the model's output tensors."""

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        """Output tensors by name; the first axis is the rows, as in ``tensors``.

        Args:
            tensors: Input tensors by name.
            deadline: When nobody waits for them any more, on the event loop's clock. The predictor is told, and need
                not begin by then; whoever calls sees to it that it does not wait longer.

        Raises:
            DeadlineExceeded: ``predictor_timeout`` if the predictor says that it is too late.
            Unavailable: ``predictor_unavailable``, or ``predictor_mismatch`` where another bundle is served.
            Internal: ``predictor_refused`` if the predictor rejects the tensors, ``inference_failed`` if the model
                fails on them.
        """
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


def connect(
    bundle: Bundle,
    config: TransformerConfig,
    *,
    resolution: Resolution | None = None,
    counted: Callable[[int], object] = lambda _: None,
    retries: RetryCounts | None = None,
) -> PredictorClient:
    """The predictor that the configuration names.

    Args:
        bundle: The version whose model is asked for.
        config: Where the predictor is, and how to call it.
        resolution: Finds its addresses; None for what the configuration says.
        counted: Called with their number whenever they change.
        retries: Counts second calls.
    """
    if config.predictor_protocol == "inprocess":
        # ONNX Runtime is loaded only where it is used
        from tandem_transformer.predictors.inprocess import InProcessPredictor

        return InProcessPredictor(bundle)
    from tandem_transformer.predictors.endpoints import Endpoints, Trying
    from tandem_transformer.predictors.grpc import GrpcPredictor
    from tandem_transformer.predictors.resolution import Resolution
    from tandem_transformer.predictors.rest import RestPredictor

    grpc = config.predictor_protocol == "grpc-v2"
    endpoint = partial(
        GrpcPredictor if grpc else RestPredictor,
        bundle=bundle,
        tls=_tls("h2" if grpc else "http/1.1") if config.predictor_use_ssl else None,
        # half of a call's time, so that as much is left to try another address
        connect_s=config.predictor_timeout_ms / 2000,
    )
    resolution = resolution or Resolution(config.predictor_host, config.predictor_resolve_s)
    trying = Trying(config.predictor_timeout_ms / 1000, config.hedge_after_ms / 1000)
    return Endpoints(endpoint, resolution, trying=trying, counted=counted, retries=retries)


def _tls(protocol: str) -> ssl.SSLContext:
    """Made once for all endpoints: the system's certificates take a while to read."""
    context = ssl.create_default_context()
    # HTTP/2 over TLS is agreed on by ALPN only (RFC 9113, section 3.2)
    context.set_alpn_protocols([protocol])
    return context
