"""The predictor over REST: Open Inference Protocol v2 with binary tensors."""

from __future__ import annotations

import asyncio
import ssl
from math import inf

import msgspec

from tandem.bundle import Bundle
from tandem.errors import Internal, MalformedRequest, RequestError, RequestTooLarge, Unavailable
from tandem.inputs import Tensors
from tandem.oip import rest, rest_header
from tandem.oip.rest import HEADER_LENGTH_KEY, TIMEOUT_KEY
from tandem_transformer.predictors.address import CONNECT_S, Address
from tandem_transformer.predictors.http_connection import HttpPool, ReceivedResponse
from tandem_transformer.predictors.tensors import timeout_ms, to_error, to_request, to_tensors, unavailable


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
            RequestError: as :func:`~tandem_transformer.predictors.tensors.to_error` says, or ``predictor_unavailable``.
        """
        message = self._message(tensors, deadline)
        try:
            answer = await self._pool.request(message)
        except OSError as error:
            raise unavailable(f"the predictor cannot be reached: {error}") from error
        if answer.status != 200:
            raise self._error(answer)
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

    def _error(self, answer: ReceivedResponse) -> RequestError:
        try:
            message = msgspec.json.decode(answer.body, type=_ErrorBody).error
        except (msgspec.MsgspecError, UnicodeDecodeError):
            # not the protocol's form: a 500 of whatever is in between says nothing about the model
            status = Unavailable.status if answer.status == Internal.status else answer.status
            return to_error(self._bundle, status, answer.body[:500].decode(errors="replace"))
        return to_error(self._bundle, answer.status, message)


class _ErrorBody(msgspec.Struct):
    """Body of an error in the Open Inference Protocol."""

    error: str
