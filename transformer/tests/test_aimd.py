from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_transformer.aimd import Limit, Sample, adapt

TARGET_S, LEAST, MOST = 0.5, 16, 20_000


def changed(limit: Limit, sample: Sample) -> Limit:
    return adapt(limit, sample, target_s=TARGET_S, least=LEAST, most=MOST)


SAMPLES = st.builds(Sample, st.floats(0, 5), st.integers(1, 256), st.integers(0, MOST), st.floats(0, 1000))


@given(st.lists(SAMPLES, max_size=50))
def test_a_limit_stays_within_its_bounds(samples: list[Sample]) -> None:
    limit = Limit(MOST)
    for sample in samples:
        limit = changed(limit, sample)
        assert LEAST <= limit.rows <= MOST


@given(st.floats(LEAST, MOST), SAMPLES)
def test_it_goes_down_only_where_calls_take_too_long_and_up_only_where_they_do_not(rows: float, sample: Sample) -> None:
    after = changed(Limit(rows), sample)
    if sample.seconds > TARGET_S:
        assert after.rows <= rows
    else:
        assert rows <= after.rows <= rows + sample.rows


def test_calls_that_waited_since_before_a_decrease_cause_no_other() -> None:
    limit = changed(Limit(1000.0), Sample(2.0, 256, 1000, now=10.0))
    assert limit == (700.0, 12.0)
    assert changed(limit, Sample(2.0, 256, 700, now=11.9)) == limit
    assert changed(limit, Sample(2.0, 256, 700, now=12.0)).rows == pytest.approx(490.0)


def test_a_limit_that_is_far_from_reached_starts_from_what_is_there() -> None:
    assert changed(Limit(MOST), Sample(1.0, 256, 1000, now=0.0)).rows == 700.0


def test_a_limit_that_is_not_nearly_reached_does_not_go_up() -> None:
    fast = Sample(0.01, 256, 400, now=0.0)
    assert changed(Limit(800.0), fast).rows == 800.0
    assert changed(Limit(799.0), fast).rows == 799.0 + 64


def test_it_settles_where_calls_take_as_long_as_they_should() -> None:
    """A queue that is always full, and is answered at 1000 rows a second: half a second is 500 rows."""
    limit, history = Limit(MOST), list[float]()
    for batch in range(2000):
        waiting = int(limit.rows)
        limit = changed(limit, Sample(waiting / 1000, 100, waiting, now=batch / 10))
        history.append(limit.rows)
    settled = history[1000:]
    assert 300 <= min(settled) <= max(settled) <= 600
