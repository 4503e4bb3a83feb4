"""The predictor over gRPC: Open Inference Protocol v2 with raw tensors."""

from __future__ import annotations

import asyncio
import ssl
from math import inf

from tandem.bundle import Bundle
from tandem.errors import MalformedRequest, RequestTooLarge
from tandem.inputs import Tensors
from tandem.oip import protobuf
from tandem.predictor_messages import GRPC_STATUS, timeout_ms, to_error, to_request, to_tensors, unavailable
from tandem_transformer.predictors.address import CONNECT_S, Address
from tandem_transformer.predictors.http2_connection import CallingConnection, GrpcResponse


class GrpcPredictor:
    """One endpoint, over one connection.

    Args:
        address: Where it is.
        bundle: The version whose model is asked for.
        tls: Call over TLS, and verify the other end so; it must offer ``h2``.
        connect_s: Seconds that a connection may take to be made.
    """

    def __init__(
        self, address: Address, bundle: Bundle, *, tls: ssl.SSLContext | None = None, connect_s: float = CONNECT_S
    ) -> None:
        self._bundle = bundle
        self._address = address
        self._tls = tls
        self._connect_s = connect_s
        self._clock = asyncio.get_running_loop().time
        self._connection: CallingConnection | None = None
        self._opening: asyncio.Task[CallingConnection] | None = None

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        """Output tensors by name; see :meth:`PredictorClient.infer`.

        Raises:
            RequestError: as :func:`~tandem.predictor_messages.to_error` says, or ``predictor_unavailable``.
        """
        try:
            answer = await self._call(protobuf.encode_request(to_request(self._bundle, tensors)), deadline)
        except OSError as error:
            raise unavailable(f"the predictor cannot be reached: {error}") from error
        if answer.status:
            raise to_error(self._bundle, GRPC_STATUS.get(answer.status, 503), answer.message)
        try:
            response = protobuf.decode_response(answer.content)
            return to_tensors(self._bundle, response, len(next(iter(tensors.values()))))
        except (MalformedRequest, RequestTooLarge) as error:
            raise unavailable(f"the predictor's answer cannot be read: {error}") from error

    async def close(self) -> None:
        """Close the connection."""
        if self._opening is not None:
            self._opening.cancel()
        if self._connection is not None:
            self._connection.close()

    async def _call(self, message: bytes, deadline: float) -> GrpcResponse:
        connection = self._connection
        if connection is not None and connection.usable:
            try:
                return await connection.call(message, self._timeout_ms(deadline))
            except OSError:
                pass  # the server has closed an idle connection; inference can safely be requested twice
        connection = await self._connect(connection)
        return await connection.call(message, self._timeout_ms(deadline))

    def _timeout_ms(self, deadline: float) -> int:
        return timeout_ms(deadline, self._clock()) if deadline < inf else 0

    async def _connect(self, unusable: CallingConnection | None) -> CallingConnection:
        """A connection other than one that is of no more use; calls that want it at the same time share it."""
        # another call may have made one meanwhile
        if self._connection is not None and self._connection is not unusable and self._connection.usable:
            return self._connection
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._opened)
        # a call that is given up does not take the connection from the others, nor do they wait for it one by one
        return await asyncio.shield(self._opening)

    async def _open(self) -> CallingConnection:
        connection = await CallingConnection.open(self._address, protobuf.INFER_METHOD, self._tls, self._connect_s)
        if self._connection is not None:
            # calls under way on the old one are still answered
            self._connection.retire()
        self._connection = connection
        return connection

    def _opened(self, opening: asyncio.Task[CallingConnection]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # seen by those that wait, if any still do
