"""The evidence of one run, as it is kept: bounded, plain numbers, JSON."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import field

from tandem_rollout.analysis import drift, latency, sequential
from tandem_rollout.analysis.ratio import Assignment, Likelihood
from tandem_rollout.api.cause import Cause
from tandem_rollout.api.status import LastCommand

SCHEMA = "tandem-serving.io/evidence/v1"
"""Version of the form; a record of another one is not read."""

MAX_SAMPLES = 400
MAX_TRANSITIONS = 60
MAX_NOTES = 200
"""With sixteen metrics a record then takes 300 kB at most, compressed; a ConfigMap has a MiB."""

Counts = tuple[float, float, float, float]
"""Canary's requests and events, stable's requests and events."""


class Failure(msgspec.Struct, frozen=True):
    """Why something could not be counted.

    Attributes:
        reason: Why, machine-readable.
        message: Why, human-readable.
    """

    reason: str
    message: str


def to_failure(cause: Cause) -> Failure:
    """A cause as it is kept; whether it was the source's trouble or data that are missing is kept beside it."""
    return Failure(cause.reason, cause.message)


class MetricEvidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """Evidence of one metric.

    Attributes:
        ratio: Of a ratio of rates.
        likelihood: For its interval.
        drift: Of the distributions.
        assignment: Of units.
        limit: The limit of latency in the last sample; before the first one that which was frozen.
        frozen: The limit of latency that was frozen before the run.
        recent: Stable's last requests by their latency: what the limit of the next sample is chosen from.
        chosen: Log evidence, by components, that the canary is worse, of the samples whose limit was chosen in the run.
        phi: Dispersion; 1 where it was not measured.
        unmeasured: Why what is frozen before the run could not be read; None where nothing is missing.
        baking: Log evidence, by components, that the canary is worse, of the samples since promotion.
        absolute: Log evidence, by components, that the canary is above a bound: when it has all requests and, of
            latency, since promotion.
        trouble: Why the last sample brought nothing.
        missing: What kind of trouble that was.
        unplaced: Requests and events of the canary, then of stable, that are not in the evidence: counters that
            restarted in part show them, and some may have been counted before.
        client_share: Part of the canary's failures that came from one client; None where that is not known.
        passed: Whether it passed when the run was promoted. What is counted afterwards may fail it, and nothing less.
    """

    ratio: sequential.RatioEvidence | None = None
    likelihood: Likelihood | None = None
    drift: drift.DriftEvidence | None = None
    assignment: Assignment | None = None
    limit: latency.Limit | None = None
    frozen: latency.Limit | None = None
    recent: latency.Recent = latency.Recent()
    chosen: tuple[float, ...] = ()
    phi: float = 1.0
    unmeasured: Failure | None = None
    baking: tuple[float, ...] = ()
    absolute: tuple[float, ...] = ()
    trouble: Failure | None = None
    missing: Literal["", "no-data", "provider-error"] = "no-data"
    unplaced: Counts = (0.0, 0.0, 0.0, 0.0)
    client_share: float | None = None
    passed: bool = False


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One sample.

    Attributes:
        at: When it ended, in seconds since the epoch.
        weight: The canary's percentage.
        counts: By metric: canary's requests and events, stable's requests and events; for drift the rows, with the
            distance so far in place of the canary's events.
        reported: Likewise, of metrics that were not judged in it: predictions and units while the weight changed,
            latencies while the canary was cold or had no limit yet.
        low: The least share that the canary may have had, where the weight changed in the sample.
        high: The greatest.
    """

    at: float
    weight: int
    counts: dict[str, Counts] = field(default_factory=dict)
    reported: dict[str, Counts] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that happened to the run.

    Attributes:
        at: Seconds since the epoch.
        state: The state it came to.
        weight: The canary's percentage.
        reason: Why, machine-readable.
        message: Why, human-readable.
        by: Who wanted it; empty for the engine itself.
        command: The last command that the run had answered by then; None where there was none.
    """

    at: float
    state: str
    weight: int
    reason: str = ""
    message: str = ""
    by: str = ""
    command: LastCommand | None = None


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """Evidence of a run.

    Attributes:
        run: Number of the run.
        plan: Hash of its plan.
        started: When it began, in whole seconds since the epoch.
        samples_at_weight: Samples counted at the present weight.
        sample_count: Samples counted in all.
        weight: The present weight.
        began: When the canary was first seen with traffic, in seconds since the epoch.
        prepared: Whether limits were frozen and dispersion measured, as far as that was possible.
        metrics: By name.
        samples: The last samples.
        transitions: Of the samples those in which the weight changed or something was not judged.
        notes: The last things that happened.
        schema: Form of the record.
    """

    run: int
    plan: str
    started: float = 0.0
    samples_at_weight: int = 0
    sample_count: int = 0
    weight: int = 0
    began: float | None = None
    prepared: bool = False
    metrics: dict[str, MetricEvidence] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    transitions: tuple[Sample, ...] = ()
    notes: tuple[Note, ...] = ()
    schema: str = SCHEMA


def add_note(record: Record, note: Note) -> Record:
    """The record with one more note."""
    return msgspec.structs.replace(record, notes=(*record.notes, note)[-MAX_NOTES:])
