"""At no moment do two processes lead, and never for long none."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.controller.candidacy import Lease, Timing
from tandem_rollout.controller.election import Elector, LeaseError, uptime

from .elections import CLEAR, FOREVER_S, Network, Server, Weather, now, run, stage

LEASE_S = Timing().lease
RATE = 1.2
"""How many times as fast as it should a clock may run: two such clocks are within what the timing allows."""


def virtual(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test in virtual time."""

    def wrapped() -> None:
        run(test())

    wrapped.__name__ = test.__name__
    return wrapped


# timing


def test_a_leader_stops_before_another_one_may_begin() -> None:
    with pytest.raises(ValueError, match=r"the deadline \(12 s\) must be shorter than the lease \(12 s\)"):
        Timing(deadline=12.0)
    with pytest.raises(ValueError, match="together must be below the deadline"):
        Timing(call=5.0)
    assert Timing().lease / Timing().deadline > RATE**2


def test_the_clock_is_one_that_nobody_sets() -> None:
    assert uptime() <= uptime()


# two replicas


@virtual
async def test_one_of_two_leads_and_stays_the_leader() -> None:
    async with stage() as scene:
        for name in "ab":
            scene.replica(name).start()
        await asyncio.sleep(600)
        assert [(name, event) for _, name, event in scene.history] == [("a", "begins")]
        assert scene.most_leaders == scene.most_acting == 1
        (acquisition, *renewals) = [lease for _, lease in scene.server.writes]
        assert {lease.holder for lease in (acquisition, *renewals)} == {"a"}
        assert {(lease.acquired, lease.transitions) for lease in renewals} == {(acquisition.acquired, 0)}
        assert len(renewals) == pytest.approx(600 / Timing().renewal, abs=5)


@virtual
async def test_when_a_leader_is_killed_the_other_leads_after_the_lease() -> None:
    async with stage() as scene:
        a, b = scene.replica("a"), scene.replica("b")
        a.start()
        await asyncio.sleep(1)
        b.start()
        await asyncio.sleep(30)
        killed = now()
        await a.kill()
        await asyncio.sleep(60)
        begun = next(time for time, name, event in scene.history if (name, event) == ("b", "begins"))
        # what was left of the lease when it was last renewed, until that is seen, until it is taken
        assert begun - killed <= LEASE_S + Timing().retry + 4 * (CLEAR.there + CLEAR.back)
        assert begun - killed >= LEASE_S - Timing().renewal - 4 * (CLEAR.there + CLEAR.back)
        assert scene.server.lease is not None
        assert (scene.server.lease.holder, scene.server.lease.transitions) == ("b", 1)


@virtual
async def test_when_a_leader_ends_in_order_the_other_leads_within_a_second() -> None:
    async with stage() as scene:
        a, b = scene.replica("a"), scene.replica("b")
        a.start()
        await asyncio.sleep(1)
        b.start()
        await asyncio.sleep(30)
        ended = now()
        await a.stop()
        await asyncio.sleep(60)
        assert [(name, event) for _, name, event in scene.history] == [
            ("a", "begins"),
            ("a", "stops"),
            ("b", "begins"),
        ]
        stopped, begun = scene.history[1][0], scene.history[2][0]
        assert stopped == ended
        assert begun - ended <= Timing().retry + 8 * (CLEAR.there + CLEAR.back)


@virtual
async def test_a_leader_that_cannot_renew_stops_before_the_other_begins() -> None:
    async with stage() as scene:
        a, b = scene.replica("a"), scene.replica("b")
        a.start()
        await asyncio.sleep(1)
        b.start()
        await asyncio.sleep(20)
        a.network.is_cut = True
        await asyncio.sleep(60)
        assert [(name, event) for _, name, event in scene.history] == [
            ("a", "begins"),
            ("a", "stops"),
            ("b", "begins"),
        ]
        stopped, begun = scene.history[1][0], scene.history[2][0]
        assert begun - stopped >= LEASE_S - Timing().deadline
        assert not a.elector.leads


@virtual
async def test_a_leader_counts_from_when_it_sent_a_renewal_not_from_its_answer() -> None:
    async with stage() as scene:
        # the answer to its last renewal takes its time, and its clock as well
        a = scene.replica("a", rate=1 / RATE, weather=[CLEAR, CLEAR, Weather(back=2.5), Weather(there=FOREVER_S)])
        b = scene.replica("b", rate=RATE)
        a.start()
        await asyncio.sleep(1)
        b.start()
        await asyncio.sleep(5)
        a.network.is_cut = True
        await asyncio.sleep(60)
        assert [name for _, name, _ in scene.history] == ["a", "a", "b"]
        assert scene.most_leaders == scene.most_acting == 1


@virtual
async def test_a_leader_that_comes_back_in_time_leads_again_without_a_wait() -> None:
    async with stage() as scene:
        # its renewals are lost until it has stopped, and nobody has taken the lease
        a = scene.replica("a", weather=[CLEAR, CLEAR, *[Weather(lost=True)] * 2])
        a.start()
        await asyncio.sleep(60)
        events = [(event, time) for time, _, event in scene.history]
        assert [event for event, _ in events] == ["begins", "stops", "begins"]
        assert events[2][1] - events[1][1] <= 2 * (CLEAR.there + CLEAR.back)
        assert scene.server.lease is not None
        assert scene.server.lease.transitions == 0


@virtual
async def test_one_renewal_that_fails_is_tried_again_in_time() -> None:
    for failure in (Weather(lost=True), Weather(rejected=True), Weather(there=FOREVER_S)):
        async with stage() as scene:
            a = scene.replica("a", weather=[CLEAR, CLEAR, failure])
            a.start()
            await asyncio.sleep(60)
            assert [event for _, _, event in scene.history] == ["begins"]


@virtual
async def test_a_leader_stops_when_it_sees_that_another_one_has_the_lease() -> None:
    async with stage() as scene:
        a = scene.replica("a")
        a.start()
        await asyncio.sleep(10)
        written = now()
        assert scene.server.lease is not None
        scene.server.lease = Lease("c", LEASE_S, 1, 0.0, 0.0, version="edited")
        await asyncio.sleep(10)
        assert [event for _, _, event in scene.history] == ["begins", "stops"]
        assert scene.history[1][0] - written <= Timing().renewal + 4 * (CLEAR.there + CLEAR.back)


@virtual
async def test_a_lease_that_is_deleted_is_not_taken_before_its_time() -> None:
    async with stage() as scene:
        a, b = scene.replica("a"), scene.replica("b")
        a.start()
        await asyncio.sleep(1)
        b.start()
        await asyncio.sleep(10)
        a.network.is_cut = True
        scene.server.lease = None
        await asyncio.sleep(60)
        assert scene.most_leaders == 1
        assert [(name, event) for _, name, event in scene.history][-1] == ("b", "begins")


@virtual
async def test_a_lease_without_a_duration_is_waited_for_all_the_same() -> None:
    async with stage() as scene:
        scene.server.lease = Lease("somebody", 0, 3, 0.0, 0.0, version="theirs")
        scene.replica("a").start()
        await asyncio.sleep(60)
        ((begun, _, _),) = scene.history
        assert begun >= LEASE_S


@virtual
async def test_a_term_that_fails_ends_the_election_and_releases_the_lease() -> None:
    server = Server()
    elector = Elector(Network(server, iter(())), "a", clock=now, time_of_day=now)

    async def term() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        await elector.run(term)
    assert server.lease is not None
    assert server.lease.holder == ""
    assert not elector.leads


@virtual
async def test_a_process_that_never_held_the_lease_asks_nobody_when_it_ends() -> None:
    async with stage() as scene:
        scene.replica("a").start()
        await asyncio.sleep(1)
        b = scene.replica("b")
        b.start()
        await asyncio.sleep(5)
        b.network.is_cut = True
        ended = now()
        await b.stop()
        assert now() == ended


def test_a_failure_that_lasts_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with stage() as scene:
            scene.replica("a", weather=[Weather(rejected=True)] * 5).start()
            await asyncio.sleep(60)

    with caplog.at_level(logging.INFO, "tandem_rollout.controller.election"):
        run(main())
    assert caplog.messages[:2] == ["leader election: internal error", "a became the leader"]


def test_a_read_that_fails_says_so() -> None:
    async def main() -> None:
        network = Network(Server(), iter([Weather(rejected=True)]))
        with pytest.raises(LeaseError):
            await network.read()

    run(main())


# whatever happens

_SECONDS = st.sampled_from([0.01, 0.3, 1.0, 2.5, 4.0, 9.0, 14.0])
_WEATHER = st.lists(
    st.builds(
        Weather, _SECONDS, _SECONDS, st.sampled_from([False, False, True]), st.sampled_from([False, False, True])
    ),
    max_size=10,
)
_RATES = st.floats(1 / RATE, RATE)
_OFFSETS = st.floats(-1e6, 1e6)
_ENDS = st.tuples(st.sampled_from(["stop", "kill"]), st.floats(0.0, 60.0), st.floats(0.0, 20.0))
_MACHINES = st.tuples(_RATES, _OFFSETS, st.lists(_WEATHER, min_size=3, max_size=3), st.lists(_ENDS, max_size=2))


async def live(scene: Any, machine: str, plan: Any, stalls: list[float]) -> None:
    """Processes of one machine, one after the other."""
    rate, offset, weathers, ends = plan
    for number, weather in enumerate(weathers[: len(ends) + 1]):
        replica = scene.replica(f"{machine}{number}", weather=weather, rate=rate, offset=offset, stalls=stalls)
        replica.start()
        if number < len(ends):
            how, after, pause = ends[number]
            await asyncio.sleep(after)
            await (replica.stop() if how == "stop" else replica.kill())
            await asyncio.sleep(pause)


async def story(plans: list[Any], stalls: list[float]) -> tuple[int, int]:
    """The most leaders and the most who acted at one moment; in the end one of them leads."""
    async with stage() as scene:
        lives = [asyncio.create_task(live(scene, name, plan, stalls)) for name, plan in zip("ab", plans, strict=True)]
        await asyncio.gather(*lives)
        await asyncio.sleep(100 + sum(stalls))
        assert len(scene.acting) == 1
        return scene.most_leaders, scene.most_acting


@given(st.tuples(_MACHINES, _MACHINES))
def test_there_are_never_two_leaders(plans: tuple[Any, Any]) -> None:
    leaders, acting = run(story(list(plans), []))
    assert (leaders, acting) == (1, 1)


@given(st.tuples(_MACHINES, _MACHINES), st.lists(st.sampled_from([0.0, 0.5, 5.0, 20.0]), max_size=8))
def test_nor_where_processes_stall(plans: tuple[Any, Any], stalls: list[float]) -> None:
    # who stalls cannot stop in time, but it is told so when it asks before a write
    leaders, _ = run(story(list(plans), stalls))
    assert leaders == 1


@virtual
async def test_clocks_that_are_further_apart_than_that_can_have_two() -> None:
    async with stage() as scene:
        a, b = scene.replica("a", rate=0.5), scene.replica("b")
        a.start()
        await asyncio.sleep(1)
        b.start()
        await asyncio.sleep(20)
        a.network.is_cut = True
        await asyncio.sleep(60)
        assert scene.most_leaders == scene.most_acting == 2
