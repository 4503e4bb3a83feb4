"""First runs of a model: they take longer, so no client pays for them, and they say how long a batch takes."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from tandem.errors import RequestError
from tandem.oip.tensors import Array
from tandem_predictor.session import Feeds, Session, TensorInfo

logger = logging.getLogger(__name__)

_MOST_RUNS = 20
_MOST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class WarmUp:
    """What the first runs showed.

    Attributes:
        seconds: Median time of a batch of the largest size; infinite if the model refused the made-up input.
        batchable: Whether as many rows came out as went in.
    """

    seconds: float
    batchable: bool


def warm_up(session: Session, rows: int, sample: Mapping[str, Array] | None = None) -> WarmUp:
    """Run a model with one row and, if it can be batched, with ``rows`` rows.

    Args:
        session: The model.
        rows: Rows of the largest batch.
        sample: Input tensors that the model is known to take; zeros and empty strings without it.
    """
    names = [info.name for info in session.outputs]
    try:
        largest = _feeds(session.inputs, rows if session.batchable else 1, sample)
        session.run(_feeds(session.inputs, 1, sample), names)
        results = session.run(largest, names)
        batchable = session.batchable and all(len(result) == rows for result in results)
        return WarmUp(statistics.median(_timed(session, largest, names)), batchable)
    except RequestError as error:
        # Zeros need not be valid input: a table of categories may have no entry for them.
        logger.warning("no warm-up: %s", error)
        return WarmUp(float("inf"), session.batchable)


def _timed(session: Session, feeds: Feeds, names: list[str]) -> Iterable[float]:
    began = time.perf_counter()
    for _ in range(_MOST_RUNS):
        start = time.perf_counter()
        session.run(feeds, names)
        end = time.perf_counter()
        yield end - start
        if end - began > _MOST_SECONDS:
            return


def _feeds(inputs: Iterable[TensorInfo], rows: int, sample: Mapping[str, Array] | None) -> Feeds:
    return {info.name: _tile(sample[info.name], rows) if sample else _zeros(info, rows) for info in inputs}


def _tile(array: Array, rows: int) -> Array:
    return np.resize(array, (rows, *array.shape[1:]))


def _zeros(info: TensorInfo, rows: int) -> Array:
    shape = [size if size >= 0 else 1 for size in info.shape]
    if info.shape[:1] == (-1,):
        shape[0] = rows
    return np.full(shape, "" if info.datatype == "BYTES" else 0, info.dtype)
