"""How a transformer reaches its predictor: over REST, over gRPC, or in the same process."""

from __future__ import annotations

from typing import Protocol

from tandem.bundle import Bundle
from tandem.pipeline import Tensors
from tandem_transformer.config import Config


class Predictor(Protocol):
    """What turns a batch of vectors into the model's output tensors."""

    async def infer(self, tensors: Tensors) -> Tensors:
        """Output tensors by name; the first axis is the rows, as in ``tensors``.

        Raises:
            Unavailable: ``predictor_unavailable``, or ``predictor_mismatch`` where another bundle is served.
            Internal: ``predictor_refused`` if the predictor rejects the tensors.
        """
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


def connect(bundle: Bundle, config: Config) -> Predictor:
    """The predictor that the configuration names."""
    if config.predictor_protocol == "inprocess":
        from tandem_transformer.predictors.inprocess import InProcessPredictor

        return InProcessPredictor(bundle)
    from tandem_transformer.predictors.endpoints import Endpoints
    from tandem_transformer.predictors.grpc import GrpcPredictor
    from tandem_transformer.predictors.rest import RestPredictor

    kind = GrpcPredictor if config.predictor_protocol == "grpc-v2" else RestPredictor
    return Endpoints([kind(host, bundle, tls=config.predictor_use_ssl) for host in config.predictor_host])
