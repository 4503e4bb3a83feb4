"""What was applied is doubted from time to time."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.controller.apply import RESYNC_S, Applied
from tandem_rollout.controller.interface import Cluster, WriteError
from tandem_rollout.controller.inventory import MAX_AGE_S, Mark

MADE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "models"}, "spec": {}}


class Counting:
    """Counts what is applied, and how often somebody asks whether it is still so."""

    def __init__(self) -> None:
        self.applied = self.asked = 0
        self.touched = False
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    async def apply(self, rendered: dict[str, Any], *, uid: str = "") -> dict[str, Any]:
        self.applied += 1
        self.touched = False
        return {**rendered, "metadata": {**rendered["metadata"], "uid": "u-1"}}

    async def same(self, kind: str, namespace: str, name: str, mark: Mark | None, since: float) -> bool:
        self.asked += 1
        return not self.touched


async def one_pass(applied: Applied) -> None:
    applied.begin()
    await applied.apply(MADE)


@given(st.floats(0.0, 1.0, exclude_max=True), st.lists(st.booleans(), min_size=1, max_size=5))
async def test_what_somebody_has_touched_is_applied_again_in_time_and_nothing_else(
    chance: float, touched: list[bool]
) -> None:
    cluster = Counting()
    applied = Applied(cast(Cluster, cluster), lambda: chance)
    await one_pass(applied)
    for number, cluster.touched in enumerate(touched, start=1):
        expected = cluster.applied + cluster.touched
        due, before = applied.due, cluster.time
        assert before < due <= before + RESYNC_S - MAX_AGE_S
        cluster.time = due - 0.001
        await one_pass(applied)
        assert cluster.asked == number - 1
        cluster.time = due
        for _ in range(3):
            await one_pass(applied)
        assert cluster.asked == number
        assert cluster.applied == expected


def test_rollouts_that_are_found_together_are_not_applied_again_together() -> None:
    cluster = cast(Cluster, Counting())
    dues = []
    for number in range(100):
        applied = Applied(cluster, lambda number=number: number / 100)  # type: ignore[misc]
        applied.begin()
        dues.append(applied.due - cluster.now())
    by_minute = [sum(60 * minute < due <= 60 * (minute + 1) for due in dues) for minute in range(10)]
    assert sum(by_minute) == 100
    assert max(by_minute) <= 15


class Slow(Counting):
    """Takes objects once enough are on their way, and does not take some."""

    def __init__(self, rejected: set[str]) -> None:
        super().__init__()
        self.rejected = rejected
        self.together = asyncio.Barrier(4)

    async def apply(self, rendered: dict[str, Any], *, uid: str = "") -> dict[str, Any]:
        async with asyncio.timeout(30):
            await self.together.wait()
        if (name := rendered["metadata"]["name"]) in self.rejected:
            raise WriteError(name, rejected=True)
        return await super().apply(rendered, uid=uid)


async def test_objects_of_a_revision_are_applied_together_and_each_is_tried() -> None:
    cluster = Slow({"b", "d"})
    applied = Applied(cast(Cluster, cluster), lambda: 0.0)
    applied.begin()
    objects = [{**MADE, "metadata": {"name": name, "namespace": "models"}} for name in "abcd"]
    errors = await applied.apply_all(objects)
    assert sorted(map(str, errors)) == ["b", "d"]
    assert cluster.applied == 2
    # what was refused is not tried again at once, and what was taken not at all
    assert sorted(map(str, await applied.apply_all(objects))) == ["b", "d"]
    assert cluster.applied == 2
