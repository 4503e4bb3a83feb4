"""Answers that lead elsewhere, or are larger than they look."""

from __future__ import annotations

import gzip

import pytest
from aiohttp import web

from tandem_rollout.sources.fetch import Fetched, FetchError, fetch, open_client

from .servers import serving


async def fetched(address: str, *, most: int = 1 << 20, form: dict[str, str] | None = None) -> Fetched:
    async with open_client(seconds=30.0) as client:
        return await fetch(client, address, seconds=30.0, most=most, form=form)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("form", [None, {"query": "up"}], ids=["GET", "POST"])
async def test_nobody_is_followed_to_where_an_answer_leads(status: int, form: dict[str, str] | None) -> None:
    paths: list[str] = []

    async def secret(request: web.Request) -> web.Response:
        paths.append(request.path)
        return web.Response(text="secret")

    async with serving(secret) as elsewhere:

        async def leading(request: web.Request) -> web.Response:
            return web.Response(status=status, headers={"Location": f"{elsewhere}/latest/credentials"})

        async with serving(leading) as address:
            response = await fetched(address, form=form)
    assert (response.status, response.body) == (status, b"")
    assert paths == []


async def test_a_small_answer_does_not_become_a_large_one() -> None:
    async def packed(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=gzip.compress(bytes(64 << 20)), headers={"Content-Encoding": "gzip"})

    async with serving(packed) as address:
        with pytest.raises(FetchError, match="the response is compressed"):
            await fetched(address)


async def test_as_much_is_read_as_was_said_and_no_more() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=bytes(1 << 20))

    async with serving(answer) as address:
        assert len((await fetched(address)).body) == 1 << 20
        with pytest.raises(FetchError, match="the response is longer than 1023 KiB"):
            await fetched(address, most=(1 << 20) - 1)
