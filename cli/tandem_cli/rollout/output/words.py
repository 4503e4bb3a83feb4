"""Numbers, times and names as they are written in narrow columns and messages."""

from __future__ import annotations

import math


def count(value: float | None) -> str:
    """A count in at most five characters."""
    if value is None:
        return "?"
    for threshold, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        # a number that rounds up to the next unit is written in that unit
        if value >= threshold * 0.9995:
            scale = 1e3 if unit == "k" else threshold
            return f"{value / scale:.3g}{unit}" if value / scale < 999.5 else f"{value / scale:.0f}{unit}"
    return f"{value:.0f}"


def rate(value: float | None) -> str:
    """A share as a percentage with three digits."""
    if value is None:
        return "?"
    percent = 100.0 * value
    if percent == 0.0 or percent >= 99.95:
        return f"{percent:.0f}%"
    decimals = min(max(2 - math.floor(math.log10(percent)), 0), 4)
    return f"{percent:.{decimals}f}%"


def measure(value: float | None, *, is_distance: bool = False) -> str:
    """A rate as a percentage, or a distance with three decimals; a dash if there is none."""
    if value is None:
        return "-"
    return f"{value:.3f}" if is_distance else rate(value)


def limit(value: float) -> str:
    """A limit with two digits, rounded up: a value below the number is below what is written."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    # a limit of two digits that rounding has raised by a bit is written as it is
    return f"{math.ceil(value / unit - 1e-9) * unit:.10g}"


def ratio(value: float) -> str:
    """A ratio with three digits or two decimals."""
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def interval(estimate: float | None, low: float | None, high: float | None) -> str:
    """A ratio with its interval; empty if there is neither.

    Args:
        estimate: The ratio; None if it is not known.
        low: Lower end; None for 0.
        high: Upper end; None if it has none.
    """
    if estimate is None and high is None:
        return ""
    point = "?" if estimate is None else ratio(estimate)
    return f"{point} ({ratio(low or 0.0)}-{'any' if high is None else ratio(high)})"


def span(seconds: float) -> str:
    """A length of time in its two largest units."""
    whole = max(round(seconds), 0)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (rest, "s")]
    first = next((index for index, (value, _) in enumerate(parts) if value), 3)
    shown = [f"{value}{unit}" for value, unit in parts[first : first + 2] if value]
    return "".join(shown) or "0s"


def ago(seconds: float) -> str:
    """How long ago something was, or in how long it will be."""
    return f"in {span(-seconds)}" if seconds <= -0.5 else f"{span(seconds)} ago"


def by_whom(by: str, comment: str) -> str:
    """Who did something, and why."""
    return ": ".join(filter(None, (f"by {by}" if by else "", comment)))


def started(by: str, comment: str) -> str:
    """Who started a run, and why."""
    return f"started{f' by {by}' if by else ''}{f': {comment}' if comment else ''}"


def plain(text: str) -> str:
    """A text without control characters, so that text of others cannot control a terminal."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
