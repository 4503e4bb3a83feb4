"""The predictor over gRPC: Open Inference Protocol v2 with raw tensors."""

from __future__ import annotations

from typing import Any

import grpc
import grpc.aio

from tandem.bundle import Bundle
from tandem.errors import MalformedRequest, Unavailable
from tandem.oip import protobuf
from tandem.pipeline import Tensors
from tandem_transformer.predictors.tensors import GRPC_STATUS, to_error, to_request, to_tensors

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),  # tried again by Endpoints, on another endpoint
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class GrpcPredictor:
    """One endpoint, over one channel.

    Args:
        host: ``host:port``.
        bundle: The version whose model is asked for.
        tls: Call over TLS.
    """

    def __init__(self, host: str, bundle: Bundle, *, tls: bool = False) -> None:
        self._bundle = bundle
        self._host = host
        self._tls = tls
        self._channel: grpc.aio.Channel | None = None
        self._call: Any = None

    async def infer(self, tensors: Tensors) -> Tensors:
        """Output tensors by name.

        Raises:
            RequestError: as :func:`~tandem_transformer.predictors.tensors.to_error` says, or ``predictor_unavailable``.
        """
        if self._channel is None:
            self._connect()
        try:
            content = await self._call(protobuf.encode_request(to_request(self._bundle, tensors)))
        except grpc.aio.AioRpcError as error:
            raise to_error(self._bundle, GRPC_STATUS.get(error.code().name, 503), error.details() or "") from error
        try:
            return to_tensors(self._bundle, protobuf.decode_response(content), len(next(iter(tensors.values()))))
        except (MalformedRequest, ValueError) as error:
            message = f"the predictor's answer cannot be read: {error}"
            raise Unavailable(message, code="predictor_unavailable", retry_after=1) from error

    async def close(self) -> None:
        """Close the channel."""
        if self._channel is not None:
            await self._channel.close(None)

    def _connect(self) -> None:
        if self._tls:
            self._channel = grpc.aio.secure_channel(self._host, grpc.ssl_channel_credentials(), options=_OPTIONS)
        else:
            self._channel = grpc.aio.insecure_channel(self._host, options=_OPTIONS)
        self._call = self._channel.unary_unary(protobuf.INFER_METHOD, None, None)
