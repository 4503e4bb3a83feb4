"""Numbers and times as people read them in a narrow column."""

from __future__ import annotations

import math


def count(value: float | None) -> str:
    """A count in at most five characters."""
    if value is None:
        return "?"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        # what rounds up to the next unit is written in it
        if value >= limit * 0.9995:
            scale = 1e3 if unit == "k" else limit
            return f"{value / scale:.3g}{unit}" if value / scale < 999.5 else f"{value / scale:.0f}{unit}"
    return f"{value:.0f}"


def rate(value: float | None) -> str:
    """A share as a percentage with three figures."""
    if value is None:
        return "?"
    percent = 100.0 * value
    if percent == 0.0 or percent >= 99.95:
        return f"{percent:.0f}%"
    decimals = min(max(2 - math.floor(math.log10(percent)), 0), 4)
    return f"{percent:.{decimals}f}%"


def limit(value: float) -> str:
    """A limit with two figures, rounded up: what is below the number is below what is written."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return f"{math.ceil(value / unit - 1e-9) * unit:.10g}"


def ratio(value: float) -> str:
    """A ratio with three figures or two decimals."""
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def span(seconds: float) -> str:
    """A length of time by its two largest units."""
    whole = max(round(seconds), 0)
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "m"), (left, "s")]
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
    """A text without control characters: nothing that was written into a reason drives a terminal."""
    return "".join(each if each.isprintable() else " " for each in text)
