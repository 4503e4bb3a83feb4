"""The Lease as it is read and written, against an API server that fails in every way."""

from __future__ import annotations

import pytest

from tandem_rollout.controller.candidacy import Lease
from tandem_rollout.controller.election import LeaseError
from tandem_rollout.controller.leases import LiveLeases

from .apiserver import FAULTS, Answer
from .world import World

NAME = "tandem-controller"
MINE = Lease("a", 12, 0, 1_800_000_000.0, 1_800_000_001.5)


async def test_a_lease_is_created_read_and_replaced(here: World) -> None:
    async with here.server.client() as client:
        leases, rival = (LiveLeases(client, "models", NAME) for _ in range(2))
        assert await leases.read() is None
        created = await leases.write(MINE)
        assert created is not None
        assert created == await rival.read()
        assert created.version
        assert await leases.write(MINE) is None
        renewed = await leases.write(Lease("a", 12, 0, MINE.acquired, MINE.renewed + 2, created.version))
        assert renewed is not None
        assert renewed.renewed == MINE.renewed + 2
        # who has not seen that takes nothing
        assert await rival.write(Lease("b", 12, 1, 0.0, 0.0, created.version)) is None
        assert await rival.read() == renewed


async def test_the_spec_is_what_kubernetes_takes(here: World) -> None:
    async with here.server.client() as client:
        leases = LiveLeases(client, "models", NAME)
        lease = await leases.write(MINE)
        live = here.server.get("leases", NAME)
        assert live is not None
        assert live["spec"] == {
            "holderIdentity": "a",
            "leaseDurationSeconds": 12,
            "leaseTransitions": 0,
            "acquireTime": "2027-01-15T08:00:00.000001Z",  # six digits, whatever the time
            "renewTime": "2027-01-15T08:00:01.500000Z",
        }
        assert lease is not None
        await leases.write(Lease("", 12, 0, lease.acquired, lease.renewed, lease.version))
        live = here.server.get("leases", NAME)
        assert live is not None
        assert "holderIdentity" not in live["spec"]
        released = await leases.read()
        assert released is not None
        assert released.holder == ""


async def test_what_others_have_written_is_kept(here: World) -> None:
    labels = {"team": "ml"}
    metadata = {"name": NAME, "namespace": "models", "labels": labels, "managedFields": []}
    here.server.put("leases", {"metadata": metadata})
    async with here.server.client() as client:
        leases = LiveLeases(client, "models", NAME)
        empty = await leases.read()
        assert empty is not None
        assert (empty.holder, empty.duration) == ("", 0)
        assert await leases.write(Lease("a", 12, 1, 1.0, 1.0, empty.version)) is not None
    live = here.server.get("leases", NAME)
    assert live is not None
    assert live["metadata"]["labels"] == labels


async def test_a_lease_that_was_deleted_meanwhile_is_not_replaced(here: World) -> None:
    async with here.server.client() as client:
        leases = LiveLeases(client, "models", NAME)
        lease = await leases.write(MINE)
        assert lease is not None
        here.server.remove("leases", NAME)
        assert await leases.write(lease) is None
        assert await leases.read() is None
        assert await leases.write(MINE) is not None


@pytest.mark.parametrize("kind", sorted(FAULTS.keys() - {"conflict"}))
async def test_a_call_that_fails_says_which_and_why(here: World, kind: str) -> None:
    async with here.server.client() as client:
        leases = LiveLeases(client, "models", NAME)
        lease = await leases.write(MINE)
        assert lease is not None
        here.server.fault = lambda call: FAULTS[kind]
        with pytest.raises(LeaseError, match=r"^cannot read Lease tandem-controller in models: ."):
            await leases.read()
        with pytest.raises(LeaseError, match=r"^cannot write Lease tandem-controller in models: ."):
            await leases.write(lease)
        await leases.tell("an event that is lost is no reason to stop")


async def test_without_the_right_to_create_it_the_answer_of_the_api_server_is_told(here: World) -> None:
    here.server.fault = lambda call: Answer(403, 'leases is forbidden: cannot create resource "leases"')
    async with here.server.client() as client:
        with pytest.raises(LeaseError, match="leases is forbidden"):
            await LiveLeases(client, "models", NAME).write(MINE)


async def test_events_are_about_the_lease(here: World) -> None:
    async with here.server.client() as client:
        leases = LiveLeases(client, "models", NAME)
        await leases.write(MINE)
        await leases.tell("a became the leader")
    (event,) = here.server.all("events")
    live = here.server.get("leases", NAME)
    assert live is not None
    assert (event["reason"], event["message"], event["type"]) == ("LeaderElection", "a became the leader", "Normal")
    assert event["metadata"]["namespace"] == "models"
    about = event["involvedObject"]
    assert (about["kind"], about["name"], about["uid"]) == ("Lease", NAME, live["metadata"]["uid"])
