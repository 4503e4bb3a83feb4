"""The record of one run: its evidence, as bounded JSON."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import field

from tandem_rollout.analysis import drift, latency, sequential
from tandem_rollout.analysis.ratio import Assignment, Likelihood
from tandem_rollout.api.cause import Cause
from tandem_rollout.api.status import LastCommand

SCHEMA = "tandem-serving.io/evidence/v1"
"""Schema of a record. Records with another schema are not read."""

MAX_SAMPLES = 400
MAX_TRANSITIONS = 60
MAX_NOTES = 200
"""With these bounds a compressed record with 16 metrics has 300 kB at most. An object may have 1 MiB."""

Counts = tuple[float, float, float, float]
"""The canary's requests and events, then stable's requests and events."""


class Failure(msgspec.Struct, frozen=True):
    """Why a metric has no data.

    Attributes:
        reason: Machine-readable reason.
        message: Human-readable message.
    """

    reason: str
    message: str


def to_failure(cause: Cause) -> Failure:
    """The stored form of a cause."""
    return Failure(cause.reason, cause.message)


class MetricEvidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """The evidence of one metric.

    Attributes:
        ratio: Evidence about the ratio of the rates.
        likelihood: Likelihood for the interval of the ratio.
        drift: Evidence about the distance of the distributions.
        assignment: Evidence about the assignment of units.
        limit: Limit of latency in the last sample; before the first sample the frozen limit.
        frozen: Limit of latency that was frozen before the run.
        recent: Stable's recent requests by latency, from which the limit of the next sample is chosen.
        chosen: Log evidence, by components, that the canary is worse, of the samples whose limit was chosen in the run.
        phi: Dispersion; 1 if it was not measured.
        unmeasured: Why the measurements before the run failed; None if they did not.
        baking: Log evidence, by components, that the canary is worse, of the samples since promotion.
        absolute: Log evidence, by components, that the canary is above a fixed bound: while it has all requests and,
            for latency, since promotion.
        trouble: Why the last sample has no data; None if it has.
        missing: Kind of that trouble.
        unplaced: Requests and events of the canary, then of stable, that are not part of the evidence: values of
            counters after a partial restart, which may have been counted before.
        client_share: Share of the canary's failures that came from one client; None if it is not known.
        passed: Whether the metric passed when the run was promoted. After that it stays passed unless it fails.
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
        at: Time of the sample, in seconds since the epoch.
        weight: The canary's percentage.
        counts: Counts of each judged metric; for drift the rows, with the distance of all samples in place of the
            canary's events.
        reported: Counts of metrics that were not judged: predictions and units while the weight changed, latency while
            the canary's caches were cold or without a limit.
        low: Minimum share of the canary if the weight changed in the sample; otherwise None.
        high: Maximum share of the canary, likewise.
    """

    at: float
    weight: int
    counts: dict[str, Counts] = field(default_factory=dict)
    reported: dict[str, Counts] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None


class Note(msgspec.Struct, frozen=True, omit_defaults=True):
    """A change of the state of the run.

    Attributes:
        at: Seconds since the epoch.
        state: The new state.
        weight: The canary's percentage.
        reason: Machine-readable reason.
        message: Human-readable message.
        by: User who caused the change; empty for the engine.
        command: The last command that the run had answered; None if there was none.
    """

    at: float
    state: str
    weight: int
    reason: str = ""
    message: str = ""
    by: str = ""
    command: LastCommand | None = None


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """The record of a run.

    Attributes:
        run: Number of the run.
        plan: Hash of its plan.
        started: Time at which it began, in whole seconds since the epoch.
        samples_at_weight: Number of samples at the present weight.
        sample_count: Number of all samples.
        weight: The present weight.
        began: Time at which the canary first had weight, in seconds since the epoch.
        prepared: Whether the measurements before the run are complete.
        metrics: Evidence of each metric, by name.
        samples: The last samples.
        transitions: The last samples in which the weight changed or a metric was not judged.
        notes: The last changes of the state.
        schema: Schema of the record.
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
