"""Plots over time: the pixels of each line, dot and label. The template ``plot.svg`` draws them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from tandem_cli.rollout.output import words
from tandem_cli.rollout.output.report.series import DistanceSeries, Points, RateSeries, WeightSeries

_WIDTH: Final = 760
_HEIGHT: Final = 200
_LEFT: Final = 60
_RIGHT: Final = 130
_TOP: Final = 28
_BOTTOM: Final = 28

_STABLE: Final = "#4c78a8"
_CANARY: Final = "#e45756"
_LIMIT: Final = "#777777"

Label = Callable[[float], str]
"""Writes a value."""

_RATIOS: Final = (0.1, 10.0)
"""Ratios beyond these are drawn at the edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line of a plot.

    Attributes:
        name: For the legend.
        points: Its points.
        colour: Its colour.
        steps: Whether each value holds until the next one.
        dashed: Whether it is dashed.
        dots: Whether its points are dots, without a line.
    """

    name: str
    points: Points
    colour: str
    steps: bool = False
    dashed: bool = False
    dots: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """From values to pixels.

    Attributes:
        low: Value at one end.
        high: Value at the other.
        start: Pixel at the low end.
        end: Pixel at the high end.
        logarithmic: Whether equal ratios are equal distances.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value; values beyond an end are at that end."""
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return self.start + (self.end - self.start) * ((value - low) / (high - low) if high > low else 0.5)


@dataclass(frozen=True, slots=True)
class Mark:
    """A value at an axis.

    Attributes:
        at: Its pixel.
        label: Its text.
    """

    at: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlottedLine:
    """A curve in pixels.

    Attributes:
        name: For the legend; empty if it is not in the legend.
        name_at: Pixel where its name begins, from the left.
        colour: Its colour.
        points: Pixels from the left and from the top.
        dashed: Whether it is dashed.
        dots: Whether its points are dots, without a line.
    """

    name: str
    name_at: float
    colour: str
    points: Points
    dashed: bool
    dots: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A plot in pixels.

    Attributes:
        title: Its title.
        rows: Values at the axis on the left.
        columns: Times at the axis at the bottom.
        limits: Values with a line across the plot.
        lines: The curves.
        width: Its width, in pixels.
        height: Its height, in pixels.
        left: Pixel where the axis at the bottom begins.
        right: Pixel where it ends.
        limit_colour: Colour of limits.
    """

    title: str
    rows: tuple[Mark, ...]
    columns: tuple[Mark, ...]
    limits: tuple[Mark, ...]
    lines: tuple[PlottedLine, ...]
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    right: int = _WIDTH - _RIGHT
    limit_colour: str = _LIMIT


def plot_weights(weights: WeightSeries) -> Plot:
    """A plot of the canary's share of the requests."""
    curves = [
        Curve(name="set", points=weights.set, colour=_CANARY, steps=True),
        Curve(name="measured", points=weights.measured, colour=_STABLE, dots=True),
    ]
    return draw(
        "Share of the requests to the canary", curves, low=0.0, high=100.0, label=lambda value: f"{value:.0f} %"
    )


def plot_rates(rates: RateSeries) -> Plot:
    """A plot of the rates of both versions."""
    curves = [
        Curve(name="stable", points=rates.stable, colour=_STABLE),
        Curve(name="canary", points=rates.canary, colour=_CANARY),
    ]
    high = max((value for _, value in (*rates.stable, *rates.canary)), default=0.0)
    return draw(f"{rates.name}: rate", curves, low=0.0, high=nice(high), label=words.rate)


def plot_ratio(rates: RateSeries) -> Plot:
    """A plot of the ratio of the rates, with its interval and the margin."""
    curves = [
        Curve(name="95 % interval", points=rates.high, colour=_STABLE, dashed=True),
        Curve(name="", points=rates.low, colour=_STABLE, dashed=True),
        Curve(name="ratio", points=rates.ratio, colour=_CANARY),
    ]
    return draw(
        f"{rates.name}: rate of the canary divided by the rate of stable",
        curves,
        low=_RATIOS[0],
        high=_RATIOS[1],
        label=lambda value: f"x{value:g}",
        limits=((rates.margin, f"margin x{rates.margin:g}"), (1.0, "same as stable")),
        ticks=(0.1, 0.3, 1.0, 3.0, 10.0),
        logarithmic=True,
    )


def plot_distance(distance: DistanceSeries) -> Plot:
    """A plot of drift."""
    high = max(distance.limit, *(value for _, value in distance.distance))
    return draw(
        f"{distance.name}: distance of the predictions",
        [Curve(name="distance", points=distance.distance, colour=_CANARY)],
        low=0.0,
        high=nice(high),
        label=lambda value: f"{value:g}",
        limits=((distance.limit, f"limit {distance.limit:g}"),),
    )


def draw(
    title: str,
    curves: Sequence[Curve],
    *,
    low: float,
    high: float,
    label: Label,
    limits: Sequence[tuple[float, str]] = (),
    ticks: Sequence[float] = (),
    logarithmic: bool = False,
) -> Plot:
    """A plot over time.

    Args:
        title: Its title.
        curves: Its lines.
        low: Value at the bottom.
        high: Value at the top.
        label: How values are written at the axis.
        limits: Values with a line across the plot, and their names.
        ticks: Values at the axis; by default five.
        logarithmic: Whether equal ratios are equal distances.
    """
    times = [at for curve in curves for at, _ in curve.points]
    begin, end = (min(times), max(times)) if times else (0.0, 1.0)
    across = Scale(low=begin, high=end, start=_LEFT, end=_WIDTH - _RIGHT)
    up = Scale(low=low, high=high, start=_HEIGHT - _BOTTOM, end=_TOP, logarithmic=logarithmic)
    values = ticks or [low + (high - low) * quarter / 4 for quarter in range(5)]
    seconds = [(end - begin) * quarter / 4 for quarter in range(5)] if end > begin else [0.0]
    legend = [curve for curve in curves if curve.name and curve.points]
    names_at = {curve.name: _WIDTH - _RIGHT - 90 * (len(legend) - index) for index, curve in enumerate(legend)}
    return Plot(
        title=title,
        rows=tuple(Mark(up(value), label(value)) for value in values),
        columns=tuple(Mark(across(begin + second), words.span(second)) for second in seconds),
        limits=tuple(Mark(up(value), name) for value, name in limits),
        lines=tuple(_line(curve, across, up, names_at.get(curve.name)) for curve in curves if curve.points),
    )


def nice(value: float) -> float:
    """The next round value that is at least as high."""
    if value < 1e-9:
        return 0.01
    unit = 10.0 ** math.floor(math.log10(value))
    # a round value that rounding has raised by a bit keeps its own step
    return next(step * unit for step in (1.0, 2.0, 4.0, 5.0, 10.0) if step * unit >= value * (1 - 1e-9))


def _line(curve: Curve, across: Scale, up: Scale, name_at: float | None) -> PlottedLine:
    dots = curve.dots or len(curve.points) == 1
    points = tuple((across(at), up(value)) for at, value in curve.points)
    return PlottedLine(
        name="" if name_at is None else curve.name,
        name_at=name_at or 0.0,
        colour=curve.colour,
        points=_corners(points) if curve.steps and not dots else points,
        dashed=curve.dashed,
        dots=dots,
    )


def _corners(points: Points) -> Points:
    """A line whose values hold until the next one."""
    steps = [((x, before), (x, y)) for (_, before), (x, y) in itertools.pairwise(points)]
    return (points[0], *itertools.chain.from_iterable(steps))
