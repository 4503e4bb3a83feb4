"""HTTP requests with limits on time and size of the response."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import httpx2

from tandem_rollout.api.text import one_line

MAX_REASON_LENGTH: Final = 200
"""Maximum number of characters of a foreign message."""


class FetchError(Exception):
    """The request failed. The message has one line."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A response.

    Attributes:
        status: HTTP status.
        body: Body.
    """

    status: int
    body: bytes


def open_client(
    *,
    seconds: float,
    connect: float | None = None,
    connections: int = 50,
    sockets: Mapping[str, Path] = MappingProxyType({}),
) -> httpx2.AsyncClient:
    """A client that ignores proxies and credentials of the environment.

    Args:
        seconds: Timeout of each step of a request.
        connect: Timeout of a connection attempt; by default that of the other steps.
        connections: Maximum number of connections.
        sockets: Unix sockets of servers, by scheme and host of their URLs.
    """
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    # no redirects, and no compressed responses, which could become large
    headers = {"Accept-Encoding": "identity"}
    return httpx2.AsyncClient(
        timeout=httpx2.Timeout(seconds, connect=connect or seconds),
        limits=limits,
        trust_env=False,
        follow_redirects=False,
        headers=headers,
        mounts={url: httpx2.AsyncHTTPTransport(uds=str(path)) for url, path in sockets.items()},
    )


async def fetch(
    client: httpx2.AsyncClient,
    address: str,
    *,
    seconds: float,
    most: int,
    params: Mapping[str, str] | None = None,
    form: Mapping[str, str] | None = None,
    document: Mapping[str, str] | None = None,
) -> Fetched:
    """Send a GET request, or a POST request with a form or a JSON object.

    Args:
        client: The client.
        address: The URL.
        seconds: Timeout until the last byte of the response, including the connection attempt.
        most: Maximum bytes of the body.
        params: Query of the URL.
        form: Form of a POST request.
        document: JSON object of a POST request.

    Raises:
        FetchError: The request failed or timed out, or the response is too long or compressed.
    """
    try:
        # the client's own timeout starts again with each part of the response: a slow server would never exceed it
        async with asyncio.timeout(seconds):
            return await _fetch(client, address, {"params": params, "data": form, "json": document}, most)
    except (TimeoutError, httpx2.TimeoutException):
        raise FetchError(f"timed out after {seconds:g} s") from None
    # without the address, which may contain a password
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
        raise FetchError("its address is not a valid HTTP URL") from None
    except (httpx2.HTTPError, OSError, ValueError) as error:
        raise FetchError(one_line(str(error), MAX_REASON_LENGTH) or type(error).__name__) from error


async def _fetch(client: httpx2.AsyncClient, address: str, sent: Mapping[str, Any], most: int) -> Fetched:
    body = bytearray()
    method = "GET" if sent["data"] is None and sent["json"] is None else "POST"
    async with client.stream(method, address, **sent) as response:
        # a server may ignore Accept-Encoding
        if response.headers.get("content-encoding", "identity") != "identity":
            raise FetchError("the response is compressed")
        async for part in response.aiter_raw():
            body += part
            # while it arrives, as a response may have no end
            if len(body) > most:
                raise FetchError(f"the response is longer than {_size(most)}")
        return Fetched(response.status_code, bytes(body))


def _size(most: int) -> str:
    return f"{most >> 20} MiB" if most >= 1 << 20 else f"{most >> 10} KiB"
