"""The schedule of a run, derived from the spec: its steps and times."""

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
    """A step.

    Attributes:
        weight: Percentage of the requests; 0 for the preview host of blue/green.
        min_duration: Minimum seconds at this weight.
        gate: Whether the step needs an approval.
    """

    weight: int
    min_duration: float
    gate: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """The steps and times of a run.

    Attributes:
        steps: Steps until promotion; empty if the run only observes.
        bake: Seconds after promotion for which stable keeps its pods.
        holdback: Percentage of the requests that stable keeps for that time, for comparison.
        progress_deadline: Maximum seconds until the canary is ready, or has the pods for its next weight.
        timeout: Maximum seconds from the first weight to a decision; the horizon of a run that observes.
        on_timeout: Action after the timeout.
        weight_drift: Action after a change of the weights by another client of the API server.
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
        """Whether the weights of the spec apply, and the run ends with a report."""
        return not self.steps


def build_schedule(spec: RolloutSpec) -> Schedule | None:
    """The schedule of a spec; None if it has no runs.

    A canary has its steps. Blue/green with analysis has one step without weight, in which the preview host is analyzed.
    A/B tests and shadows with analysis observe.
    """
    strategy, analysis = spec.strategy, spec.analysis
    # a canary without analysis has the default metrics
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
    # the other strategies only have runs if the spec asks for an analysis
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
    # a shadow is observed until the spec changes
    return Schedule(steps=(), timeout=math.inf) if strategy.shadow else None


def plan_hash(spec: RolloutSpec, canary: str) -> str:
    """Hash of everything that decides a run. A change of the hash starts another run."""
    strategy = spec.strategy
    # another preview host changes nothing that is judged
    blue_green = msgspec.structs.replace(strategy.blue_green, preview_hostname="") if strategy.blue_green else None
    planned = (strategy.canary, blue_green, strategy.ab_test, strategy.shadow, spec.analysis)
    parts: tuple[object, ...] = (strategy.name, [_without_defaults(value) for value in planned], canary)
    if strategy.ab_test or strategy.shadow:
        # the other variants, and the shares of the units
        parts = (*parts, _without_defaults(spec.variants))
    # sorted: another order of the fields in the code must not start another run
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:8]


def _without_defaults(value: object) -> object:
    """A value without fields that equal their defaults.

    msgspec omits only fields that are *identical* to the default: the hash would differ between a default that is
    written in the manifest and one that is not.
    """
    if isinstance(value, list):
        return [_without_defaults(element) for element in value]
    if not isinstance(value, msgspec.Struct):
        return value
    fields = ((field, getattr(value, field.name)) for field in _fields(type(value)))
    return {field.encode_name: _without_defaults(entry) for field, entry in fields if entry != _default(field)}


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Fields of a struct. They are cached, as finding them takes longer than the rest of the hash."""
    return msgspec.structs.fields(kind)


def _default(field: msgspec.structs.FieldInfo) -> object:
    return field.default_factory() if callable(field.default_factory) else field.default
