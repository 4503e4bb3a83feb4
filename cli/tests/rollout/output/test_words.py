"""Numbers and times in narrow columns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tandem_cli.rollout.output import words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "?"),
        (0, "0"),
        (9994, "9994"),
        (9999, "10k"),
        (12_345, "12.3k"),
        (999_600, "1M"),
        (1_234_567, "1.23M"),
        (5e9, "5G"),
    ],
)
def test_counts(value: float | None, text: str) -> None:
    assert words.count(value) == text


@given(st.floats(0, 9e11))
def test_a_count_is_near_the_number_and_short(value: float) -> None:
    text = words.count(value)
    units = {"k": 1e3, "M": 1e6, "G": 1e9}
    assert len(text) <= 5
    assert float(text.rstrip("kMG")) * units.get(text[-1], 1.0) == pytest.approx(value, rel=0.006, abs=0.5)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "?"),
        (0.0, "0%"),
        (1.0, "100%"),
        (0.005, "0.500%"),
        (0.05, "5.00%"),
        (0.5, "50.0%"),
        (0.0000012, "0.0001%"),
    ],
)
def test_rates(value: float | None, text: str) -> None:
    assert words.rate(value) == text


@given(st.floats(1e-5, 1.0))
def test_a_rate_is_near_the_number_and_short(value: float) -> None:
    text = words.rate(value)
    assert len(text) <= 7
    assert float(text.rstrip("%")) / 100 == pytest.approx(value, rel=0.06)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.4, "0s"), (59.6, "1m"), (61, "1m1s"), (3600, "1h"), (3661, "1h1m"), (90_061, "1d1h"), (-5, "0s")],
)
def test_spans(seconds: float, text: str) -> None:
    assert words.span(seconds) == text


def test_before_and_after() -> None:
    assert (words.ago(61), words.ago(-61)) == ("1m1s ago", "in 1m1s")


@given(st.text())
def test_nothing_drives_a_terminal(text: str) -> None:
    assert words.plain(text).isprintable()


def test_plain_words_stay() -> None:
    assert words.plain("über 5 % \x1b[31mred") == "über 5 %  [31mred"


@given(st.floats(1e-4, 1e3))
def test_a_limit_is_written_with_two_figures_and_never_below_the_number(value: float) -> None:
    written = float(words.limit(value))
    assert value * (1 - 1e-9) <= written <= value * 1.11
