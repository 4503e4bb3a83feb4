"""Where the two revisions of a run are counted."""

from __future__ import annotations

from typing import Any

import pytest
from rollout.tests.rollouts import rollout

from tandem_rollout.controller import arm_locations
from tandem_rollout.engine.run import Run
from tandem_rollout.engine.schedule import build_schedule
from tandem_rollout.sources import Arms

ROUTE = "httproute/models/time-estimator/rule"
PREVIEW = "httproute/models/time-estimator-preview/rule"
VARIANTS = [{"name": name, "bundle": {"image": name}, "weight": weight} for name, weight in (("a", 30), ("b", 10))]
SHADOWED = [VARIANTS[0], {**VARIANTS[1], "weight": 0}]
COLOURS = {"blueGreen": {"active": "b"}}


def arms(weights: dict[str, int], weight: int = 0, **spec: Any) -> Arms:
    of = rollout(**{"analysis": {}, **spec})
    planned = build_schedule(of.spec)
    assert planned is not None
    state: Any = "Observing" if planned.observes else "Analyzing"
    run = Run(number=1, stable="a", canary="b", plan="", state=state, started=0.0, since=0.0, weight=weight)
    return arm_locations.locate_arms(of, planned, run, lambda name: [], weights)


@pytest.mark.parametrize(
    "weights, weight, spec, stable, canary",
    [
        ({"a": 90, "b": 10}, 10, {"bundle": {"image": "b"}, "strategy": {"canary": {}}}, "backend/0", "backend/1"),
        ({"b": 100}, 100, {"bundle": {"image": "b"}, "strategy": {"canary": {}}}, "", "backend/0"),
        ({"a": 30, "b": 10}, 0, {"variants": VARIANTS, "strategy": {"abTest": {}}}, "backend/0", "backend/1"),
        ({"a": 30}, 0, {"variants": VARIANTS, "strategy": {"abTest": {}}}, "backend/0", ""),
        ({"a": 30}, 0, {"variants": SHADOWED, "strategy": {"shadow": {"variant": "b"}}}, "backend/0", "mirror"),
    ],
    ids=["canary", "promoted", "A/B", "half an A/B", "shadow"],
)
def test_clusters_of_the_gateway(
    weights: dict[str, int], weight: int, spec: dict[str, Any], stable: str, canary: str
) -> None:
    locations = arms(weights, weight, **spec)

    def clusters(where: str) -> tuple[str, ...]:
        if where == "mirror":
            return f"{ROUTE}/0-mirror-0", f"{ROUTE}/1-mirror-0"
        return (f"{ROUTE}/0/{where}", f"{ROUTE}/1/{where}") if where else ()

    assert locations.stable.clusters == clusters(stable)
    assert locations.canary.clusters == clusters(canary)


def test_what_is_judged_on_the_preview_host_is_counted_there() -> None:
    locations = arms({"a": 100}, variants=VARIANTS, strategy=COLOURS)
    assert locations.stable.clusters == (f"{ROUTE}/0/backend/0", f"{ROUTE}/1/backend/0")
    assert locations.canary.clusters == (f"{PREVIEW}/0/backend/0", f"{PREVIEW}/1/backend/0")
    assert (locations.stable.traffic, locations.canary.traffic) == ("weighted", "preview")


@pytest.mark.parametrize(
    "weights, spec, share",
    [
        ({"a": 30, "b": 10}, {"variants": VARIANTS, "strategy": {"abTest": {}}}, 0.25),
        ({"a": 30, "c": 60, "b": 10}, {"variants": VARIANTS, "strategy": {"abTest": {}}}, 0.25),
        ({"a": 30}, {"variants": VARIANTS, "strategy": {"abTest": {}}}, 0.0),
        ({}, {"variants": VARIANTS, "strategy": {"abTest": {}}}, 0.0),
        ({"a": 100}, {"variants": SHADOWED, "strategy": {"shadow": {"variant": "b"}}}, 0.5),
        ({"a": 100}, {"variants": SHADOWED, "strategy": {"shadow": {"variant": "b", "percent": 25}}}, 0.2),
        ({"a": 50, "c": 50}, {"variants": SHADOWED, "strategy": {"shadow": {"variant": "b", "percent": 50}}}, 0.5),
        ({"a": 90, "b": 10}, {"bundle": {"image": "b"}, "strategy": {"canary": {}}}, None),
        ({"a": 90, "b": 10}, {"variants": VARIANTS, "strategy": COLOURS}, None),
    ],
)
def test_share_of_the_units(weights: dict[str, int], spec: dict[str, Any], share: float | None) -> None:
    assert arms(weights, weight=10, **spec).share == share
