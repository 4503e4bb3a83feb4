"""The wall clock, which nothing that computes reads: it gets its times."""

from __future__ import annotations

import time

import numpy as np


def utc_now() -> np.datetime64:
    """The time, ``datetime64[us]`` in UTC."""
    # NumPy's times have no zone: all of them are UTC
    return np.datetime64(time.time_ns() // 1000, "us")
