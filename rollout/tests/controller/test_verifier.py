"""How a transformer's answer is read."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from aiohttp import web
from rollout.tests.rollouts import rollout
from rollout.tests.sources.servers import serving

from tandem_rollout.controller.interface import VerificationFailure
from tandem_rollout.controller.observation import Verification
from tandem_rollout.controller.verifier import HttpVerifier, service_address
from tandem_rollout.render.revision import Revision

from .world import contract

ANSWER = {"name": "est", "version": "v1", "digest": "1" * 64, "rows": 8, "contract": msgspec.to_builtins(contract())}


@asynccontextmanager
async def transformer(status: int, body: Any) -> AsyncIterator[tuple[str, list[str]]]:
    """A transformer that answers so; gives its address and what it was asked."""
    paths: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        paths.append(request.path_qs)
        if body is None and request.transport is not None:
            request.transport.abort()
        payload = body if isinstance(body, bytes) else msgspec.json.encode(body)
        return web.Response(body=payload, status=status)

    app = web.Application()
    app.router.add_route("GET", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", paths
    finally:
        await runner.cleanup()


def revision(version: str = "", **spec: Any) -> Revision:
    of = rollout(bundle={"image": "athlete:v1", "version": version}, **spec)
    return Revision.of(of, of.spec.all_variants[0])


async def answered(status: int, body: Any, of: Revision | None = None) -> Verification | VerificationFailure:
    async with transformer(status, body) as (address, _):
        verifier = HttpVerifier(lambda _: address)
        verification = await verifier.verify(of or revision())
        await verifier.close()
        return verification


async def test_a_proof() -> None:
    verification = await answered(200, ANSWER, revision("v1"))
    assert verification == Verification(version="v1", digest="1" * 64, contract=contract())


async def test_a_transformer_is_asked_through_its_service_about_the_predictors_provider() -> None:
    of = revision()
    assert service_address(of) == f"http://{of.name}-transformer.models.svc"
    async with transformer(200, ANSWER) as (address, paths):
        verifier = HttpVerifier(lambda _: address)
        await verifier.verify(of)
        await verifier.verify(revision(predictor={"gpu": {}}))
        await verifier.close()
    assert paths == [
        "/tandem/verification?provider=CPUExecutionProvider",
        "/tandem/verification?provider=CUDAExecutionProvider",
    ]


@pytest.mark.parametrize(
    ("status", "body", "reason", "message", "final"),
    [
        (
            500,
            {"error": "row 3 of\nseconds differs", "code": "proof_failed"},
            "VerificationFailed",
            "row 3 of seconds differs",
            True,
        ),
        (503, {"error": "another bundle", "code": "predictor_mismatch"}, "PredictorMismatch", "another bundle", True),
        (
            503,
            {"error": "no predictor", "code": "predictor_unavailable"},
            "VerificationUnavailable",
            "no predictor",
            False,
        ),
        (502, b"<html>", "VerificationUnavailable", "the transformer returned status 502 for the verification", False),
        (
            404,
            {"detail": "Not Found"},
            "VerificationUnavailable",
            "the transformer returned status 404 for the verification",
            False,
        ),
        (
            200,
            {**ANSWER, "digest": "sha256:1"},
            "VerificationUnreadable",
            "the response to the verification is invalid: "
            "Expected `str` matching regex '^[0-9a-f]{64}$' - at `$.digest`",
            True,
        ),
        (
            200,
            {"version": "v1"},
            "VerificationUnreadable",
            "the response to the verification is invalid: Object missing required field `name`",
            True,
        ),
    ],
)
async def test_no_proof(status: int, body: Any, reason: Any, message: str, final: bool) -> None:
    assert await answered(status, body) == VerificationFailure(reason, message, final)


async def test_a_bundle_of_another_version_than_the_spec_says() -> None:
    assert await answered(200, ANSWER, revision("v2")) == VerificationFailure(
        "VersionMismatch", "its bundle has version 'v1', the spec has 'v2'", True
    )


async def bomb(request: web.Request) -> web.Response:
    """64 MiB of blanks in 64 KiB."""
    return web.Response(body=gzip.compress(b" " * (64 << 20)), headers={"Content-Encoding": "gzip"})


async def flood(request: web.Request) -> web.StreamResponse:
    """A body that does not end."""
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b" " * 65536)


async def drip(request: web.Request) -> web.StreamResponse:
    """One byte, and nothing after it."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b" ")
    await asyncio.Event().wait()
    return response


@pytest.mark.parametrize(
    ("send", "reason"),
    [
        (bomb, "the response is compressed"),
        (flood, "the response is longer than 256 KiB"),
        (drip, "timed out after 0.5 s"),
    ],
)
async def test_an_answer_is_bounded_in_bytes_and_time(
    send: Callable[[web.Request], Awaitable[web.StreamResponse]], reason: str
) -> None:
    async with serving(send) as address:
        verifier = HttpVerifier(lambda _: address, timeout=0.5 if send is drip else 60.0)
        failure = await verifier.verify(revision())
        await verifier.close()
    assert failure == VerificationFailure(
        "VerificationUnavailable", f"cannot request the verification: {reason}", False
    )


async def test_a_connection_that_breaks_and_one_that_nobody_takes() -> None:
    broken = await answered(200, None)
    assert isinstance(broken, VerificationFailure)
    assert broken.message.startswith("cannot request the verification: ")
    async with transformer(200, ANSWER) as (address, _):
        pass
    verifier = HttpVerifier(lambda _: address)
    rejected = await verifier.verify(revision())
    await verifier.close()
    assert isinstance(rejected, VerificationFailure)
    assert not broken.final
    assert not rejected.final
