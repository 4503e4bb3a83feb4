"""Following a name, with a name system and a clock of the test's own."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Collection, Sequence

import pytest

from tandem_transformer.predictors.address import Address
from tandem_transformer.predictors.resolution import RETRY_S, Resolution, addresses_of

from .dns import Names

HOST = "pods.default:9000"


class Uses:
    """Remembers which addresses were to be used."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    async def __call__(self, addresses: Sequence[Address]) -> None:
        self.seen.append([address.ip for address in addresses])


async def test_changes_are_told_and_nothing_else() -> None:
    names, uses = Names("10.0.0.2", "10.0.0.1"), Uses()
    resolution = names.resolution(HOST, every=0.5)
    resolution.start(uses)
    await names.looked_up()
    await names.change("10.0.0.1", "10.0.0.2")  # the order means nothing
    await names.change("10.0.0.1", "10.0.0.2", "fd00::3")
    await names.change("fd00::3")
    assert uses.seen == [["10.0.0.1", "10.0.0.2"], ["10.0.0.1", "10.0.0.2", "fd00::3"], ["fd00::3"]]
    assert set(names.asked) == {"pods.default"}
    assert set(names.slept) == {0.5}
    await resolution.close()


@pytest.mark.parametrize(
    "fault", [None, socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), UnicodeError("label")]
)
async def test_an_outage_keeps_the_addresses_and_is_logged_once(
    fault: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    names, uses = Names("10.0.0.1"), Uses()
    resolution = names.resolution(HOST)
    resolution.start(uses)
    await names.looked_up()
    assert not caplog.records
    for outage in (1, 2):
        await names.change(fault=fault)
        await names.change(fault=fault)
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"] * (outage - 1) + ["WARNING"]
        await names.change("10.0.0.1")
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"] * outage
    assert uses.seen == [["10.0.0.1"]]
    await resolution.close()


async def test_a_name_that_is_not_found_at_first() -> None:
    names, uses = Names(), Uses()
    resolution = names.resolution(HOST)
    resolution.start(uses)
    await resolution.tried()
    assert uses.seen == []
    await names.change("10.0.0.1")
    assert uses.seen == [["10.0.0.1"]]
    await resolution.close()


async def test_to_find_a_name_once_is_to_ask_until_it_is_found() -> None:
    names, uses = Names(), Uses()
    resolution = names.resolution(HOST, every=0)
    resolution.start(uses)
    await names.looked_up()
    names.ips = ["10.0.0.1"]
    names._woken.release()
    await resolution.tried()
    await asyncio.gather(*resolution._tasks)  # they end
    assert uses.seen == [["10.0.0.1"]]
    assert names.slept == [RETRY_S]
    assert len(names.asked) == 2


async def test_several_names_do_not_wait_for_one_that_hangs() -> None:
    async def look_up(name: str) -> Collection[str]:
        if name == "hangs":
            await asyncio.Event().wait()
        return [] if name == "nowhere" else [f"ip of {name}"]

    uses = Uses()
    resolution = Resolution(("hangs:1", "nowhere:1", "a:1", "b:1"), 0, look_up=look_up)
    resolution.start(uses)
    await resolution.tried()
    await asyncio.sleep(0)
    assert uses.seen[-1] == ["ip of a", "ip of b"]
    await resolution.close()


async def test_an_address_needs_no_second_look_up() -> None:
    uses = Uses()
    resolution = Resolution(("127.0.0.1:1", "[::1]:2"), 2.0)
    resolution.start(uses)
    await asyncio.gather(*resolution._tasks)
    assert sorted(uses.seen[-1]) == ["127.0.0.1", "::1"]


async def test_a_name_of_this_host_is_one_address_however_many_it_has() -> None:
    """A server on this host listens on one of them, more often than not."""
    assert await addresses_of("localhost") == ["localhost"]


async def test_a_name_that_nobody_has() -> None:
    with pytest.raises(OSError):
        await addresses_of("nobody.invalid")
