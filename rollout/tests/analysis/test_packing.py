"""A record as it is kept."""

from __future__ import annotations

import gzip

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.analysis.packing import pack, unpack
from tandem_rollout.analysis.record import Failure, MetricEvidence, Note, Record, Sample

finite = st.floats(allow_nan=False, allow_infinity=False)
samples = st.builds(Sample, at=finite, weight=st.integers(0, 100))
notes = st.builds(Note, at=finite, state=st.text(), weight=st.integers(0, 100), reason=st.text(), by=st.text())
records = st.builds(
    Record,
    run=st.integers(1, 1000),
    plan=st.text(),
    samples_at_weight=st.integers(0, 1000),
    metrics=st.dictionaries(
        st.text(), st.builds(MetricEvidence, phi=finite, trouble=st.none() | st.builds(Failure, st.text(), st.text()))
    ),
    samples=st.lists(samples).map(tuple),
    notes=st.lists(notes).map(tuple),
)


@given(records)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert unpack(pack(record)) == record
    assert pack(record) == pack(record)


@given(st.binary())
def test_bytes_that_are_no_record_are_none(packed: bytes) -> None:
    assert unpack(packed) is None


@given(records, st.integers(0, 60))
def test_a_record_that_was_cut_is_none(record: Record, length: int) -> None:
    packed = pack(record)
    assert unpack(packed[: length % len(packed)]) is None


def test_a_record_of_another_form_is_none() -> None:
    record = Record(run=1, plan="p", schema="tandem-serving.io/evidence/v9")
    assert unpack(gzip.compress(msgspec.json.encode(record))) is None


def test_a_bomb_is_none() -> None:
    assert unpack(gzip.compress(b" " * (80 * 1024 * 1024), 1)) is None
