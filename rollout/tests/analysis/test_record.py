"""The evidence of a run as it is kept."""

from __future__ import annotations

import random
import zlib

import msgspec
import pytest

from tandem_rollout.analysis.record import MAX_NOTES, MAX_SAMPLES, SCHEMA, Note, Record, add_note
from tandem_rollout.api.analysis import Metric

from .evidence import EMPTY, Sampling, binned, counted, stored

MAX_BYTES = 300_000
"""An object of evidence has a MiB, of base64."""

SIXTEEN = (
    *(Metric(type="errors", name=f"errors-of-the-segment-{at}") for at in range(6)),
    *(Metric(type="latency", name=f"latency-at-the-quantile-{at}") for at in range(4)),
    *(Metric(type="drift", name=f"drift-of-the-target-{at}") for at in range(4)),
    Metric(type="ratio", name="declined", requests="a", events="b"),
    Metric(type="assignment", requests="units"),
)


def full() -> Record:
    """As large as it becomes: a long run of sixteen metrics at a high and ever-changing rate."""
    dice = random.Random(1)
    sampling = Sampling(SIXTEEN)
    totals = {metric.full_name: [1e6] * 40 for metric in SIXTEEN}
    # what is not a whole number, as rates that a rule has recorded, takes most space
    for _ in range(MAX_SAMPLES + 1):
        readings = {}
        for metric in SIXTEEN:
            total = totals[metric.full_name]
            for at in range(len(total)):
                total[at] += dice.uniform(0, 10_000)
            if metric.type in ("latency", "drift"):
                readings[metric.full_name] = binned(total[:20], total[20:], [*range(19), float("inf")])
            else:
                readings[metric.full_name] = counted((total[0] + total[1], total[1]), (total[2] + total[3], total[3]))
        sampling.take_sample(readings)
    record = sampling.record
    for at in range(MAX_NOTES + 1):
        record = add_note(
            record, Note(1.7e9 + at, "Aborting", 50, f"a reason that somebody has written {at}" * 5, "ann")
        )
    return record


def test_a_full_record_fits() -> None:
    record = full()
    assert (len(record.samples), len(record.notes)) == (MAX_SAMPLES, MAX_NOTES)
    assert all(len(sample.counts) == len(SIXTEEN) for sample in record.samples)
    size = len(zlib.compress(msgspec.json.encode(record)))
    assert size < MAX_BYTES, size
    assert stored(record) == record


def test_a_record_of_another_form_is_not_taken_for_one_of_ours() -> None:
    assert EMPTY.schema == SCHEMA
    assert stored(EMPTY) == EMPTY
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(b'{"plan": "p"}', type=Record)
