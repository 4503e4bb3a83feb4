"""What was planned for a run: steps and times, out of the spec."""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass
from typing import Literal

import msgspec

from tandem_rollout.api.analysis import Analysis
from tandem_rollout.api.fields import seconds
from tandem_rollout.api.spec import RolloutSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledStep:
    """One weight.

    Attributes:
        weight: Percentage of the requests; 0 for the preview host of blue/green.
        min_duration: Least seconds at it.
        gate: Whether somebody has to say that it goes on.
    """

    weight: int
    min_duration: float
    gate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Steps and times.

    Attributes:
        steps: Weights until promotion; empty where a run only observes.
        bake: Seconds after promotion in which stable keeps its pods.
        holdback: Percentage of the requests that stable keeps for that time, to be compared with.
        progress_deadline: Most seconds until the canary is ready, or has the pods for its next weight.
        timeout: Most seconds from the first weight to a decision; for a run that observes, its horizon.
        on_timeout: What happens then.
        weight_drift: What happens when somebody else changes the weights.
    """

    steps: tuple[ScheduledStep, ...]
    bake: float = 300.0
    holdback: int = 0
    progress_deadline: float = 600.0
    timeout: float = 3600.0
    on_timeout: Literal["pause", "abort", "promote"] = "pause"
    weight_drift: Literal["enforce", "adopt", "pause"] = "enforce"

    @property
    def observes(self) -> bool:
        """Whether weights stay as written, and the end is a report."""
        return not self.steps


def build_schedule(spec: RolloutSpec) -> Schedule | None:
    """The schedule of a spec; None where nothing is decided.

    A canary has its steps. Blue/green with analysis has one step without weight: what is judged is the preview host.
    A/B tests and shadows with analysis observe.
    """
    strategy, analysis = spec.strategy, spec.analysis
    limits = analysis or Analysis()
    timeout = seconds(limits.timeout)
    if strategy.canary:
        return Schedule(
            steps=tuple(
                ScheduledStep(weight=step.weight, min_duration=seconds(step.min_duration), gate=step.pause)
                for step in strategy.canary.steps
            ),
            bake=seconds(strategy.canary.bake),
            holdback=strategy.canary.holdback,
            progress_deadline=seconds(strategy.canary.progress_deadline),
            timeout=timeout,
            on_timeout=limits.on_timeout,
            weight_drift=strategy.canary.weight_drift,
        )
    if analysis is None:
        return None
    if strategy.blue_green:
        return Schedule(
            steps=(ScheduledStep(weight=0, min_duration=seconds(strategy.blue_green.min_duration)),),
            bake=seconds(strategy.blue_green.bake),
            progress_deadline=seconds(strategy.blue_green.progress_deadline),
            timeout=timeout,
            on_timeout=limits.on_timeout,
        )
    if strategy.ab_test:
        return Schedule(steps=(), timeout=seconds(strategy.ab_test.horizon))
    return Schedule(steps=(), timeout=math.inf) if strategy.shadow else None


def plan_hash(spec: RolloutSpec, canary: str) -> str:
    """Hash of all that a run is decided by. Another one is another run."""
    strategy = spec.strategy
    blue_green = msgspec.structs.replace(strategy.blue_green, preview_hostname="") if strategy.blue_green else None
    planned = (strategy.canary, blue_green, strategy.ab_test, strategy.shadow, spec.analysis)
    parts: tuple[object, ...] = (strategy.name, [_given(each) for each in planned], canary)
    if strategy.ab_test or strategy.shadow:
        # whom the canary is compared with, and what part of the units each has
        parts = (*parts, _given(spec.variants))
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:8]


def _given(value: object) -> object:
    """What differs from the defaults, whether it was written down or left out.

    msgspec leaves out what *is* the default's object: then the hash would tell a default that was written from one that
    was not, and a manifest in memory from the same one that was read.
    """
    if isinstance(value, list):
        return [_given(each) for each in value]
    if not isinstance(value, msgspec.Struct):
        return value
    found = ((field, getattr(value, field.name)) for field in _fields(type(value)))
    return {field.encode_name: _given(each) for field, each in found if each != _default(field)}


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Fields of a struct; to find them takes longer than all the rest of a hash."""
    return msgspec.structs.fields(kind)


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default_factory() if callable(field.default_factory) else field.default
