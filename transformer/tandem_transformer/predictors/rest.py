"""The predictor over REST: Open Inference Protocol v2 with binary tensors."""

from __future__ import annotations

import asyncio
import ssl
from math import inf

from tandem.bundle import Bundle
from tandem.errors import MalformedRequest, RequestTooLarge
from tandem.inputs import Tensors
from tandem.oip import rest, rest_header
from tandem.oip.rest import HEADER_LENGTH_KEY, TIMEOUT_KEY
from tandem.predictor_messages import timeout_ms, to_body_error, to_request, to_tensors, unavailable
from tandem_transformer.predictors.address import CONNECT_S, Address
from tandem_transformer.predictors.http_connection import HttpPool


class RestPredictor:
    """One endpoint, over kept-alive connections.

    Args:
        address: Where it is.
        bundle: The version whose model is asked for.
        tls: Call over HTTPS, and verify the other end so.
        connect_s: Seconds that a connection may take to be made.
    """

    def __init__(
        self, address: Address, bundle: Bundle, *, tls: ssl.SSLContext | None = None, connect_s: float = CONNECT_S
    ) -> None:
        self._bundle = bundle
        self._pool = HttpPool(address, tls, connect_s)
        self._clock = asyncio.get_running_loop().time
        # all of the head that does not change, encoded once
        self._head = (
            f"POST /v2/models/{bundle.wire_name}/infer HTTP/1.1\r\nHost: {address.host}\r\n"
            f"Content-Type: application/octet-stream\r\n{rest_header.HEADER_LENGTH}: "
        ).encode()

    async def infer(self, tensors: Tensors, deadline: float = inf) -> Tensors:
        """Output tensors by name; see :meth:`PredictorClient.infer`.

        Raises:
            RequestError: as :func:`~tandem.predictor_messages.to_error` says, or ``predictor_unavailable``.
        """
        message = self._message(tensors, deadline)
        try:
            answer = await self._pool.request(message)
        except OSError as error:
            raise unavailable(f"the predictor cannot be reached: {error}") from error
        if answer.status != 200:
            raise to_body_error(self._bundle, answer.status, answer.body)
        try:
            length = answer.headers.get(HEADER_LENGTH_KEY)
            response = rest.decode_response(answer.body, int(length) if length else None)
            return to_tensors(self._bundle, response, len(next(iter(tensors.values()))))
        except (MalformedRequest, RequestTooLarge, ValueError) as error:
            raise unavailable(f"the predictor's answer cannot be read: {error}") from error

    def _message(self, tensors: Tensors, deadline: float) -> bytes:
        """A whole request."""
        body, header_length = rest.encode_request(to_request(self._bundle, tensors))
        head = b"%b%d\r\nContent-Length: %d\r\n" % (self._head, header_length or len(body), len(body))
        if deadline < inf:
            head += b"%b: %d\r\n" % (TIMEOUT_KEY, timeout_ms(deadline, self._clock()))
        return b"%b\r\n%b" % (head, body)

    async def close(self) -> None:
        """Close the connections."""
        self._pool.close()
