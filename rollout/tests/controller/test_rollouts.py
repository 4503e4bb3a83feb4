"""Rollouts from the first apply to the end, as their users see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ..rollouts import manifest
from .world import Controller, World, controller, world


@pytest.fixture
async def here() -> AsyncIterator[World]:
    async with world() as made:
        yield made


@pytest.fixture
async def ctl(here: World) -> AsyncIterator[Controller]:
    async with controller(here) as made:
        yield made


def variants(*weights: int, **more: Any) -> list[dict[str, Any]]:
    return [
        {"name": f"v{n}", "bundle": {"image": f"athlete:v{n}"}, "weight": weight, **more}
        for n, weight in enumerate(weights, start=1)
    ]


def given(here: World, **spec: Any) -> None:
    """Make a rollout, or edit it."""
    there = here.server.get("inferencerollouts", "time-estimator")
    here.server.put("inferencerollouts", {**(there or manifest()), "spec": manifest(**spec)["spec"]})


async def test_from_the_first_apply_to_serving(here: World, ctl: Controller) -> None:
    given(here)
    await ctl.run()
    assert here.weights() == {"athlete:v1": 90, "athlete:v2": 10}
    status = here.status()
    assert (status.ready, status.weights, status.message) == ("2/2", "v1=90 v2=10", "")
    assert status.url == "http://time-estimator-models.example.com"
    assert [(each.name, each.phase, each.version) for each in status.variants] == [
        ("v1", "Ready", "v1"),
        ("v2", "Ready", "v2"),
    ]
    assert here.condition("Ready") == ("True", "all variants serve")
    assert "weights are v1=90 v2=10" in here.events()
