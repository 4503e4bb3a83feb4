from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tandem.errors import MalformedRequest, NotFound, Unavailable
from tandem.oip import health_pb2 as pb
from tandem.oip.health import SERVICE, Health


class Switch:
    """A server's readiness."""

    def __init__(self) -> None:
        self.ready = False
        self.health = Health(["inference.Service"], lambda: self.ready)

    def turn(self, ready: bool) -> None:
        self.ready = ready
        self.health.changed()


def asking(service: str) -> bytes:
    return bytes(pb.HealthCheckRequest(service=service).SerializeToString())


def status(message: bytes) -> str:
    value = pb.HealthCheckResponse.FromString(message).status
    return str(pb.HealthCheckResponse.ServingStatus.Name(value))


async def once(message: bytes) -> AsyncIterator[bytes]:
    yield message


@pytest.mark.parametrize("service", ["", "inference.Service", SERVICE])
async def test_check(service: str) -> None:
    switch = Switch()
    assert status(await switch.health.check(asking(service))) == "NOT_SERVING"
    switch.turn(True)
    assert status(await switch.health.check(asking(service))) == "SERVING"


async def test_check_of_what_there_is_not() -> None:
    with pytest.raises(NotFound, match="'other'") as error:
        await Switch().health.check(asking("other"))
    assert error.value.code == "service_not_found"
    with pytest.raises(MalformedRequest):
        await Switch().health.check(b"\xff")


async def test_list() -> None:
    switch = Switch()
    switch.turn(True)
    statuses = pb.HealthListResponse.FromString(await switch.health.list(b"")).statuses
    assert {name: value.status for name, value in statuses.items()} == {"": 1, SERVICE: 1, "inference.Service": 1}


async def test_watch_tells_each_change_and_ends_with_the_server() -> None:
    switch = Switch()
    watch = switch.health.watch(once(asking("")))
    assert status(await anext(watch)) == "NOT_SERVING"
    switch.turn(True)
    assert status(await anext(watch)) == "SERVING"
    switch.turn(True)  # no change
    switch.turn(False)
    assert status(await anext(watch)) == "NOT_SERVING"
    switch.turn(True)
    assert status(await anext(watch)) == "SERVING"
    switch.health.close()
    assert status(await anext(watch)) == "NOT_SERVING"
    with pytest.raises(Unavailable):
        await anext(watch)


async def test_watch_of_what_there_is_not() -> None:
    assert status(await anext(Switch().health.watch(once(asking("other"))))) == "SERVICE_UNKNOWN"
