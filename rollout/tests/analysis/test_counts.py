"""From two scrapes to a tick, whatever the counters do."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_rollout.analysis.counts import Counters, Increments, NoData, Scrape, count_increments, increase


def scrape(**targets: tuple[dict[str, float], dict[str, float]]) -> Scrape:
    return {target: Counters(*counters) for target, counters in targets.items()}


def one(requests: float, errors: float) -> Scrape:
    return scrape(pod=({"200": requests - errors, "500": errors}, {"500": errors}))


STABLE = (one(1000, 5), one(1900, 9))


def test_a_tick_is_the_difference_of_two_scrapes() -> None:
    assert count_increments(canary=(one(100, 1), one(200, 4)), stable=STABLE) == Increments(100, 3, 900, 4)


def test_series_and_targets_are_summed() -> None:
    earlier = scrape(a=({"200": 10, "404": 1}, {}), b=({"200": 20}, {"500": 1}))
    later = scrape(a=({"200": 20, "404": 4}, {}), b=({"200": 25}, {"500": 3}))
    assert count_increments(canary=(earlier, later), stable=STABLE) == Increments(18, 2, 900, 4)


def test_the_first_error_counts_although_its_series_is_new() -> None:
    earlier, later = scrape(pod=({"200": 10}, {})), scrape(pod=({"200": 20, "500": 2}, {"500": 2}))
    assert count_increments(canary=(earlier, later), stable=STABLE) == Increments(12, 2, 900, 4)


def test_a_restart_counts_since_zero() -> None:
    assert count_increments(canary=(one(500, 7), one(30, 2)), stable=STABLE) == Increments(30, 2, 900, 4)


def test_a_target_of_which_only_some_series_fell_is_left_out() -> None:
    earlier, later = scrape(pod=({"200": 500}, {"500": 2})), scrape(pod=({"200": 30}, {"500": 3}))
    assert isinstance(count_increments(canary=(earlier, later), stable=STABLE), NoData)
    with_another = (
        scrape(pod=({"200": 500}, {"500": 2}), sane=({"200": 5}, {})),
        scrape(pod=({"200": 30}, {"500": 3}), sane=({"200": 9}, {})),
    )
    assert count_increments(canary=with_another, stable=STABLE) == Increments(4, 0, 900, 4)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e300])
@pytest.mark.parametrize("spoilt", [0, 1])
def test_a_target_with_a_value_that_cannot_be_is_left_out_with_all_its_counters(value: float, spoilt: int) -> None:
    sick = Counters({"200": value}, {"500": 1}) if spoilt else Counters({"200": 50}, {"500": value})
    for earlier, later in ((Counters({"200": 1}, {}), sick), (sick, Counters({"200": 99}, {"500": 9}))):
        alone = count_increments(canary=({"pod": earlier}, {"pod": later}), stable=STABLE)
        assert isinstance(alone, NoData) and alone.message.startswith("canary: ")
        healthy = {"other": Counters({"200": 10}, {})}, {"other": Counters({"200": 12}, {})}
        both = count_increments(canary=({"pod": earlier} | healthy[0], {"pod": later} | healthy[1]), stable=STABLE)
        assert both == Increments(2, 0, 900, 4)


def test_a_new_target_counts_from_its_second_scrape() -> None:
    first, second, third = scrape(), one(400, 40), one(410, 41)
    assert isinstance(count_increments(canary=(first, second), stable=STABLE), NoData)
    assert count_increments(canary=(second, third), stable=STABLE) == Increments(10, 1, 900, 4)


def test_a_gateway_that_is_known_counts_a_new_backend_from_zero() -> None:
    assert count_increments(canary=(scrape(envoy=({}, {})), one_at("envoy", 7)), stable=STABLE) == Increments(
        7, 0, 900, 4
    )


def one_at(target: str, requests: float) -> Scrape:
    return {target: Counters({"200": requests}, {})}


@pytest.mark.parametrize("arm", ["canary", "stable"])
@pytest.mark.parametrize("later", [scrape(), scrape(pod=({}, {})), scrape(pod=({}, {"500": 3}))])
def test_an_arm_without_series_of_requests_is_no_data(arm: str, later: Scrape) -> None:
    arms = {"canary": STABLE, "stable": STABLE} | {arm: (one(1, 0), later)}
    increments = count_increments(**arms)
    assert isinstance(increments, NoData) and increments.message.startswith(f"{arm}: ")


def test_no_traffic_is_a_tick_of_nothing() -> None:
    assert count_increments(canary=(one(5, 0), one(5, 0)), stable=STABLE) == Increments(0, 0, 900, 4)


def test_a_wrong_name_of_events_is_no_data_where_events_are_required() -> None:
    canary, stable = (one_at("pod", 1), one_at("pod", 9)), (one_at("pod", 1), one_at("pod", 90))
    assert count_increments(canary=canary, stable=stable) == Increments(8, 0, 89, 0)
    assert isinstance(count_increments(canary=canary, stable=stable, events_required=True), NoData)
    assert count_increments(canary=canary, stable=STABLE, events_required=True) == Increments(8, 0, 900, 4)


def test_events_are_never_more_than_requests() -> None:
    earlier, later = scrape(pod=({"all": 10}, {"500": 1})), scrape(pod=({"all": 12}, {"500": 4}))
    assert count_increments(canary=(earlier, later), stable=STABLE) == Increments(2, 2, 900, 4)


VALUES = st.floats(allow_nan=True, allow_infinity=True) | st.integers(0, 10**6).map(float)
SERIES = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)
SCRAPES = st.dictionaries(st.sampled_from(["p", "q"]), st.builds(Counters, SERIES, SERIES), max_size=2)


@given(SCRAPES, SCRAPES, SCRAPES, SCRAPES)
def test_whatever_is_scraped_a_tick_has_sane_counts(a: Scrape, b: Scrape, c: Scrape, d: Scrape) -> None:
    increments = count_increments(canary=(a, b), stable=(c, d))
    if isinstance(increments, NoData):
        assert increments.reason
    else:
        assert 0 <= increments.canary_events <= increments.canary_requests < math.inf
        assert 0 <= increments.stable_events <= increments.stable_requests < math.inf


COUNTS = st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**6).map(float), max_size=3)


@given(COUNTS, COUNTS)
def test_an_increase_is_never_more_than_what_the_counter_shows(
    earlier: dict[str, float], later: dict[str, float]
) -> None:
    increases = increase(earlier, later)
    assert increases is None or all(0 <= value <= later[series] for series, value in increases.items())
