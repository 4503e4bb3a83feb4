"""The predictor over gRPC: Open Inference Protocol v2 with raw tensors."""

from __future__ import annotations

import asyncio
import ssl

from tandem.bundle import Bundle
from tandem.errors import MalformedRequest, Unavailable
from tandem.oip import protobuf
from tandem.pipeline import Tensors
from tandem_transformer.predictors.http2_connection import CallingConnection, GrpcResponse
from tandem_transformer.predictors.tensors import GRPC_STATUS, to_error, to_request, to_tensors


class GrpcPredictor:
    """One endpoint, over one connection.

    Args:
        host: ``host:port``.
        bundle: The version whose model is asked for.
        tls: Call over TLS.
    """

    def __init__(self, host: str, bundle: Bundle, *, tls: bool = False) -> None:
        self._bundle = bundle
        self._host = host
        self._tls = ssl.create_default_context() if tls else None
        if self._tls is not None:
            self._tls.set_alpn_protocols(["h2"])
        self._connection: CallingConnection | None = None
        self._connecting = asyncio.Lock()

    async def infer(self, tensors: Tensors) -> Tensors:
        """Output tensors by name.

        Raises:
            RequestError: as :func:`~tandem_transformer.predictors.tensors.to_error` says, or ``predictor_unavailable``.
        """
        try:
            answer = await self._call(protobuf.encode_request(to_request(self._bundle, tensors)))
        except OSError as error:
            message = f"the predictor cannot be reached: {error}"
            raise Unavailable(message, code="predictor_unavailable", retry_after=1) from error
        if answer.status:
            raise to_error(self._bundle, GRPC_STATUS.get(answer.status, 503), answer.message)
        try:
            response = protobuf.decode_response(answer.content)
            return to_tensors(self._bundle, response, len(next(iter(tensors.values()))))
        except MalformedRequest as error:
            message = f"the predictor's answer cannot be read: {error}"
            raise Unavailable(message, code="predictor_unavailable", retry_after=1) from error

    async def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()

    async def _call(self, message: bytes) -> GrpcResponse:
        kept = self._connection
        if kept is not None and kept.usable:
            try:
                return await kept.call(message)
            except OSError:
                pass  # the server has closed a connection that it had kept; inference may be asked for twice
        return await (await self._connect(kept)).call(message)

    async def _connect(self, unusable: CallingConnection | None) -> CallingConnection:
        async with self._connecting:
            if self._connection is None or self._connection is unusable or not self._connection.usable:
                self._connection = await CallingConnection.open(self._host, protobuf.INFER_METHOD, self._tls)
            return self._connection
