"""Parser of Prometheus' text format, as written by pods and Envoy."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from tandem_rollout.sources.series import Series

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?=[{ \t])")
_QUOTED: Final = re.compile(r'\{\s*"(?:[^"\\]|\\.)*"\s*[,}]')
"""A quoted name of a series, which is never read."""
_MAX_LENGTH: Final = 80
MAX_SERIES: Final = 30_000
"""Maximum number of series of a page. A transformer has about 60 series that are read."""


class ExpositionError(ValueError):
    """The text is not in Prometheus' text format."""


def parse(text: str, names: Collection[str], most: int = MAX_SERIES) -> list[Series]:
    """Parse the series with some names. Other lines are only checked at their beginning, to reject other formats.

    Args:
        text: The text.
        names: Names of the series, with suffixes such as ``_total`` and ``_bucket``.
        most: Maximum number of these series.

    Raises:
        ExpositionError: A line is invalid, or there are too many series.
    """
    lines = enumerate(text.split("\n"), 1)
    # one line more than allowed, so that a page that is too long is not read to its end
    matches = list(itertools.islice((line for number, line in lines if _name(line, number) in names), most + 1))
    if len(matches) > most:
        raise ExpositionError(f"it has more than {most} series of {' or '.join(sorted(names))}")
    try:
        # the library ignores a last line without a line break
        families = list(text_string_to_metric_families("\n".join([*matches, ""])))
    # the library's parser raises all of these for invalid lines
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        # the message reaches a status, and contains text of a pod
        detail = " ".join(str(error).split())[:_MAX_LENGTH]
        raise ExpositionError(f"a line of {' or '.join(sorted(names))} is invalid: {detail}") from error
    return [
        Series(sample.name, dict(sample.labels), float(sample.value))
        for family in families
        for sample in family.samples
    ]


def _name(line: str, number: int) -> str:
    """Name of the series of a line; empty if it has none."""
    stripped = line.strip()
    if not stripped or stripped.startswith("#"):
        return ""
    if match := _NAME.match(stripped):
        return match.group()
    if _QUOTED.match(stripped):
        return ""
    raise ExpositionError(f"line {number} is not in Prometheus' text format")
