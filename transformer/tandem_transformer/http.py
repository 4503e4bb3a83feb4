"""The predict routes as raw ASGI endpoints.

They stand in front of FastAPI's routing, whose parsing and validation would cost more than the whole rest of a request.
"""

from __future__ import annotations

import asyncio

from starlette.types import Receive, Scope, Send

from tandem.errors import MethodNotAllowed, RequestTooLarge
from tandem_transformer.exchange import Exchange
from tandem_transformer.headers import Headers
from tandem_transformer.http_codecs import Codec
from tandem_transformer.service import Service


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


class PredictEndpoint:
    """One predict route.

    Args:
        service: What answers.
        codec: The protocol's part.
    """

    def __init__(self, service: Service, codec: Codec) -> None:
        self.service = service
        self.codec = codec
        self.max_body_bytes = service.config.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        headers: Headers = dict(scope["headers"])
        exchange = Exchange(self.service, self.codec, scope["path"].encode(), headers)
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed(scope["method"], "POST")
            exchange.admit()
            body = await self._body(headers, receive)
            call = await exchange.ask_long(body) if exchange.is_long(body) else exchange.ask(body)
        except ClientGone:
            exchange.abandon()
            return
        except Exception as error:
            response = exchange.refuse(error)
        else:
            # only waited for: respond() makes an answer of its error too
            await asyncio.wait([call.answer])
            response = exchange.respond()
        if response.status == MethodNotAllowed.status:
            response.headers.append((b"allow", b"POST"))
        await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
        await send({"type": "http.response.body", "body": response.content})

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        announced = headers.get(b"content-length")
        if announced is not None and int(announced) > self.max_body_bytes:
            raise self._too_large()
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.max_body_bytes:
                raise self._too_large()
            more = message.get("more_body", False)
        return b"".join(parts)

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(f"the body is longer than {self.max_body_bytes} bytes")
