"""Plots as SVG: no script, no file from elsewhere, nothing that is not escaped."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from tandem_cli.rollout import words
from tandem_cli.rollout.report.tracks import Distance, Points, Rates, Weights

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
"""How a value is written."""

_RATIOS: Final = (0.1, 10.0)
"""What is beyond is drawn at the edge."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One line of a plot.

    Attributes:
        name: For the legend.
        points: Its points.
        colour: Its colour.
        steps: Whether it keeps a value until the next one.
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
        logarithmic: Whether ratios are distances.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value; what is beyond an end is at it."""
        value = min(max(value, self.low), self.high)
        low, high = self.low, self.high
        if self.logarithmic:
            value, low, high = math.log(value), math.log(low), math.log(high)
        return self.start + (self.end - self.start) * ((value - low) / (high - low) if high > low else 0.5)


def of_weights(weights: Weights) -> str:
    """The canary's part of the requests."""
    curves = [
        Curve(name="set", points=weights.set, colour=_CANARY, steps=True),
        Curve(name="measured", points=weights.measured, colour=_STABLE, dots=True),
    ]
    return plot("Canary's part of the requests", curves, low=0.0, high=100.0, label=lambda value: f"{value:.0f} %")


def of_rates(rates: Rates) -> str:
    """Rates of both arms."""
    curves = [
        Curve(name="stable", points=rates.stable, colour=_STABLE),
        Curve(name="canary", points=rates.canary, colour=_CANARY),
    ]
    high = max((value for _, value in (*rates.stable, *rates.canary)), default=0.0)
    return plot(f"{rates.name}: rate", curves, low=0.0, high=nice(high), label=words.rate)


def of_ratio(rates: Rates) -> str:
    """The ratio of the rates with its interval, and the margin."""
    curves = [
        Curve(name="95 % interval", points=rates.high, colour=_STABLE, dashed=True),
        Curve(name="", points=rates.low, colour=_STABLE, dashed=True),
        Curve(name="ratio", points=rates.ratio, colour=_CANARY),
    ]
    return plot(
        f"{rates.name}: canary's rate over stable's",
        curves,
        low=_RATIOS[0],
        high=_RATIOS[1],
        label=lambda value: f"x{value:g}",
        limits=((rates.margin, f"margin x{rates.margin:g}"), (1.0, "as stable")),
        ticks=(0.1, 0.3, 1.0, 3.0, 10.0),
        logarithmic=True,
    )


def of_distance(distance: Distance) -> str:
    """Drift over time."""
    high = max(distance.limit, *(value for _, value in distance.distance))
    return plot(
        f"{distance.name}: distance of the predictions",
        [Curve(name="distance", points=distance.distance, colour=_CANARY)],
        low=0.0,
        high=nice(high),
        label=lambda value: f"{value:g}",
        limits=((distance.limit, f"limit {distance.limit:g}"),),
    )


def plot(
    title: str,
    curves: Sequence[Curve],
    *,
    low: float,
    high: float,
    label: Label,
    limits: Sequence[tuple[float, str]] = (),
    ticks: Sequence[float] = (),
    logarithmic: bool = False,
) -> str:
    """A plot over time.

    Args:
        title: Its title.
        curves: Its lines.
        low: Value at the bottom.
        high: Value at the top.
        label: How values are written at the axis.
        limits: Values to draw a line at, and their names.
        ticks: Values at the axis; by default five.
        logarithmic: Whether equal ratios are equal distances.
    """
    times = [at for curve in curves for at, _ in curve.points]
    begin, end = (min(times), max(times)) if times else (0.0, 1.0)
    across = Scale(low=begin, high=end, start=_LEFT, end=_WIDTH - _RIGHT)
    up = Scale(low=low, high=high, start=_HEIGHT - _BOTTOM, end=_TOP, logarithmic=logarithmic)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}" font-family="sans-serif" font-size="11">',
        f'<text x="{_LEFT}" y="16" font-size="13" font-weight="bold">{escape(title)}</text>',
    ]
    for value in ticks or [low + (high - low) * part / 4 for part in range(5)]:
        y = up(value)
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e0e0e0"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(label(value))}</text>')
    for part in range(5):
        at = begin + (end - begin) * part / 4
        x, said = across(at), words.span(at - begin)
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(said)}</text>')
        if end <= begin:
            break
    for value, name in limits:
        y = up(value)
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_LIMIT}" '
            'stroke-dasharray="2 3"/>'
        )
        parts.append(f'<text x="{_WIDTH - _RIGHT + 6}" y="{y + 4:.1f}" fill="{_LIMIT}">{escape(name)}</text>')
    for curve in curves:
        parts += _drawn(curve, across, up)
    named = [curve for curve in curves if curve.name and curve.points]
    for index, curve in enumerate(named):
        x = _WIDTH - _RIGHT - 90 * (len(named) - index)
        parts.append(f'<text x="{x}" y="16" fill="{curve.colour}">{escape(curve.name)}</text>')
    return "\n".join([*parts, "</svg>"])


def nice(value: float) -> float:
    """A round value that is not below another."""
    if value < 1e-9:
        return 0.01
    unit = 10.0 ** math.floor(math.log10(value))
    return next(step * unit for step in (1.0, 2.0, 4.0, 5.0, 10.0) if step * unit >= value * (1 - 1e-9))


def _drawn(curve: Curve, across: Scale, up: Scale) -> Iterable[str]:
    placed = [(across(at), up(value)) for at, value in curve.points]
    if curve.dots or len(placed) == 1:
        for x, y in placed:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8" fill="{curve.colour}"/>'
        return
    if not placed:
        return
    corners = [placed[0]]
    for (_, before), (x, y) in itertools.pairwise(placed):
        corners += [(x, before), (x, y)] if curve.steps else [(x, y)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    dashes = ' stroke-dasharray="5 4"' if curve.dashed else ""
    yield f'<polyline points="{line}" fill="none" stroke="{curve.colour}" stroke-width="1.6"{dashes}/>'
