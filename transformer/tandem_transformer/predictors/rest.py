"""The predictor over REST: Open Inference Protocol v2 with binary tensors."""

from __future__ import annotations

import aiohttp
from tandem.bundle import Bundle
from tandem.errors import MalformedRequest, Unavailable
from tandem.oip import rest
from tandem.pipeline import Tensors

from tandem_transformer.predictors.tensors import to_error, to_request, to_tensors


class RestPredictor:
    """One endpoint, over kept-alive connections.

    Args:
        host: ``host:port``.
        bundle: The version whose model is asked for.
        tls: Call over HTTPS.
    """

    def __init__(self, host: str, bundle: Bundle, *, tls: bool = False) -> None:
        self._bundle = bundle
        self._url = f"http{'s' if tls else ''}://{host}/v2/models/{bundle.hop_name}/infer"
        self._session: aiohttp.ClientSession | None = None

    async def infer(self, tensors: Tensors) -> Tensors:
        """Output tensors by name.

        Raises:
            RequestError: as :func:`~tandem_transformer.predictors.tensors.to_error` says, or ``predictor_unavailable``.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), auto_decompress=False, skip_auto_headers=["User-Agent"]
            )
        body = rest.encode_request(to_request(self._bundle, tensors))
        headers = {"Content-Type": body.content_type, rest.HEADER_LENGTH: str(body.header_length)}
        try:
            async with self._session.post(
                self._url, data=body.content, headers=headers, allow_redirects=False
            ) as answer:
                content = await answer.read()
                if answer.status != 200:
                    raise to_error(self._bundle, answer.status, content[:500].decode(errors="replace"))
                length = answer.headers.get(rest.HEADER_LENGTH)
        except aiohttp.ClientError as error:
            raise Unavailable(
                f"the predictor cannot be reached: {error}", code="predictor_unavailable", retry_after=1
            ) from error
        try:
            return to_tensors(rest.decode_response(content, int(length) if length else None))
        except (MalformedRequest, ValueError) as error:
            raise Unavailable(
                f"the predictor's answer cannot be read: {error}", code="predictor_unavailable"
            ) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
