"""What the world must look like for a run."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.engine.desired import derive_desired, pods_for
from tandem_rollout.engine.inputs import RevisionState
from tandem_rollout.engine.run import Run, State

from .walk import PREVIEW, START, THREE, WATCHED

RUN = Run(
    number=1,
    stable="a",
    canary="b",
    plan="p",
    state="Analyzing",
    started=START,
    since=START,
    weight=10,
    min_pods=(10, 4),
)
STABLE, CANARY = RevisionState(pods=(8, 4)), RevisionState(pods=(1, 1))


def test_stable_keeps_its_pods_and_the_canary_has_its_part() -> None:
    world = derive_desired(THREE, RUN, STABLE, CANARY)
    assert world.weights == {"a": 90, "b": 10}
    assert world.min_pods == {"a": (10, 4), "b": (1, 1)}
    assert world.retained


def test_pods_come_before_weight() -> None:
    world = derive_desired(THREE, replace(RUN, state="Scaling", step=2), STABLE, CANARY)
    assert world.weights == {"a": 90, "b": 10}
    assert world.min_pods["b"] == (5, 2)


def test_past_the_last_step_the_canary_has_pods_for_all_whatever_is_held_back() -> None:
    schedule = replace(THREE, holdback=20)
    for state in ("Scaling", "Paused", "Baking"):
        run = replace(RUN, state=state, step=3, weight=80)
        assert derive_desired(schedule, run, STABLE, CANARY).min_pods == {"a": (10, 4), "b": (10, 4)}
    assert derive_desired(schedule, run, STABLE, CANARY).weights == {"a": 20, "b": 80}


def test_before_the_first_weight_the_canary_has_pods_already() -> None:
    world = derive_desired(THREE, replace(RUN, state="Preparing", weight=0), STABLE, CANARY)
    assert world.weights == {"a": 100}
    assert world.min_pods["b"] == (1, 1)


def test_who_goes_back_keeps_its_pods_while_it_has_weight() -> None:
    aborting = replace(RUN, state="Aborting", weight=50, step=2)
    assert derive_desired(THREE, aborting, STABLE, CANARY).min_pods["b"] == (5, 2)
    assert derive_desired(THREE, replace(aborting, weight=0), STABLE, CANARY).min_pods["b"] == (1, 1)


@pytest.mark.parametrize(("state", "weight", "weights"), [("Promoted", 100, {"b": 100}), ("Aborted", 0, {"a": 100})])
def test_after_the_end_nobody_is_held(state: State, weight: int, weights: dict[str, int]) -> None:
    world = derive_desired(THREE, replace(RUN, state=state, weight=weight), STABLE, CANARY)
    assert world.weights == weights
    assert world.min_pods == {}
    assert not world.retained


@pytest.mark.parametrize(("state", "retention"), [("Observing", True), ("Completed", False)])
def test_what_only_observes_says_nothing_of_weights(state: State, retention: bool) -> None:
    world = derive_desired(WATCHED, replace(RUN, state=state, weight=0), STABLE, CANARY)
    assert world.weights == {}
    assert world.min_pods == {}
    assert world.retained is retention


def test_a_preview_has_pods_but_no_weight() -> None:
    world = derive_desired(PREVIEW, replace(RUN, weight=0), STABLE, CANARY)
    assert world.weights == {"a": 100}
    assert world.min_pods["b"] == (1, 1)


@given(
    st.integers(0, 100),
    st.tuples(st.integers(0, 1000), st.integers(0, 1000)),
    st.tuples(st.integers(0, 1000), st.integers(0, 1000)),
    st.tuples(st.integers(1, 1000), st.integers(1, 1000)),
)
def test_a_canary_has_no_less_than_its_part_and_no_more_than_it_may(
    weight: int, pods: tuple[int, int], floor: tuple[int, int], most: tuple[int, int]
) -> None:
    needed = pods_for(weight, replace(RUN, min_pods=floor), RevisionState(pods=pods), RevisionState(most=most))
    for half in (0, 1):
        part = max(pods[half], floor[half]) * weight
        assert 1 <= needed[half] <= most[half]
        assert needed[half] == most[half] or 100 * needed[half] >= part
        assert needed[half] == 1 or 100 * (needed[half] - 1) < part
        assert needed[half] == min(max(1, math.ceil(part / 100)), most[half])
