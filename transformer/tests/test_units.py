"""No client makes up most of the evidence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tandem_transformer.units import Units

FREE = 100

events = st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), st.booleans()), max_size=400)


def warmed() -> Units:
    """Three units are known."""
    units = Units()
    for unit in (b"x", b"y", b"z"):
        assert units.count(unit, failed=False)
    return units


@given(events)
def test_no_unit_has_more_failures_that_count_than_all_others_and_one(outcomes: list[tuple[bytes, bool]]) -> None:
    units, failures, requests = warmed(), dict[bytes, int](), dict[bytes, int]()
    for unit, failed in outcomes:
        if units.count(unit, failed=failed):
            requests[unit] = requests.get(unit, 0) + 1
            failures[unit] = failures.get(unit, 0) + failed
            assert failures[unit] <= 1 + sum(failures.values()) - failures[unit]
            assert requests[unit] <= FREE + 3 + sum(requests.values()) - requests[unit]


@given(events)
def test_all_failures_are_told_of_also_those_that_do_not_count(outcomes: list[tuple[bytes, bool]]) -> None:
    units, failed = warmed(), [unit for unit, fails in outcomes if fails]
    for unit, fails in outcomes:
        units.count(unit, failed=fails)
    assert units.failures == len(failed)
    assert units.most_failures == max((failed.count(unit) for unit in failed), default=0)


def test_failures_of_many_all_count() -> None:
    units = warmed()
    assert all(units.count(f"u{number}".encode(), failed=True) for number in range(500))


def test_failures_of_one_count_once() -> None:
    units = warmed()
    assert [units.count(b"x", failed=True) for _ in range(50)] == [True] + [False] * 49
    assert not units.is_surplus(b"y")


def test_two_clients_are_not_held_against_each_other() -> None:
    """A service with one or two clients is judged by what they meet."""
    units = Units()
    assert all(units.count(unit, failed=True) for unit in (b"a", b"b", b"a", b"a", b"a"))


def test_what_is_remembered_is_bounded() -> None:
    units = Units(most=50)
    for number in range(1000):
        units.count(f"u{number}".encode(), failed=True)
        for table in (units._requests, units._failures, units._all_failures):
            assert len(table) <= 50
    assert units.most_failures <= units.failures
