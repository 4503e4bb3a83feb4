"""One answer over HTTP, bounded in time and size."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import httpx2

from tandem_rollout.api.text import one_line

MAX_REASON_LENGTH: Final = 200
"""Characters of what others say, as it may stand in a reason."""


class FetchError(Exception):
    """There is no answer; the message says why, in one line."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer.

    Attributes:
        status: Its HTTP status.
        body: Its body.
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
    """A client that ignores proxies and credentials of its surroundings.

    Args:
        seconds: Longest time of each step of a request.
        connect: Longest time until there is a connection; that of the other steps without it.
        connections: Most connections at once.
        sockets: Unix sockets of servers, by scheme and host of their URLs.
    """
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    # nobody is followed to where an answer leads, and a small answer does not become a large one
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
) -> Fetched:
    """Get an address, or post a form to it.

    Args:
        client: The client.
        address: The URL.
        seconds: Longest time until the last byte has come, waiting for a connection included.
        most: Longest body in bytes.
        params: Query of the URL.
        form: What is posted.

    Raises:
        FetchError: There was no answer in time, or it is too long or compressed.
    """
    try:
        async with asyncio.timeout(seconds):
            return await _fetch(client, "GET" if form is None else "POST", address, params, form, most)
    except (TimeoutError, httpx2.TimeoutException):
        raise FetchError(f"no answer within {seconds:g} s") from None
    # the message could have the address in it, and the address a password
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol):
        raise FetchError("its address is not a URL of HTTP") from None
    except (httpx2.HTTPError, OSError, ValueError) as error:
        raise FetchError(one_line(str(error), MAX_REASON_LENGTH) or type(error).__name__) from error


async def _fetch(
    client: httpx2.AsyncClient,
    method: str,
    address: str,
    params: Mapping[str, str] | None,
    form: Mapping[str, str] | None,
    most: int,
) -> Fetched:
    body = bytearray()
    async with client.stream(method, address, params=params, data=form) as response:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise FetchError("its answer is compressed, which nobody asked for")
        async for part in response.aiter_raw():
            body += part
            if len(body) > most:
                raise FetchError(f"its answer is longer than {_size(most)}")
        return Fetched(response.status_code, bytes(body))


def _size(most: int) -> str:
    return f"{most >> 20} MiB" if most >= 1 << 20 else f"{most >> 10} KiB"
