"""When everything is applied again."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.controller.applied import RESYNC_S, Applied
from tandem_rollout.controller.interface import Cluster

MADE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "models"}, "spec": {}}


class Counting:
    """Counts what is applied."""

    def __init__(self) -> None:
        self.applied = 0
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    async def apply(self, made: dict[str, Any]) -> dict[str, Any]:
        self.applied += 1
        return {**made, "metadata": {**made["metadata"], "uid": "u-1"}}


async def one_pass(applied: Applied) -> None:
    applied.begin()
    await applied.apply(MADE)


@given(st.floats(0.0, 1.0, exclude_max=True))
async def test_everything_is_applied_again_after_ten_minutes_at_the_latest_and_then_every_ten_minutes(
    chance: float,
) -> None:
    cluster = Counting()
    began = cluster.time
    applied = Applied(cast(Cluster, cluster), lambda: chance)
    await one_pass(applied)
    first = applied.due
    assert began < first <= began + RESYNC_S
    for number, time in enumerate((first, first + RESYNC_S), start=1):
        cluster.time = time - 0.001
        await one_pass(applied)
        assert cluster.applied == number
        cluster.time = time
        await one_pass(applied)
        assert cluster.applied == number + 1


def test_rollouts_that_are_found_together_are_not_applied_again_together() -> None:
    cluster = cast(Cluster, Counting())
    dues = []
    for number in range(100):
        applied = Applied(cluster, lambda number=number: number / 100)  # type: ignore[misc]
        applied.begin()
        dues.append(applied.due - cluster.now())
    by_minute = [sum(60 * minute < due <= 60 * (minute + 1) for due in dues) for minute in range(10)]
    assert sum(by_minute) == 100
    assert max(by_minute) <= 12
