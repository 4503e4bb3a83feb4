"""Durations as they are written in a model package: ``"90s"``, ``"1.5h"``, ``"2d"``."""

from __future__ import annotations

import functools
import re

import numpy as np

from tandem.errors import DefinitionError

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@functools.lru_cache(256)
def parse_duration(text: str) -> np.timedelta64:
    """Duration such as ``"90s"``, ``"1.5h"`` or ``"2d"``, as ``timedelta64[us]``.

    Raises:
        DefinitionError: if it is not one.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text)
    if not match:
        raise DefinitionError(f"{text!r} is not a duration: write a number and one of s m h d w, such as '2d'")
    return np.timedelta64(round(float(match[1]) * _SECONDS[match[2]] * 1_000_000), "us")


def microseconds(text: str) -> int:
    """The same in microseconds.

    Raises:
        DefinitionError: as :func:`parse_duration`.
    """
    return int(parse_duration(text).astype(np.int64))
