"""What is planned for a run, out of a spec."""

from __future__ import annotations

import math
from typing import Any

import pytest
from rollout.tests.rollouts import rollout

from tandem_rollout.engine.schedule import ScheduledStep, build_schedule, plan_hash

V1 = {"image": "athlete:v1"}
VARIANTS = [
    {"name": "v1", "bundle": V1, "weight": 100},
    {"name": "v2", "bundle": {"image": "athlete:v2"}, "weight": 0},
]
CANARY = {
    "steps": [{"weight": 5, "minDuration": "90s"}, {"weight": 20, "minDuration": "1h", "pause": True}],
    "bake": "10m",
}


def test_a_canary_has_its_steps() -> None:
    schedule = build_schedule(rollout(bundle=V1, strategy={"canary": CANARY}, analysis={"timeout": "2h"}).spec)
    assert schedule is not None
    assert schedule.steps == (
        ScheduledStep(weight=5, min_duration=90),
        ScheduledStep(weight=20, min_duration=3600, gate=True),
    )
    assert (schedule.bake, schedule.holdback, schedule.progress_deadline, schedule.timeout) == (600, 5, 600, 7200)
    assert not schedule.observes


def test_a_canary_needs_no_word_about_analysis() -> None:
    schedule = build_schedule(rollout(bundle=V1, strategy={"canary": {}}).spec)
    assert schedule is not None
    assert [step.weight for step in schedule.steps] == [10]
    assert (schedule.timeout, schedule.on_timeout) == (3600, "pause")


def test_blue_green_has_one_step_without_weight() -> None:
    blue_green = {"active": "v1", "minDuration": "2m", "bake": "3m", "progressDeadline": "4m"}
    schedule = build_schedule(rollout(variants=VARIANTS, strategy={"blueGreen": blue_green}, analysis={}).spec)
    assert schedule is not None
    assert schedule.steps == (ScheduledStep(weight=0, min_duration=120),)
    assert (schedule.bake, schedule.holdback, schedule.progress_deadline) == (180, 0, 240)


@pytest.mark.parametrize(
    ("strategy", "horizon"), [({"abTest": {"horizon": "24h"}}, 86400.0), ({"shadow": {"variant": "v2"}}, math.inf)]
)
def test_what_only_observes_has_a_horizon(strategy: dict[str, Any], horizon: float) -> None:
    schedule = build_schedule(rollout(variants=VARIANTS, strategy=strategy, analysis={}).spec)
    assert schedule is not None
    assert schedule.observes
    assert schedule.timeout == horizon


@pytest.mark.parametrize(
    "strategy", [{}, {"static": {}}, {"abTest": {}}, {"blueGreen": {"active": "v1"}}, {"shadow": {"variant": "v2"}}]
)
def test_nothing_is_decided_where_nobody_asks_for_it(strategy: dict[str, Any]) -> None:
    assert build_schedule(rollout(variants=VARIANTS, strategy=strategy).spec) is None


def plan(canary: str = "b", **spec: Any) -> str:
    return plan_hash(rollout(bundle=V1, **spec).spec, canary)


def test_another_canary_schedule_or_analysis_is_another_plan() -> None:
    base: dict[str, Any] = {"strategy": {"canary": CANARY}, "analysis": {"timeout": "2h"}}
    plans = {
        plan(**base),
        plan("c", **base),
        plan(**base | {"strategy": {"canary": {**CANARY, "bake": "11m"}}}),
        plan(**base | {"strategy": {"canary": {**CANARY, "holdback": 10}}}),
        plan(**base | {"analysis": {"timeout": "3h"}}),
        plan(**base | {"analysis": {"timeout": "2h", "metrics": [{"type": "errors"}]}}),
    }
    assert len(plans) == 6


def test_what_a_run_is_not_decided_by_is_no_other_plan() -> None:
    base: dict[str, Any] = {"strategy": {"canary": CANARY}}
    assert plan(**base) == plan(**base, historyLimit=3) == plan(**base, scaleDownDelay="1h")


def test_another_preview_host_is_no_other_plan() -> None:
    plans = {
        plan_hash(
            rollout(
                variants=VARIANTS,
                strategy={"blueGreen": {"active": "v1", "previewHostname": host}},
                analysis={},
            ).spec,
            "b",
        )
        for host in ("", "new.example.org")
    }
    assert len(plans) == 1
