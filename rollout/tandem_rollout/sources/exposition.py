"""Prometheus' text format, as pods and Envoy write it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from tandem_rollout.sources.series import Series

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?=[{ \t])")
_QUOTED: Final = re.compile(r'\{\s*"(?:[^"\\]|\\.)*"\s*[,}]')
"""A name that is no identifier stands in quotes among the labels. Nobody asks for one."""
_MAX_LENGTH: Final = 80
MAX_SERIES: Final = 30_000
"""A transformer has some 60 that anybody asks for."""


class ExpositionError(ValueError):
    """A text is not in Prometheus' format."""


def parse(text: str, names: Collection[str], most: int = MAX_SERIES) -> list[Series]:
    """Series of some names. Of the other lines only the beginning is read: a page of HTML is refused.

    Args:
        text: What was answered.
        names: Names of the series that are wanted, with endings like ``_total`` and ``_bucket``.
        most: Most series of these names.

    Raises:
        ExpositionError: A line cannot be read, or there are more series.
    """
    lines = enumerate(text.split("\n"), 1)
    matches = list(itertools.islice((line for number, line in lines if _name(line, number) in names), most + 1))
    if len(matches) > most:
        raise ExpositionError(f"it has more than {most} series of {' or '.join(sorted(names))}")
    try:
        # without a last line break the library drops what is behind the last one
        families = list(text_string_to_metric_families("\n".join([*matches, ""])))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        why = " ".join(str(error).split())[:_MAX_LENGTH]
        raise ExpositionError(f"a line of {' or '.join(sorted(names))} cannot be read: {why}") from error
    return [
        Series(sample.name, dict(sample.labels), float(sample.value))
        for family in families
        for sample in family.samples
    ]


def _name(line: str, number: int) -> str:
    """Name of the series of a line; empty where it has none."""
    stripped = line.strip()
    if not stripped or stripped.startswith("#"):
        return ""
    if match := _NAME.match(stripped):
        return match.group()
    if _QUOTED.match(stripped):
        return ""
    raise ExpositionError(f"line {number} is not in Prometheus' text format")
